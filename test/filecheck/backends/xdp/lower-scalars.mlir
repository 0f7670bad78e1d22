// RUN: fs-opt %s -p 'lower-scalars{cpu=2}' | filecheck %s
// RUN: fs-opt %s -p 'lower-scalars{cpu=4}' | filecheck %s --check-prefix V4

// Immediates where they fit, and what is cheapest: a mask of the low half is a 32-bit move.
// CHECK-LABEL: ebpf.func @immediates
// CHECK-NEXT:  ^bb0(%[[X:.*]]: i64):
// CHECK-NEXT:    %[[A:.*]] = ebpf.addi %[[X]], 5 : i64 -> i64
// CHECK-NEXT:    %[[B:.*]] = ebpf.addi %[[A]], -7 : i64 -> i64
// CHECK-NEXT:    %[[C:.*]] = ebpf.mov32 %[[B]] : i64 -> i64
// CHECK-NEXT:    %[[BIG:.*]] = ebpf.lddw 81985529216486895 -> i64
// CHECK-NEXT:    %[[D:.*]] = ebpf.xor %[[C]], %[[BIG]] : i64, i64 -> i64
// CHECK-NEXT:    %[[E:.*]] = ebpf.rshi %[[D]], 3 : i64 -> i64
// CHECK-NEXT:    ebpf.exit (%[[E]]) : i64
ebpf.func @immediates section "xdp" {
^bb0(%x : i64):
  %five = arith.constant 5 : i64
  %seven = arith.constant 7 : i64
  %low = arith.constant 4294967295 : i64
  %big = arith.constant 81985529216486895 : i64
  %three = arith.constant 3 : i64
  %a = arith.addi %five, %x : i64
  %b = arith.subi %a, %seven : i64
  %c = arith.andi %b, %low : i64
  %d = arith.xori %c, %big : i64
  %e = arith.shrui %d, %three : i64
  ebpf.exit(%e) : i64
}

// What is loaded or computed in 32 bits is zero above: extending it costs nothing. What comes from anywhere does not.
// CHECK-LABEL: ebpf.func @extensions
// CHECK:         %[[L:.*]] = ebpf.ldx8 %{{.*}}[0] : !packet.ptr -> i8
// CHECK-NEXT:    ebpf.cast %[[L]] : i8 -> i64
// CHECK:         ebpf.add32 %{{.*}}, %{{.*}} : i32, i32 -> i32
// CHECK-NEXT:    ebpf.cast %{{.*}} : i32 -> i64
// CHECK-NEXT:    %[[C:.*]] = ebpf.cast %{{.*}} : i64 -> i32
// CHECK-NEXT:    %[[UP:.*]] = ebpf.lshi %[[C]], 32 : i32 -> i64
// CHECK-NEXT:    ebpf.arshi %[[UP]], 32 : i64 -> i64
// CHECK-NEXT:    ebpf.mov32 %[[C]] : i32 -> i64
// V4-LABEL:    ebpf.func @extensions
// V4:            ebpf.movsx32 %{{.*}} : i32 -> i64
ebpf.func @extensions section "xdp" {
^bb0(%p : !packet.ptr, %x : i64):
  %l = ebpf.ldx8 %p[0] : !packet.ptr -> i8
  %l64 = arith.extui %l : i8 to i64
  %x32 = arith.trunci %x : i64 to i32
  %s = arith.addi %x32, %x32 : i32
  %s64 = arith.extui %s : i32 to i64
  %c = arith.trunci %x : i64 to i32
  %z = arith.extui %c : i32 to i64
  %n = arith.extsi %c : i32 to i64
  ebpf.stx64 %p[0], %l64 : !packet.ptr, i64
  ebpf.stx64 %p[8], %s64 : !packet.ptr, i64
  ebpf.stx64 %p[16], %z : !packet.ptr, i64
  ebpf.exit(%n) : i64
}

