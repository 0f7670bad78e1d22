"""`lower-to-xdp{ask-kernel}`: what the kernel refuses keeps its original code."""

from __future__ import annotations

import pytest
from xdsl.parser import Parser

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline

PASS = "b700000002000000"
EXIT = "9500000000000000"


def program(access: int) -> str:
    """A program that makes sure of two bytes and reads the one at `access`, of which nothing depends. It passes
    everything, as its original does."""
    return f"""
    object.section "xdp" type 1 flags 6 align 8
    object.section "license" type 1 flags 3 align 1 {{data = "47504c00"}}
    object.symbol "prog" in 1 value 0 size 80 bind 1 type 2 {{func = @prog}}
    ebpf.func @prog section "xdp" attributes {{prog_type = "xdp", original = {{code = "{PASS * 9 + EXIT}"}}}} {{
    ^bb0(%ctx : !packet.ctx):
      %data = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      %ok = packet.guard %data[2], %end : !packet.ptr, !packet.end_ptr -> i1
      %two = arith.constant 2 : i64
      cf.cond_br %ok, ^in, ^out(%two : i64)
    ^in:
      %byte = packet.load %data[{access}] : !packet.ptr -> i8
      %wide = arith.extui %byte : i8 to i64
      %none = arith.constant 0 : i64
      %nothing = arith.andi %wide, %none : i64
      %pass = arith.ori %nothing, %two : i64
      cf.br ^out(%pass : i64)
    ^out(%r : i64):
      packet.verdict %r : i64
    }}
    """


@pytest.mark.parametrize(("access", "kept"), [(1, False), (2, True)])
def test_what_the_kernel_refuses_is_kept(access: int, kept: bool) -> None:
    context = make_context()
    module = Parser(context, program(access)).parse_module()
    with collecting(Diagnostics()) as diagnostics:
        run_pipeline(context, module, "lower-to-xdp{ask-kernel=true}")
    (func,) = functions(module)
    assert (func.keep is not None) == kept
    if func.keep is not None:
        assert func.keep.data.startswith("the kernel refuses prog: ") and "packet" in func.keep.data
        assert diagnostics.fallbacks == 1


def test_no_fallback_makes_it_an_error() -> None:
    context = make_context()
    module = Parser(context, program(2)).parse_module()
    with pytest.raises(PassFailure) as caught:
        run_pipeline(context, module, "lower-to-xdp{ask-kernel=true fallback=false}")
    assert "the kernel refuses prog: " in str(caught.value.__cause__)
