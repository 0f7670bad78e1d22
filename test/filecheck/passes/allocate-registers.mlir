// RUN: fs-opt %s -p allocate-registers | filecheck %s

// A value that lives across a call gets one of r6 to r9; arguments and results of calls cost no copy where they can
// be in the right register from the start.
// CHECK-LABEL: ebpf.func @call
// CHECK-NEXT:  ^bb0(%[[CTX:.*]]: !ebpf.reg<r1>):
// CHECK-NEXT:    %[[KEPT:.*]] = ebpf.mov %[[CTX]] : r1 -> r6
// CHECK-NEXT:    %[[R:.*]] = ebpf.call 5() -> r0
// CHECK-NEXT:    ebpf.stx64 %[[KEPT]][0], %[[R]] : r6, r0
// CHECK-NEXT:    %[[ZERO:.*]] = ebpf.movi 0 -> r0
// CHECK-NEXT:    ebpf.exit (%[[ZERO]]) : r0
ebpf.func @call section "xdp" {
^bb0(%ctx : !ebpf.reg):
  %0 = ebpf.movi 0 -> reg
  %t = ebpf.call 5() -> reg
  ebpf.stx64 %ctx[0], %t : reg, reg
  ebpf.exit(%0) : reg
}

// A two-address instruction works on a copy only where its operand lives on.
// CHECK-LABEL: ebpf.func @two_address
// CHECK:         %[[COPY:.*]] = ebpf.mov %[[A:.*]] : r1 -> r[[N:[0-9]]]
// CHECK-NEXT:    %[[B:.*]] = ebpf.addi %[[COPY]], 14 : r[[N]] -> r[[N]]
// CHECK-NEXT:    %[[C:.*]] = ebpf.addi %[[B]], 1 : r[[N]] -> r[[N]]
// CHECK-NEXT:    ebpf.stx64 %[[A]][0], %[[C]] : r1, r[[N]]
ebpf.func @two_address section "xdp" {
^bb0(%a : !ebpf.reg):
  %b = ebpf.addi %a, 14 : reg -> reg
  %c = ebpf.addi %b, 1 : reg -> reg
  ebpf.stx64 %a[0], %c : reg, reg
  %0 = ebpf.movi 0 -> reg
  ebpf.exit(%0) : reg
}

// The name of a value says which register it had; it gets that one if it is free.
// CHECK-LABEL: ebpf.func @hint
// CHECK:         ebpf.ldx64 %{{.*}}[0] : r1 -> r4
// CHECK-NEXT:    ebpf.ldx64 %{{.*}}[8] : r1 -> r3
ebpf.func @hint section "xdp" {
^bb0(%r1 : !ebpf.reg):
  %r4 = ebpf.ldx64 %r1[0] : reg -> reg
  %r3 = ebpf.ldx64 %r1[8] : reg -> reg
  ebpf.stx64 %r4[0], %r3 : reg, reg
  %r0 = ebpf.movi 0 -> reg
  ebpf.exit(%r0) : reg
}

// Two values that change places in each round of a loop go through a third register.
// CHECK-LABEL: ebpf.func @exchange
// CHECK:       ^[[HEAD:bb[0-9]+]](%[[X:.*]]: !ebpf.reg<[[RX:r[0-9]]]>, %[[Y:.*]]: !ebpf.reg<[[RY:r[0-9]]]>)
// CHECK:         %[[T:.*]] = ebpf.mov %{{.*}} -> [[RT:r[0-9]]]
// CHECK-NEXT:    ebpf.mov %{{.*}}
// CHECK-NEXT:    ebpf.mov %[[T]] : [[RT]]
ebpf.func @exchange section "xdp" {
^bb0(%a : !ebpf.reg, %b : !ebpf.reg):
  ebpf.ja ^head(%a, %b : reg, reg)
^head(%x : !ebpf.reg, %y : !ebpf.reg):
  %v = ebpf.ldx64 %x[0] : reg -> reg
  ebpf.stx64 %y[8], %v : reg, reg
  ebpf.jeqi %v, 0, ^done, ^head(%y, %x : reg, reg) : reg
^done:
  ebpf.exit(%v) : reg
}

