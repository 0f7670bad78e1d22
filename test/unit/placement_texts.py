"""Pieces of programs that tests of placement begin with."""

GUARDED = """
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %ok = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^look, ^out
^look:
"""
"""A program of 20 bytes or more: goes on at ^look, else to ^out, where %drop is at hand."""
