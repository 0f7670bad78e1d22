"""An XDP part that takes packets over from a NIC, which carried one field of 16 bits: a distance into the packet."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.backends.handoff import Layout
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline

_MODULE = """
builtin.module {
  object.section "xdp" type 1 flags 6 align 8
  object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
  placement.edge 1 from @nic to @xdp {fields = [{name = "at", width = #builtin.int<16>, kind = "offset"}],
    order = "commuting", transport = "head"}
  placement.part @nic on "p4-v1model" { ebpf.func @f section "xdp" { ^entry: ebpf.end } }
  placement.part @xdp on "xdp" {
    ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
    ^entry(%ctx: !packet.ctx):
      %r = placement.resume %ctx : !packet.ctx -> i32
      %one = arith.constant 1 : i32
      %mine = arith.cmpi eq, %r, %one : i32
      cf.cond_br %mine, ^resume, ^bad
    ^resume:
      %at = placement.carried %ctx at 1[0] : !packet.ctx -> i16
      placement.accept %ctx at 1 : !packet.ctx
      BODY
    ^bad:
      %zero = arith.constant 0 : i64
      packet.verdict %zero : i64
    }
  }
}
"""
READS = """
      %data = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      %far = arith.extui %at : i16 to i64
      %p = packet.advance %data, %far : !packet.ptr, i64 -> !packet.ptr
      %ok = packet.guard %p[8], %end : !packet.ptr, !packet.end_ptr -> i1
      cf.cond_br %ok, ^good, ^bad
    ^good:
      %byte = packet.load %p[7] : !packet.ptr -> i8
      %verdict = arith.extui %byte : i8 to i64
      packet.verdict %verdict : i64"""
"""A body that reads the byte 7 behind the distance, where a guard lets it, and makes it the verdict."""
HEADER = Layout(1, (16,))


def lowered_from_nic(body: str) -> ModuleOp:
    """The placed module, its XDP part lowered, that does `body` with `%at`, the distance, after the handoff."""
    module = Parser(make_context(), _MODULE.replace("BODY", body)).parse_module()
    assert isinstance(module, ModuleOp)
    run_pipeline(make_context(), module, "lower")
    return module