// Comparisons become jumps, a tested mask `jset`; the next block is the else successor where that is possible.
// CHECK-LABEL: ebpf.func @jumps
// CHECK:         ebpf.jgei %{{.*}}, 6, ^b, ^a : i64
// CHECK:         ebpf.jseti %{{.*}}, 64, ^c, ^b : i64
// CHECK:         ebpf.ja ^c
// CHECK:         ebpf.mov32
// CHECK-NEXT:    ebpf.jgti %{{.*}}, 9, ^d, ^e : i64
// V4-LABEL:    ebpf.func @jumps
// V4:            ebpf.jgti32 %{{.*}}, 9, ^d, ^e : i32
ebpf.func @jumps section "xdp" {
^bb0(%x : i64):
  %six = arith.constant 6 : i64
  %bit = arith.constant 64 : i64
  %zero = arith.constant 0 : i64
  %nine = arith.constant 9 : i32
  %lt = arith.cmpi ult, %x, %six : i64
  cf.cond_br %lt, ^a, ^b
^a:
  %m = arith.andi %x, %bit : i64
  %set = arith.cmpi ne, %m, %zero : i64
  cf.cond_br %set, ^c, ^b
^b:
  cf.br ^c
^c:
  %y = arith.trunci %x : i64 to i32
  %gt = arith.cmpi ugt, %y, %nine : i32
  cf.cond_br %gt, ^d, ^e
^e:
  ebpf.exit(%six) : i64
^d:
  ebpf.exit(%x) : i64
}

// A difference from zero is a negation, which needs no register for the zero.
// CHECK-LABEL: ebpf.func @negation
// CHECK:         ebpf.neg32 %{{.*}} : i32 -> i32
ebpf.func @negation section "xdp" {
^bb0(%x : i32):
  %zero = arith.constant 0 : i32
  %n = arith.subi %zero, %x : i32
  %w = arith.extui %n : i32 to i64
  ebpf.exit(%w) : i64
}

// From version 4 on, a load that is only sign-extended is one instruction; older ones, and fields of the context, take
// their own. What an atomic operation of 32 bits gives has zeros above.
// CHECK-LABEL: ebpf.func @signed_load
// CHECK:         ebpf.ldx32
// CHECK:         ebpf.arshi
// V4-LABEL:    ebpf.func @signed_load
// V4:            %[[L:.*]] = ebpf.ldxs32 %{{.*}}[8] : !packet.ptr -> i64
// V4-NOT:        ebpf.ldx32
// V4:            ebpf.atomic_fetch_add32
// V4-NOT:        ebpf.mov32
// V4:            ebpf.exit
ebpf.func @signed_load section "xdp" {
^bb0(%p : !packet.ptr, %v : i32):
  %x = ebpf.ldx32 %p[8] : !packet.ptr -> i32
  %s = arith.extsi %x : i32 to i64
  %f = ebpf.atomic_fetch_add32 %p[0], %v : !packet.ptr, i32 -> i32
  %w = arith.extui %f : i32 to i64
  %r = arith.addi %s, %w : i64
  ebpf.exit(%r) : i64
}

// An extension that nothing else needs is made where it stands: the other way does without it.
// CHECK-LABEL: ebpf.func @extended_on_one_way
// CHECK:         ebpf.stx32
// CHECK-NEXT:    ebpf.jeqi
// CHECK:       ^go:
// CHECK-NEXT:    ebpf.lshi
// CHECK-NEXT:    ebpf.arshi
ebpf.func @extended_on_one_way section "xdp" {
^bb0(%p : !packet.ptr, %v : i64):
  %x = arith.trunci %v : i64 to i32
  ebpf.stx32 %p[8], %x : !packet.ptr, i32
  %zero = arith.constant 0 : i64
  %none = arith.cmpi eq, %v, %zero : i64
  cf.cond_br %none, ^out, ^go
^go:
  %s = arith.extsi %x : i32 to i64
  ebpf.exit(%s) : i64
^out:
  ebpf.exit(%v) : i64
}