// Five values across a call: four registers survive it, the fifth goes to the stack, below what the function uses.
// CHECK-LABEL: ebpf.func @spill
// CHECK:         ebpf.stx64 %[[FP:.*]][-16], %{{.*}} : r10, r{{[0-9]}}
// CHECK:         ebpf.call 5() -> r0
// CHECK:         ebpf.ldx64 %[[FP]][-16] : r10 -> r{{[0-9]}}
ebpf.func @spill section "xdp" {
^bb0(%p : !ebpf.reg):
  %fp = ebpf.frame -> reg
  ebpf.st64 %fp[-8], 0 : reg
  %a = ebpf.ldx64 %p[0] : reg -> reg
  %b = ebpf.ldx64 %p[8] : reg -> reg
  %c = ebpf.ldx64 %p[16] : reg -> reg
  %d = ebpf.ldx64 %p[24] : reg -> reg
  %t = ebpf.call 5() -> reg
  ebpf.stx64 %p[0], %b : reg, reg
  ebpf.stx64 %p[8], %c : reg, reg
  ebpf.stx64 %p[16], %d : reg, reg
  ebpf.stx64 %p[24], %a : reg, reg
  ebpf.exit(%t) : reg
}

// Constants are not kept in registers across calls, nor stored: they are made again.
// CHECK-LABEL: ebpf.func @constants
// CHECK-NEXT:  ^bb0
// CHECK-NEXT:    ebpf.call 5() -> r0
// CHECK:         ebpf.movi 2 -> r[[R:[0-9]]]
// CHECK:         ebpf.call 5() -> r0
// CHECK-NEXT:    ebpf.movi 1 -> r[[R]]
ebpf.func @constants section "xdp" {
^bb0(%p : !ebpf.reg):
  %one = ebpf.movi 1 -> reg
  %two = ebpf.movi 2 -> reg
  %a = ebpf.call 5() -> reg
  ebpf.jeqi %a, 0, ^out(%two : reg), ^more : reg
^more:
  %b = ebpf.call 5() -> reg
  ebpf.ja ^out(%one : reg)
^out(%v : !ebpf.reg):
  ebpf.exit(%v) : reg
}

// Dead values and unreachable blocks are not allocated, and so not there any more.
// CHECK-LABEL: ebpf.func @dead
// CHECK-NEXT:  ^bb0(%{{.*}}: !ebpf.reg<r1>):
// CHECK-NEXT:    ebpf.movi 0 -> r0
// CHECK-NEXT:    ebpf.exit
// CHECK-NEXT:  }
ebpf.func @dead section "xdp" {
^bb0(%p : !ebpf.reg):
  %x = ebpf.addi %p, 4 : reg -> reg
  %0 = ebpf.movi 0 -> reg
  ebpf.exit(%0) : reg
^nowhere:
  ebpf.exit(%p) : reg
}

// A value that outlives only a late call stays in the register that it comes in until then: here all four registers
// that survive calls are taken before. Nothing is spilled.
// CHECK-LABEL: ebpf.func @late
// CHECK-NOT:     ebpf.frame
// CHECK:         %[[V:.*]] = ebpf.call 7() -> r0
// CHECK-NEXT:    ebpf.jeqi %[[V]], 0
// CHECK:         %[[KEPT:.*]] = ebpf.mov %[[V]] : r0 -> r{{[6-9]}}
// CHECK-NEXT:    ebpf.call 5()
// CHECK-NEXT:    ebpf.stx64 %[[KEPT]][0]
ebpf.func @late section "xdp" {
^bb0(%x : !ebpf.reg):
  %a = ebpf.ldx64 %x[0] : reg -> reg
  %b = ebpf.ldx64 %x[8] : reg -> reg
  %c = ebpf.ldx64 %x[16] : reg -> reg
  %v = ebpf.call 7() -> reg
  ebpf.jeqi %v, 0, ^out, ^go : reg
^go:
  ebpf.stx64 %v[8], %a : reg, reg
  ebpf.stx64 %v[16], %b : reg, reg
  ebpf.stx64 %v[24], %c : reg, reg
  %t = ebpf.call 5() -> reg
  ebpf.stx64 %v[0], %t : reg, reg
  ebpf.stx64 %x[24], %t : reg, reg
  ebpf.ja ^out
^out:
  %r = ebpf.movi 0 -> reg
  ebpf.exit(%r) : reg
}

