"""What is left of the stack for a function, given those that call it and those that it calls."""

from __future__ import annotations

import pytest
from codegen_helpers import parse
from xdsl.utils.exceptions import PassFailedException

from fsir.analysis.frame_limit import frame_limit
from fsir.dialects.ebpf import functions
from fsir.passes.layout_frame import layout_frame


def func(name: str, depth: int, *body: str) -> str:
    lines = [f"ebpf.st8 %fp[-{depth}], 0 : reg"] if depth else []
    lines += body
    return f"""
    ebpf.func @{name} section "xdp" {{
    ^bb0(%x : !ebpf.reg):
      %fp = ebpf.frame -> reg
      {" ".join(f"{line}{chr(10)}" for line in lines)}
      ebpf.exit(%x) : reg
    }}
    """


def call(name: str) -> str:
    return f"%{name}_result = ebpf.call_local @{name}(%x) : reg -> reg"


TAIL_CALL = "%t = ebpf.call 12(%x, %x, %x) : reg, reg, reg -> reg"


def limits(*funcs: str) -> dict[str, int]:
    return {f.symbol: frame_limit(f) for f in functions(parse("".join(funcs)))}


def test_alone() -> None:
    assert limits(func("f", 100)) == {"f": 512}


def test_chain() -> None:
    found = limits(func("f", 100, call("g")), func("g", 40, call("h")), func("h", 0))
    assert found == {"f": 512 - 64 - 32, "g": 512 - 128 - 32, "h": 512 - 128 - 64}


def test_the_deepest_chain_counts() -> None:
    found = limits(func("f", 0, call("g"), call("h")), func("g", 200), func("h", 300))
    assert found["f"] == 512 - 320


def test_callbacks_are_called() -> None:
    found = limits(func("f", 100, "%c = ebpf.ld_sym @g -> reg"), func("g", 0))
    assert found["g"] == 512 - 128


def test_before_a_tail_call() -> None:
    found = limits(func("f", 16, call("g")), func("g", 16, TAIL_CALL))
    assert found == {"f": 224, "g": 512 - 32}


def test_an_object_beyond_the_limit_is_refused() -> None:
    module = parse(func("f", 400, call("g")) + func("g", 0, "%a = ebpf.alloca 128 -> !ebpf.fp"))
    with pytest.raises(PassFailedException, match="needs 128 bytes of stack, 96 are left for it"):
        for f in functions(module):
            layout_frame(f)
