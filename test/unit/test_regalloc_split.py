"""Live ranges cut in front of calls: the second half begins behind the value's definition."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.regalloc.build import build
from fsir.regalloc.model import FIRST, Copies
from fsir.regalloc.split import Splitter

ARGUMENTS = ["%a", "%b", "%c", "%d", "%e"]


def test_cuts_in_one_block_know_of_those_before_them() -> None:
    """Arguments are cut in front of the first call, which moves its result."""
    stores = [f"ebpf.stx64 %a[{8 * n}], {value} : reg, reg" for n, value in enumerate([*ARGUMENTS, "%v"])]
    lines = [*stores[:4], "%v = ebpf.call 5() -> reg", "%w = ebpf.call 7() -> reg", *stores, "ebpf.exit(%w) : reg"]
    entry = ", ".join(f"{name} : !ebpf.reg" for name in ARGUMENTS)
    text = f'ebpf.func @f section "xdp" {{\n^bb0({entry}):\n' + "\n".join(lines) + "\n}"
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    code = build(next(iter(functions(module))))
    steps = code.blocks[0].steps
    arguments = [d for step in steps if isinstance(step, Copies) for d, s in step.pairs if 0 < s < FIRST]
    results = [d for step in steps if isinstance(step, Copies) for d, s in step.pairs if s == 0]
    assert Splitter(code, set()).make_room([[]], [[*arguments, *results]])
    made = set(range(FIRST))
    for step in steps:
        read = [s for _, s in step.pairs] if isinstance(step, Copies) else step.uses
        assert made.issuperset(read), "a value is read before it is made"
        made.update([d for d, _ in step.pairs] if isinstance(step, Copies) else step.defs)