// A cheap constant for arguments of calls and for a result is made in each place; for several edges to one block it is
// made once, where it was.
// CHECK-LABEL: ebpf.func @zero
// CHECK-NEXT:  ^bb0(%[[X:.*]]: !ebpf.reg<r1>):
// CHECK-NEXT:    %[[Z:.*]] = ebpf.movi 0 -> r0
// CHECK-NEXT:    ebpf.jeqi %[[X]], 5, ^{{.*}}(%[[Z]] : r0)
// CHECK:         ebpf.jeqi %[[X]], 6, ^{{.*}}(%[[Z]] : r0)
// CHECK:         ebpf.movi 0 -> r2
// CHECK:         ebpf.call 7(
// CHECK-NOT:     ebpf.movi
// CHECK:         ebpf.exit
ebpf.func @zero section "xdp" {
^bb0(%x : !ebpf.reg):
  %z = ebpf.movi 0 -> reg
  ebpf.jeqi %x, 5, ^out(%z : reg), ^a : reg
^a:
  ebpf.jeqi %x, 6, ^out(%z : reg), ^b : reg
^b:
  %v = ebpf.call 7(%x, %z) : reg, reg -> reg
  ebpf.ja ^out(%v : reg)
^out(%r : !ebpf.reg):
  ebpf.exit(%r) : reg
}

// A function that would be longer than its original gets one exit, and its constant result early.
// CHECK-LABEL: ebpf.func @one_exit
// CHECK:         %[[ONE:.*]] = ebpf.movi 1 -> r0
// CHECK-NEXT:    ebpf.jeqi %{{.*}}, 5, ^[[END:.*]](%[[ONE]] : r0)
// CHECK:         ebpf.jeqi %{{.*}}, 6, ^[[END]](%[[ONE]] : r0)
// CHECK:         ebpf.call 7
// CHECK:       ^[[END]](%[[R:.*]]: !ebpf.reg<r0>):
// CHECK-NEXT:    ebpf.exit (%[[R]]) : r0
// CHECK-NEXT:  }
ebpf.func @one_exit section "xdp" attributes {prog_type = "xdp", original = {code = "9500000000000000", refs = []}} {
^bb0(%x : !ebpf.reg):
  ebpf.jeqi %x, 5, ^one, ^other : reg
^other:
  %y = ebpf.ldx64 %x[0] : reg -> reg
  ebpf.jeqi %y, 6, ^one, ^more : reg
^more:
  %t = ebpf.call 7() -> reg
  ebpf.exit(%t) : reg
^one:
  %c = ebpf.movi 1 -> reg
  ebpf.exit(%c) : reg
}

// What lives over a call is copied on the way that comes to it; before that, the register that it came in is read.
// CHECK-LABEL: ebpf.func @early_exit
// CHECK-NEXT:  ^bb0(%[[CTX:.*]]: !ebpf.reg<r1>):
// CHECK-NEXT:    %[[A:.*]] = ebpf.ldx32 %[[CTX]][16] : r1 -> r2
// CHECK-NEXT:    ebpf.jnei %[[A]], 8, ^[[OUT:.*]], ^[[ON:[^ ]*]] : r2
// CHECK:       ^[[ON]]:
// CHECK-NEXT:    %[[KEPT:.*]] = ebpf.mov %[[CTX]] : r1 -> r{{[6-9]}}
// CHECK-NEXT:    %{{.*}} = ebpf.ldx32 %{{.*}}[20]
// CHECK:         ebpf.call 5()
// CHECK:         ebpf.ldx32 %[[KEPT]][24]
ebpf.func @early_exit section "xdp" {
^bb0(%r1 : !ebpf.reg):
  %r2 = ebpf.ldx32 %r1[16] : reg -> reg
  ebpf.jnei %r2, 8, ^out, ^on : reg
^on:
  %r1_1 = ebpf.ldx32 %r1[20] : reg -> reg
  %t = ebpf.call 5() -> reg
  %b = ebpf.ldx32 %r1[24] : reg -> reg
  %c = ebpf.add %b, %r1_1 : reg, reg -> reg
  %d = ebpf.add %c, %t : reg, reg -> reg
  ebpf.exit(%d) : reg
^out:
  %0 = ebpf.movi 0 -> reg
  ebpf.exit(%0) : reg
}

