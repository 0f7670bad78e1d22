// RUN: fs-opt %s -p lower-to-xdp 2>%t | filecheck %s
// RUN: filecheck %s --check-prefix REMARK < %t
// RUN: not fs-opt %s -p lower-to-xdp --no-fallback 2>&1 | filecheck %s --check-prefix ERROR
// RUN: not fs-opt %s -p 'lower-to-xdp{fallback=false}' 2>&1 | filecheck %s --check-prefix ERROR

// Two instructions originally (`r0 = 2; exit`); what it has become needs more, so the original stands again.
// CHECK-LABEL: ebpf.func @longer
// CHECK-SAME:    keep = "lowered it has 4 instructions, originally 2"
// CHECK:         %[[R:.*]] = ebpf.movi 2 -> r0
// CHECK-NEXT:    ebpf.exit (%[[R]]) : r0
// REMARK-DAG:  remark: function longer keeps its original code: lowered it has 4 instructions, originally 2
// ERROR:       error: {{.*}}function impossible keeps its original code: 'arith.minui' has no
ebpf.func @longer section "xdp" attributes {prog_type = "xdp", original = {code = "b7000000020000009500000000000000"}} {
^bb0(%ctx : !ebpf.reg):
  %a = ebpf.ldx32 %ctx[0] : reg -> i64
  %b = ebpf.ldx32 %ctx[12] : reg -> i64
  %c = arith.addi %a, %b : i64
  ebpf.exit(%c) : i64
}

// What cannot be lowered, too, keeps the others from nothing.
// CHECK-LABEL: ebpf.func @impossible
// CHECK-SAME:    keep = "'arith.minui' has no machine instruction
// CHECK:         ebpf.movi 2 -> r0
// REMARK-DAG:  remark: function impossible keeps its original code: 'arith.minui' has no machine instruction
ebpf.func @impossible section "xdp" attributes {prog_type = "xdp", original = {code = "b7000000020000009500000000000000"}} {
^bb0(%ctx : !ebpf.reg):
  %a = ebpf.ldx32 %ctx[0] : reg -> i64
  %b = ebpf.ldx32 %ctx[12] : reg -> i64
  %c = arith.minui %a, %b : i64
  ebpf.exit(%c) : i64
}

// Shorter than its original (`r0 = 2; r2 = ctx->ingress_ifindex; if r2 == 1 goto exit; …`), but every packet that comes
// in by interface 1 took four instructions and would take five. Code that was optimized must not do that.
// CHECK-LABEL: ebpf.func @slower
// CHECK-SAME:    keep = "lowered it takes 1 instruction more than originally for some packet"
// CHECK:         ebpf.jeqi %{{.*}}, 1
// REMARK-DAG:  remark: function slower keeps its original code: lowered it takes 1 instruction more
ebpf.func @slower section "xdp" attributes {prog_type = "xdp", optimized, original = {code = "b70000000200000061120c000000000015020300010000009f12000000000000bf20000000000000b7000000010000009500000000000000"}} {
^bb0(%ctx : !ebpf.reg):
  %a = ebpf.ldx32 %ctx[12] : reg -> i64
  %b = ebpf.ldx32 %ctx[16] : reg -> i64
  %c = arith.addi %a, %b : i64
  %1 = arith.constant 1 : i64
  %d = arith.addi %c, %1 : i64
  ebpf.exit(%d) : i64
}

// The same original; what it has become passes no packet of interface 1. That no pass may do.
// CHECK-LABEL: ebpf.func @wrong
// CHECK-SAME:    keep = "{{.*}}does something else than originally on packet
// CHECK:         ebpf.jeqi %{{.*}}, 1
// REMARK-DAG:  remark: function wrong keeps its original code: function wrong does something else than originally
ebpf.func @wrong section "xdp" attributes {prog_type = "xdp", original = {code = "b70000000200000061120c000000000015020300010000009f12000000000000bf20000000000000b7000000010000009500000000000000"}} {
^bb0(%ctx : !ebpf.reg):
  %a = ebpf.ldx32 %ctx[12] : reg -> i64
  ebpf.exit(%a) : i64
}
