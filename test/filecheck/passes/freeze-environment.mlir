// RUN: fs-opt %s -p freeze-environment | filecheck %s
// RUN: fs-opt %s -p freeze-environment,freeze-environment | filecheck %s

// The words live in global data of their own, whose symbol the exporter makes.
// CHECK: map.decl @".data.frozen" "array" key 4 value 40 entries 1 flags 1024 {section = ".data.frozen", internal = unit}

// Machine code: what the call would have clobbered anyway serves as scratch.
// CHECK-LABEL: ebpf.func @machine
// CHECK-NEXT:  ^bb0(%0: !ebpf.reg<r1>):
// CHECK-NEXT:    %1 = ebpf.ld_sym @".data.frozen" {offset = #builtin.int<0>, via = "section"} -> r1
// CHECK-NEXT:    %2 = ebpf.ldx64 %1[0] : r1 -> r0
// CHECK-NEXT:    %3 = ebpf.mov %2 : r0 -> r6
// CHECK-NEXT:    %4 = ebpf.ld_sym @".data.frozen" {offset = #builtin.int<0>, via = "section"} -> r1
// CHECK-NEXT:    %5 = ebpf.ldx64 %4[32] : r1 -> r0
// CHECK-NEXT:    %6 = ebpf.lddw 6364136223846793005 -> r2
// CHECK-NEXT:    %7 = ebpf.mul %5, %6 : r0, r2 -> r0
// CHECK-NEXT:    %8 = ebpf.lddw 1442695040888963407 -> r2
// CHECK-NEXT:    %9 = ebpf.add %7, %8 : r0, r2 -> r0
// CHECK-NEXT:    ebpf.stx64 %4[32], %9 : r1, r0
// CHECK-NEXT:    %10 = ebpf.rshi %9, 32 : r0 -> r0
// CHECK-NEXT:    ebpf.exit (%10) : r0
ebpf.func @machine section "xdp" attributes {prog_type = "xdp"} {
^bb0(%0: !ebpf.reg<r1>):
  %1 = ebpf.call 5(%0) : r1 -> r0
  %2 = ebpf.mov %1 : r0 -> r6
  %3 = ebpf.call 7() -> r0
  ebpf.exit (%3) : r0
}

// Raised code; its original asks the kernel, and must not come back.
// CHECK-LABEL: ebpf.func @raised section "xdp2" attributes {prog_type = "xdp"}
// CHECK-NEXT:  ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:    %0 = ebpf.ld_sym @".data.frozen" {offset = #builtin.int<0>, via = "section"} -> reg
// CHECK-NEXT:    %1 = ebpf.ldx64 %0[24] : reg -> i64
// CHECK-NEXT:    packet.verdict %1 : i64
ebpf.func @raised section "xdp2" attributes {prog_type = "xdp", original = {code = ""}} {
^bb0(%ctx: !packet.ctx):
  %1 = ebpf.call 118() -> i64
  packet.verdict %1 : i64
}

// Other helpers stay.
// CHECK-LABEL: ebpf.func @same
// CHECK:         ebpf.call 8
ebpf.func @same section "xdp3" attributes {prog_type = "xdp", original = {code = ""}} {
^bb0(%ctx: !packet.ctx):
  %1 = ebpf.call 8() -> i64
  packet.verdict %1 : i64
}

// CHECK: object.section "license"
// CHECK-NEXT: object.section ".data.frozen" type 1 flags 3 align 8
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
