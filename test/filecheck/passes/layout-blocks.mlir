// RUN: fs-opt %s -p layout-blocks | filecheck %s

// The else successor comes next, by inverting the condition where the order asks for it.
// CHECK-LABEL: ebpf.func @invert
// CHECK:         ebpf.jnei %{{.*}}, 0, ^other, ^zero : r1
// CHECK-NEXT:  ^zero:
// CHECK-NEXT:    ebpf.movi 1 -> r0
// CHECK:       ^other:
// CHECK-NEXT:    ebpf.movi 2 -> r0
ebpf.func @invert section "xdp" {
^bb0(%x : !ebpf.reg<r1>):
  ebpf.jeqi %x, 0, ^zero, ^other : r1
^zero:
  %a = ebpf.movi 1 -> r0
  ebpf.exit(%a) : r0
^other:
  %b = ebpf.movi 2 -> r0
  ebpf.exit(%b) : r0
}

// `jset` has no inverse: the blocks change places.
// CHECK-LABEL: ebpf.func @no_inverse
// CHECK:         ebpf.jseti %{{.*}}, 4, ^set, ^clear : r1
// CHECK-NEXT:  ^clear:
// CHECK-NEXT:    ebpf.movi 2 -> r0
// CHECK:       ^set:
// CHECK-NEXT:    ebpf.movi 1 -> r0
ebpf.func @no_inverse section "xdp" {
^bb0(%x : !ebpf.reg<r1>):
  ebpf.jseti %x, 4, ^set, ^clear : r1
^set:
  %a = ebpf.movi 1 -> r0
  ebpf.exit(%a) : r0
^clear:
  %b = ebpf.movi 2 -> r0
  ebpf.exit(%b) : r0
}

// A block moves behind the one that jumps to it when nothing falls through to it: no jump is left.
// CHECK-LABEL: ebpf.func @move
// CHECK-NOT:     ebpf.ja
// CHECK:         ebpf.fallthrough
// CHECK-NOT:     ebpf.ja
// CHECK:       }
ebpf.func @move section "xdp" {
^bb0(%x : !ebpf.reg<r1>):
  ebpf.jeqi %x, 0, ^far, ^near : r1
^near:
  %a = ebpf.movi 1 -> r2
  ebpf.ja ^end(%a : r2)
^far:
  %b = ebpf.movi 2 -> r0
  ebpf.exit(%b) : r0
^end(%c : !ebpf.reg<r2>):
  %d = ebpf.mov %c : r2 -> r0
  ebpf.exit(%d) : r0
}

// Jumps to jumps go to where they end; a branch that ends in one place is none; a jump to an exit is an exit.
// CHECK-LABEL: ebpf.func @thread
// CHECK-NEXT:  ^bb0(%{{.*}}: !ebpf.reg<r1>):
// CHECK-NEXT:    ebpf.fallthrough ^c
// CHECK-NEXT:  ^c:
// CHECK-NEXT:    ebpf.movi 0 -> r0
// CHECK-NEXT:    ebpf.exit
ebpf.func @thread section "xdp" {
^bb0(%x : !ebpf.reg<r1>):
  ebpf.jeqi %x, 0, ^a, ^b : r1
^a:
  ebpf.ja ^c
^b:
  ebpf.ja ^c
^c:
  %0 = ebpf.movi 0 -> r0
  ebpf.exit(%0) : r0
}

// Both edges lead backwards: one of them gets a jump of its own.
// CHECK-LABEL: ebpf.func @detour
// CHECK:         ebpf.jeqi %{{.*}}, 7, ^head, ^[[D:bb[0-9]+]] : r1
// CHECK-NEXT:  ^[[D]]:
// CHECK-NEXT:    ebpf.ja ^tail
ebpf.func @detour section "xdp" {
^bb0(%x : !ebpf.reg<r1>):
  ebpf.ja ^head
^head:
  ebpf.may_goto ^out, ^tail
^tail:
  ebpf.may_goto ^out, ^body
^body:
  ebpf.jeqi %x, 7, ^head, ^tail : r1
^out:
  %0 = ebpf.movi 0 -> r0
  ebpf.exit(%0) : r0
}

// A loop keeps its shape; unreachable blocks go.
// CHECK-LABEL: ebpf.func @loop
// CHECK:       ^head(%{{.*}}: !ebpf.reg<r1>):
// CHECK:         ebpf.jnei %{{.*}}, 0, ^head(%{{.*}} : r1), ^done : r1
// CHECK-NEXT:  ^done:
// CHECK-NEXT:    ebpf.movi 0 -> r0
// CHECK-NEXT:    ebpf.exit
// CHECK-NEXT:  }
ebpf.func @loop section "xdp" {
^bb0(%n : !ebpf.reg<r1>):
  ebpf.ja ^head(%n : r1)
^head(%i : !ebpf.reg<r1>):
  %j = ebpf.addi %i, -1 : r1 -> r1
  ebpf.jnei %j, 0, ^head(%j : r1), ^done : r1
^nowhere:
  ebpf.ja ^done
^done:
  %0 = ebpf.movi 0 -> r0
  ebpf.exit(%0) : r0
}

// A function longer than its original sets a result early, where its register is free, and exits in one place.
// CHECK-LABEL: ebpf.func @early
// CHECK-NEXT:  ^bb0(%[[X:.*]]: !ebpf.reg<r1>):
// CHECK-NEXT:    %[[ONE:.*]] = ebpf.movi 1 -> r0
// CHECK-NEXT:    ebpf.jeqi %[[X]], 5, ^[[END:.*]](%[[ONE]] : r0), ^[[B:.*]] : r1
// CHECK:         %[[T:.*]] = ebpf.call 7() -> r0
// CHECK-NEXT:    ebpf.fallthrough ^[[END]](%[[T]] : r0)
// CHECK-NEXT:  ^[[END]](%[[R:.*]]: !ebpf.reg<r0>):
// CHECK-NEXT:    ebpf.exit (%[[R]]) : r0
// CHECK-NEXT:  }
ebpf.func @early section "xdp" attributes {prog_type = "xdp", original = {code = "b700000001000000150101000500000085000000070000009500000000000000", refs = []}} {
^bb0(%x : !ebpf.reg<r1>):
  ebpf.jeqi %x, 5, ^one, ^other : r1
^other:
  %t = ebpf.call 7() -> r0
  ebpf.exit(%t) : r0
^one:
  %c = ebpf.movi 1 -> r0
  ebpf.exit(%c) : r0
}

// Not where something else is in that register.
// CHECK-LABEL: ebpf.func @taken
// CHECK:         ebpf.jeqi %{{.*}}, 5
// CHECK:         ebpf.movi 1 -> r0
// CHECK-NEXT:    ebpf.exit
ebpf.func @taken section "xdp" attributes {prog_type = "xdp", original = {code = "9500000000000000", refs = []}} {
^bb0(%x : !ebpf.reg<r1>):
  %a = ebpf.ldx64 %x[0] : r1 -> r0
  ebpf.jeqi %x, 5, ^one, ^other : r1
^other:
  ebpf.exit(%a) : r0
^one:
  %c = ebpf.movi 1 -> r0
  ebpf.exit(%c) : r0
}
