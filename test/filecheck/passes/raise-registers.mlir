// RUN: fs-opt %s -p raise-registers | filecheck %s

// Registers go, copies go, and a helper call keeps the two arguments of its prototype: r3 and r4 only happened to be
// defined.

// CHECK-LABEL: ebpf.func @narrow section "xdp"
// CHECK-SAME: original = {code = "
// CHECK-NEXT: ^entry(%r1: !ebpf.reg):
// CHECK-NEXT:   %fp = ebpf.frame -> reg
// CHECK-NEXT:   %r3 = ebpf.movi 3 -> reg
// CHECK-NEXT:   ebpf.stx32 %fp[-4], %r3 : reg, reg
// CHECK-NEXT:   %r2 = ebpf.addi %fp, -4 : reg -> reg
// CHECK-NEXT:   %r1_1 = ebpf.ld_sym @m {via = "m"} -> reg
// CHECK-NEXT:   %r0 = ebpf.call 1(%r1_1, %r2) : reg, reg -> reg
// CHECK-NEXT:   ebpf.exit (%r0) : reg
map.decl @m "hash" key 4 value 4 entries 1 flags 0
ebpf.func @narrow section "xdp" attributes {prog_type = "xdp"} {
^entry(%0 : !ebpf.reg<r1>):
  %1 = ebpf.frame -> r10
  %2 = ebpf.movi 3 -> r3
  ebpf.stx32 %1[-4], %2 : r10, r3
  %3 = ebpf.mov %1 : r10 -> r2
  %4 = ebpf.addi %3, -4 : r2 -> r2
  %5 = ebpf.mov %0 : r1 -> r4
  %6 = ebpf.ld_sym @m {via = "m"} -> r1
  %7 = ebpf.call 1(%6, %4, %2, %5) : r1, r2, r3, r4 -> r0
  ebpf.exit (%7) : r0
}

// bpf_trace_printk takes what r3 to r5 hold, too.

// CHECK-LABEL: ebpf.func @variadic
// CHECK: ebpf.call 6(%r1_1, %r2, %r3) : reg, reg, reg -> reg
ebpf.func @variadic section "xdp" attributes {prog_type = "xdp"} {
^entry(%0 : !ebpf.reg<r1>):
  %1 = ebpf.movi 1 -> r1
  %2 = ebpf.movi 2 -> r2
  %3 = ebpf.movi 3 -> r3
  %7 = ebpf.call 6(%1, %2, %3) : r1, r2, r3 -> r0
  ebpf.exit (%7) : r0
}

// A block argument that every path gives the same value goes, one that nothing reads goes, unreachable code goes.

// CHECK-LABEL: ebpf.func @join
// CHECK:         ebpf.fallthrough ^out
// CHECK-NEXT:  ^out:
// CHECK-NEXT:    ebpf.exit (%r0) : reg
// CHECK-NEXT:  }
ebpf.func @join section "xdp" attributes {prog_type = "xdp"} {
^entry(%0 : !ebpf.reg<r1>):
  %1 = ebpf.movi 1 -> r0
  ebpf.jeqi %0, 0, ^out(%1, %0 : r0, r1), ^other : r1
^other:
  ebpf.fallthrough ^out(%1, %0 : r0, r1)
^out(%2 : !ebpf.reg<r0>, %3 : !ebpf.reg<r1>):
  ebpf.exit (%2) : r0
^dead:
  ebpf.ja ^out(%1, %0 : r0, r1)
}

// Calls pass arguments by position; what the caller never defined is undefined.

// CHECK-LABEL: ebpf.func @callee section ".text"
// CHECK-NEXT:  ^entry(%r1: !ebpf.reg, %r2: !ebpf.reg):
ebpf.func @callee section ".text" attributes {bind = #builtin.int<0>} {
^entry(%0 : !ebpf.reg<r2>):
  %1 = ebpf.mov %0 : r2 -> r0
  ebpf.exit (%1) : r0
}

// CHECK-LABEL: ebpf.func @caller
// CHECK:         %r2 = ebpf.undef -> reg
// CHECK-NEXT:    %r0 = ebpf.call_local @callee(%r1, %r2) : reg, reg -> reg
ebpf.func @caller section "xdp" attributes {prog_type = "xdp"} {
^entry(%0 : !ebpf.reg<r1>):
  %1 = ebpf.call_local @callee(%0) : r1 -> r0
  ebpf.exit (%1) : r0
}

// What does not decode is left alone.

// CHECK-LABEL: ebpf.func @raw section "xdp" {
// CHECK-NEXT:    ebpf.raw "ff00000000000000"
ebpf.func @raw section "xdp" {
  ebpf.raw "ff00000000000000"
  ebpf.end
}
