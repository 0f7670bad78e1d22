// RUN: fs-opt %s -p schedule-uses | filecheck %s

// The sum is made behind the last use of what it overwrites.
// CHECK-LABEL: ebpf.func @sink
// CHECK-NEXT:  ^bb0
// CHECK-NEXT:    ebpf.stx64 %p[8], %x : reg, i64
// CHECK-NEXT:    %y = ebpf.addi %x, 1 : i64 -> i64
// CHECK-NEXT:    ebpf.stx64 %p[0], %y : reg, i64
ebpf.func @sink section "xdp" {
^bb0(%p : !ebpf.reg, %x : i64):
  %y = ebpf.addi %x, 1 : i64 -> i64
  ebpf.stx64 %p[8], %x : !ebpf.reg, i64
  ebpf.stx64 %p[0], %y : !ebpf.reg, i64
  ebpf.exit (%y) : i64
}

// Where the sum is used in between, the other use comes before it, past other bytes of the frame.
// CHECK-LABEL: ebpf.func @raise
// CHECK:         ebpf.stx32 %fp[-8], %x : !ebpf.fp, i64
// CHECK-NEXT:    %y = ebpf.rshi %x, 32 : i64 -> i64
// CHECK-NEXT:    ebpf.stx32 %fp[-4], %y : !ebpf.fp, i64
ebpf.func @raise section "xdp" {
^bb0(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  %y = ebpf.rshi %x, 32 : i64 -> i64
  ebpf.stx32 %fp[-4], %y : !ebpf.fp, i64
  ebpf.stx32 %fp[-8], %x : !ebpf.fp, i64
  %r = ebpf.call 7() -> i64
  ebpf.exit (%r) : i64
}

// Not past the same bytes, other memory, or a call; and not where another block needs the operand.
// CHECK-LABEL: ebpf.func @same
// CHECK:         %y = ebpf.rshi
ebpf.func @same section "xdp" {
^bb0(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  %y = ebpf.rshi %x, 32 : i64 -> i64
  ebpf.stx32 %fp[-6], %y : !ebpf.fp, i64
  ebpf.stx32 %fp[-8], %x : !ebpf.fp, i64
  %r = ebpf.call 7() -> i64
  ebpf.exit (%r) : i64
}

// CHECK-LABEL: ebpf.func @other
// CHECK-NEXT:  ^bb0
// CHECK-NEXT:    %y = ebpf.rshi
ebpf.func @other section "xdp" {
^bb0(%p : !ebpf.reg, %q : !ebpf.reg, %x : i64):
  %y = ebpf.rshi %x, 32 : i64 -> i64
  ebpf.stx32 %p[0], %y : !ebpf.reg, i64
  ebpf.stx32 %q[0], %x : !ebpf.reg, i64
  %r = ebpf.call 7() -> i64
  ebpf.exit (%r) : i64
}

// CHECK-LABEL: ebpf.func @call
// CHECK-NEXT:  ^bb0
// CHECK-NEXT:    %y = ebpf.rshi
ebpf.func @call section "xdp" {
^bb0(%p : !ebpf.reg, %x : i64):
  %y = ebpf.rshi %x, 32 : i64 -> i64
  %r = ebpf.call 7(%x) : i64 -> i64
  ebpf.exit (%y) : i64
}

// CHECK-LABEL: ebpf.func @elsewhere
// CHECK-NEXT:  ^bb0
// CHECK-NEXT:    %y = ebpf.rshi
ebpf.func @elsewhere section "xdp" {
^bb0(%p : !ebpf.reg, %x : i64):
  %y = ebpf.rshi %x, 32 : i64 -> i64
  ebpf.stx64 %p[0], %x : !ebpf.reg, i64
  ebpf.jeqi %y, 0, ^a, ^b : i64
^a:
  ebpf.exit (%x) : i64
^b:
  ebpf.exit (%y) : i64
}
