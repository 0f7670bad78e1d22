"""Sources that are kept from one program to the next, while bodies of functions change."""

from __future__ import annotations

from codegen_helpers import parse

from fsir.dialects.ebpf import functions
from fsir.interp.codegen_link import Sources
from fsir.interp.engine import InterpProgram

MODULE = """
ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %a = arith.constant 7 : i64
  %b = arith.constant 5 : i64
  %c = ebpf.call_local @minus(%a, %b) : i64, i64 -> i64
  packet.verdict %c : i64
}
ebpf.func @minus section ".text" {
^bb0(%x: i64, %y: i64):
  %z = arith.subi %x, %y : i64
  ebpf.exit (%z) : i64
}
ebpf.func @second section ".text" {
^bb0(%x: i64):
  ebpf.exit (%x) : i64
}
"""


def test_a_caller_passes_what_the_function_takes_now() -> None:
    module = parse(MODULE)
    sources = Sources()
    assert InterpProgram(module, "prog", sources=sources).run(bytes(64)).verdict == 2
    minus, second = functions(module)[1:]
    body, other = minus.detach_region(minus.body), second.detach_region(second.body)
    minus.add_region(other)
    second.add_region(body)
    assert InterpProgram(module, "prog", sources=sources).run(bytes(64)).verdict == 7