// The sum takes the register of the operand that is not needed any more. Only an address that may be in a stack frame
// stays the first operand in what is called: the verifier forgets which frame the address in `number += address` is of.
// CHECK-LABEL: ebpf.func @sum_in_program
// CHECK:         %[[N:.*]] = ebpf.ldx32 %[[P:.*]][0] : r1 -> r[[R:[0-9]]]
// CHECK-NEXT:    %{{.*}} = ebpf.add %[[N]], %[[P]] : r[[R]], r1 -> r[[R]]
ebpf.func @sum_in_program section "xdp" attributes {prog_type = "xdp"} {
^bb0(%p : !ebpf.reg):
  %n = ebpf.ldx32 %p[0] : reg -> reg
  %at = ebpf.add %p, %n : reg, reg -> reg
  ebpf.stx64 %at[0], %p : reg, reg
  %0 = ebpf.movi 0 -> reg
  ebpf.exit(%0) : reg
}

// CHECK-LABEL: ebpf.func @sum_in_subprogram
// CHECK:         %[[N:.*]] = ebpf.ldx32 %[[P:.*]][0] : r1 -> r[[R:[0-9]]]
// CHECK-NEXT:    %[[COPY:.*]] = ebpf.mov %[[P]] : r1 -> r[[S:[0-9]]]
// CHECK-NEXT:    %{{.*}} = ebpf.add %[[COPY]], %[[N]] : r[[S]], r[[R]] -> r[[S]]
ebpf.func @sum_in_subprogram section ".text" {
^bb0(%p : !ebpf.reg):
  %n = ebpf.ldx32 %p[0] : reg -> reg
  %at = ebpf.add %p, %n : reg, reg -> reg
  ebpf.stx64 %at[0], %p : reg, reg
  %0 = ebpf.movi 0 -> reg
  ebpf.exit(%0) : reg
}

// Such may be an address of the own frame, and a word from memory, also where ways meet. What a helper gave is none.
// CHECK-LABEL: ebpf.func @whose_sum
// CHECK:         ebpf.mov %[[FP:.*]] : r10 -> r[[S:[0-9]]]
// CHECK-NEXT:    ebpf.add %{{.*}}, %{{.*}} : r[[S]], r[[N:[0-9]]] -> r[[S]]
// CHECK-NEXT:    ebpf.st64 %{{.*}}[-8], 1 : r[[S]]
// CHECK:       ^[[MET:bb[0-9]+]](%[[X:.*]]: !ebpf.reg<r[[R:[0-9]]]>):
// CHECK:         ebpf.mov %[[X]] : r[[R]] -> r[[T:[0-9]]]
// CHECK-NEXT:    ebpf.add %{{.*}}, %{{.*}} : r[[T]], r[[M:[0-9]]] -> r[[T]]
// CHECK-NEXT:    ebpf.stx64 %{{.*}}[0], %{{.*}} : r[[T]], r[[R]]
// CHECK:         %[[H:.*]] = ebpf.ldx32 %{{.*}}[8]
// CHECK-NEXT:    %{{.*}} = ebpf.add %[[H]],
ebpf.func @whose_sum section ".text" {
^bb0(%p : !ebpf.reg):
  %n = ebpf.ldx32 %p[0] : reg -> reg
  %fp = ebpf.frame -> reg
  %own = ebpf.add %fp, %n : reg, reg -> reg
  ebpf.st64 %own[-8], 1 : reg
  %m = ebpf.ldx32 %p[4] : reg -> reg
  %word = ebpf.ldx64 %p[8] : reg -> reg
  %null = ebpf.movi 0 -> reg
  ebpf.jeqi %m, 0, ^met(%word : reg), ^met(%null : reg) : reg
^met(%x : !ebpf.reg):
  %at = ebpf.add %x, %m : reg, reg -> reg
  ebpf.stx64 %at[0], %x : reg, reg
  %r = ebpf.call 7() -> reg
  %h = ebpf.ldx32 %fp[8] : reg -> reg
  %sum = ebpf.add %r, %h : reg, reg -> reg
  ebpf.stx64 %fp[-16], %r : reg, reg
  ebpf.exit(%sum) : reg
}
