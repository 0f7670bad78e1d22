"""What a carried field is called is also a name that a value may have."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.placement import CarriedOp, EdgeOp
from fsir.driver.context import make_context
from fsir.driver.emitters import print_module
from fsir.driver.inputs import parse_text
from fsir.driver.pass_manager import run_pipeline

PROGRAM = """
builtin.module {
  ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
  ^bb0(%ctx: !packet.ctx):
    %drop = arith.constant 1 : i64
    %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
    %data = packet.data %ctx : !packet.ctx -> !packet.ptr
    %0 = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
    cf.cond_br %0, ^bb1, ^bb2(%drop : i64)
  ^bb1:
    %1 = packet.load %data[9] {field = "eth.h_source[3]"} : !packet.ptr -> i8
    %2 = arith.constant 0 : i8
    packet.store %data[9], %2 : !packet.ptr, i8
    cf.br ^bb3
  ^bb3:
    %3 = arith.extui %1 : i8 to i64
    cf.br ^bb2(%3 : i64)
  ^bb2(%verdict: i64):
    packet.verdict %verdict : i64
  }
}
"""


def test_an_element_of_a_field_travels() -> None:
    ctx = make_context()
    module: ModuleOp = parse_text(ctx, PROGRAM, "names.mlir")
    run_pipeline(ctx, module, "decompose{targets=xdp,af-xdp cut-at=bb2}")
    (edge,) = (op for op in module.walk() if isinstance(op, EdgeOp))
    assert 'name = "eth.h_source[3]"' in str(edge)
    (carried,) = (op for op in module.walk() if isinstance(op, CarriedOp))
    assert (carried.res.name_hint or "").startswith("eth.h_source")
    parse_text(ctx, print_module(module, generic=False), "placed.mlir")
