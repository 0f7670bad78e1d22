// RUN: fs-opt %s -p raise | filecheck %s

// The whole way up: a program that counts UDP packets by destination port, as clang compiles it.

map.decl @ports "hash" key 4 value 8 entries 64 flags 0

// CHECK-LABEL: ebpf.func @count
// CHECK-NEXT:  ^entry(%r1: !packet.ctx):
// CHECK-NEXT:    %r2 = packet.data %r1 : !packet.ctx -> !packet.ptr
// CHECK-NEXT:    %r3 = packet.end %r1 : !packet.ctx -> !packet.end_ptr
// CHECK-NEXT:    %[[G:.*]] = packet.guard %r2[38], %r3 : !packet.ptr, !packet.end_ptr -> i1
// CHECK-NEXT:    cf.cond_br %[[G]], ^in, ^out
// CHECK-NEXT:  ^in:
// CHECK:         %[[P:.*]] = packet.load %r2[36] : !packet.ptr -> i16
// CHECK-NEXT:    %[[Z:.*]] = arith.trunci %{{.*}} : i64 to i16
// CHECK-NEXT:    %[[V:.*]] = map.lookup @ports(%[[P]], %[[Z]]) : i16, i16 -> !map.value<@ports>
// CHECK-NEXT:    %[[H:.*]] = map.hit %[[V]] : !map.value<@ports> -> i1
// CHECK-NEXT:    cf.cond_br %[[H]], ^hit, ^out
// CHECK-NEXT:  ^hit:
// CHECK-NEXT:    %[[ONE:.*]] = arith.constant 1 : i64
// CHECK-NEXT:    map.atomic "add" %[[V]][0], %[[ONE]] : !map.value<@ports>, i64
// CHECK-NEXT:    cf.br ^out
// CHECK-NEXT:  ^out:
// CHECK-NEXT:    %[[PASS:.*]] = arith.constant 2 : i64
// CHECK-NEXT:    packet.verdict %[[PASS]] : i64
ebpf.func @count section "xdp" attributes {prog_type = "xdp"} {
^entry(%0 : !ebpf.reg<r1>):
  %1 = ebpf.frame -> r10
  %2 = ebpf.ldx32 %0[0] : r1 -> r2
  %3 = ebpf.ldx32 %0[4] : r1 -> r3
  %4 = ebpf.mov %2 : r2 -> r4
  %5 = ebpf.addi %4, 38 : r4 -> r4
  ebpf.jgt %5, %3, ^out, ^in : r4, r3
^in:
  ebpf.st32 %1[-4], 0 : r10
  %6 = ebpf.ldx16 %2[36] : r2 -> r5
  ebpf.stx16 %1[-4], %6 : r10, r5
  %7 = ebpf.mov %1 : r10 -> r2
  %8 = ebpf.addi %7, -4 : r2 -> r2
  %9 = ebpf.ld_sym @ports {via = "ports"} -> r1
  %10 = ebpf.call 1(%9, %8) : r1, r2 -> r0
  ebpf.jeqi %10, 0, ^out, ^hit : r0
^hit:
  %11 = ebpf.movi 1 -> r1
  ebpf.atomic_add64 %10[0], %11 : r0, r1
  ebpf.fallthrough ^out
^out:
  %12 = ebpf.movi 2 -> r0
  ebpf.exit (%12) : r0
}
