// RUN: fs-opt %s -p 'chain{at=bb1}' --split-input-file --verify-diagnostics

// Where a program cannot be made a chain, and why.

map.decl @m "array" key 4 value 8 entries 1 flags 0
ebpf.func @locked section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %key = arith.constant 0 : i32
  %v = map.lookup @m(%key) : i32 -> !map.value<@m>
  %r = ebpf.call 93(%v) : !map.value<@m> -> i64
  cf.br ^held
^held:
  // expected-error@+1 {{at: the program cannot be cut here: a spin lock may be held}}
  %pass = arith.constant 2 : i64
  %s = ebpf.call 94(%v) : !map.value<@m> -> i64
  packet.verdict %pass : i64
}

// -----

// expected-error@+1 {{it makes tail calls}}
ebpf.func @tails section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i64
  cf.br ^call
^call:
  %r = ebpf.call 12(%ctx, %zero, %zero) : !packet.ctx, i64, i64 -> i64
  packet.verdict %zero : i64
}

// -----

// expected-error@+1 {{the object has no BTF for it}}
ebpf.func @untyped section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  cf.br ^end
^end:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// -----

// The stack of all functions under way counts together.

// expected-error@+1 {{the functions under way at a time would take more stack than 512 bytes}}
ebpf.func @deep section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  %time = ebpf.call 5() -> i64
  ebpf.stx64 %fp[-288], %time : !ebpf.fp, i64
  cf.br ^end
^end:
  %again = ebpf.ldx64 %fp[-288] : !ebpf.fp -> i64
  packet.verdict %again : i64
}
object.section ".BTF" type 1 flags 0 align 4 {data = "9feb010018000000000000007000000070000000340000000100000000000001040000002000000105000000000000010400000020000000200000000200000408000000120000000200000000000000170000000200000020000000000000000000000203000000000000000100000d0100000027000000040000002b0000000100000c0500000000696e7400756e7369676e656420696e74006461746100646174615f656e64007864705f6d64006374780070726f670078647000"}
object.section ".BTF.ext" type 1 flags 0 align 4 {data = "9feb010020000000000000001400000014000000040000001800000000000000080000003000000001000000000000000600000010000000"}

// -----

// Five words that cannot be had otherwise.

ebpf.func @many section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %a = ebpf.call 5() -> i64
  %b = ebpf.call 5() -> i64
  %c = ebpf.call 5() -> i64
  %d = ebpf.call 5() -> i64
  %e = ebpf.call 5() -> i64
  cf.br ^end
^end:
  // expected-error@+1 {{at: the program cannot be cut here: 40 bytes would have to be passed; a call takes 32}}
  %ab = arith.addi %a, %b : i64
  %cd = arith.addi %c, %d : i64
  %abcd = arith.addi %ab, %cd : i64
  %all = arith.addi %abcd, %e : i64
  packet.verdict %all : i64
}

// -----

// expected-error@+1 {{there is no program to chain}}
builtin.module {
}
