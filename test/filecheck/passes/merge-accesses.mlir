// RUN: fs-opt %s -p merge-accesses,fold-constants,eliminate-dead-code | filecheck %s

map.decl @routes "hash" key 4 value 16 entries 16 flags 0

// clang reads a field of a packed structure byte by byte. In the other order it is a load and a swap.
// CHECK-LABEL: ebpf.func @words
// CHECK-NEXT:    ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:      %data = packet.data
// CHECK-NEXT:      %[[LITTLE:.*]] = packet.load %data[12] : !packet.ptr -> i16
// CHECK-NEXT:      %[[A:.*]] = arith.extui %[[LITTLE]] : i16 to i64
// CHECK-NEXT:      %[[BIG:.*]] = packet.load %data[26] : !packet.ptr -> i32
// CHECK-NEXT:      %[[B:.*]] = arith.extui %[[BIG]] : i32 to i64
// CHECK-NEXT:      %[[C:.*]] = ebpf.be32 %[[B]] : i64 -> i64
// CHECK-NEXT:      arith.addi %[[A]], %[[C]] : i64
ebpf.func @words section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %eight = arith.constant 8 : i64
  %sixteen = arith.constant 16 : i64
  %p0 = packet.load %data[12] : !packet.ptr -> i8
  %p1 = packet.load %data[13] : !packet.ptr -> i8
  %w0 = arith.extui %p0 : i8 to i64
  %w1 = arith.extui %p1 : i8 to i64
  %h1 = arith.shli %w1, %eight : i64
  %little = arith.ori %h1, %w0 : i64
  %b0 = packet.load %data[26] : !packet.ptr -> i8
  %b1 = packet.load %data[27] : !packet.ptr -> i8
  %b2 = packet.load %data[28] : !packet.ptr -> i16
  %v0 = arith.extui %b0 : i8 to i64
  %v1 = arith.extui %b1 : i8 to i64
  %v2 = arith.extui %b2 : i16 to i64
  %s0 = arith.shli %v0, %eight : i64
  %upper = arith.ori %s0, %v1 : i64
  %s1 = arith.shli %upper, %sixteen : i64
  %lower = ebpf.be16 %v2 : i64 -> i64
  %big = arith.ori %s1, %lower : i64
  %sum = arith.addi %little, %big : i64
  packet.verdict %sum : i64
}

// Six bytes copied from a map value, constants, and a word taken apart.
// CHECK-LABEL: ebpf.func @stores
// CHECK:         ^bb1:
// CHECK-NEXT:      %[[HIGH:.*]] = map.load %route[4] : !map.value<@routes> -> i16
// CHECK-NEXT:      packet.store %data[4], %[[HIGH]] : !packet.ptr, i16
// CHECK-NEXT:      %[[LOW:.*]] = map.load %route[0] : !map.value<@routes> -> i32
// CHECK-NEXT:      packet.store %data[0], %[[LOW]] : !packet.ptr, i32
// CHECK-NEXT:      %[[TYPE:.*]] = arith.constant 8 : i16
// CHECK-NEXT:      packet.store %data[12], %[[TYPE]] : !packet.ptr, i16
// CHECK-NEXT:      %[[QUEUE:.*]] = arith.extui %queue : i32 to i64
// CHECK-NEXT:      %[[SWAPPED:.*]] = ebpf.be16 %[[QUEUE]] : i64 -> i64
// CHECK-NEXT:      %[[FIELD:.*]] = arith.trunci %[[SWAPPED]] : i64 to i16
// CHECK-NEXT:      packet.store %data[14], %[[FIELD]] : !packet.ptr, i16
ebpf.func @stores section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %one = arith.constant 1 : i64
  %route = map.lookup @routes(%queue) : i32 -> !map.value<@routes>
  %hit = map.hit %route : !map.value<@routes> -> i1
  cf.cond_br %hit, ^bb1, ^bb2
^bb1:
  %a5 = map.load %route[5] : !map.value<@routes> -> i8
  packet.store %data[5], %a5 : !packet.ptr, i8
  %a4 = map.load %route[4] : !map.value<@routes> -> i8
  packet.store %data[4], %a4 : !packet.ptr, i8
  %a0 = map.load %route[0] : !map.value<@routes> -> i16
  %a2 = map.load %route[2] : !map.value<@routes> -> i16
  packet.store %data[0], %a0 : !packet.ptr, i16
  packet.store %data[2], %a2 : !packet.ptr, i16
  %low = arith.constant 8 : i8
  %high = arith.constant 0 : i8
  packet.store %data[12], %low : !packet.ptr, i8
  packet.store %data[13], %high : !packet.ptr, i8
  %eight = arith.constant 8 : i32
  %above = arith.shrui %queue, %eight : i32
  %first = arith.trunci %above : i32 to i8
  %second = arith.trunci %queue : i32 to i8
  packet.store %data[14], %first : !packet.ptr, i8
  packet.store %data[15], %second : !packet.ptr, i8
  cf.br ^bb2
^bb2:
  packet.verdict %one : i64
}

// Not together: bytes that a store in between may touch, bytes with a gap, bytes that overlap in the word.
// CHECK-LABEL: ebpf.func @apart
// CHECK-COUNT-6:   packet.load %data[{{.*}}] : !packet.ptr -> i8
// CHECK:           arith.addi
ebpf.func @apart section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %eight = arith.constant 8 : i64
  %p0 = packet.load %data[12] : !packet.ptr -> i8
  packet.store %data[13], %p0 : !packet.ptr, i8
  %p1 = packet.load %data[13] : !packet.ptr -> i8
  %w0 = arith.extui %p0 : i8 to i64
  %w1 = arith.extui %p1 : i8 to i64
  %h1 = arith.shli %w1, %eight : i64
  %changed = arith.ori %h1, %w0 : i64
  %b0 = packet.load %data[26] : !packet.ptr -> i8
  %b1 = packet.load %data[28] : !packet.ptr -> i8
  %v0 = arith.extui %b0 : i8 to i64
  %v1 = arith.extui %b1 : i8 to i64
  %s1 = arith.shli %v1, %eight : i64
  %gap = arith.ori %s1, %v0 : i64
  %c0 = packet.load %data[30] : !packet.ptr -> i8
  %c1 = packet.load %data[31] : !packet.ptr -> i8
  %x0 = arith.extui %c0 : i8 to i64
  %x1 = arith.extui %c1 : i8 to i64
  %four = arith.constant 4 : i64
  %t1 = arith.shli %x1, %four : i64
  %mixed = arith.ori %t1, %x0 : i64
  %sum = arith.addi %changed, %gap : i64
  %all = arith.addi %sum, %mixed : i64
  packet.verdict %all : i64
}

// Not together: copies whose source changes in between, a store that is read in between, constants too wide for an
// instruction, map bytes off their alignment, and bits that a shift has brought in.
// CHECK-LABEL: ebpf.func @apart_too
// CHECK:         ^bb1:
// CHECK-COUNT-2:   packet.load %data[{{[01]}}] : !packet.ptr -> i8
// CHECK-COUNT-2:   packet.store %data[{{.*}}], %{{.*}} : !packet.ptr, i8
// CHECK-COUNT-2:   packet.store %data[{{(4|8)}}], %{{.*}} : !packet.ptr, i32
// CHECK:           packet.store %data[16], %{{.*}} : !packet.ptr, i8
// CHECK-NEXT:      %{{.*}} = packet.load
// CHECK-NEXT:      packet.store %data[17], %{{.*}} : !packet.ptr, i8
// CHECK-COUNT-2:   map.store %route[{{.*}}], %{{.*}} : !map.value<@routes>, i8
// CHECK-COUNT-2:   packet.store %data[{{.*}}], %{{.*}} : !packet.ptr, i16
ebpf.func @apart_too section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %one = arith.constant 1 : i64
  %route = map.lookup @routes(%queue) : i32 -> !map.value<@routes>
  %hit = map.hit %route : !map.value<@routes> -> i1
  cf.cond_br %hit, ^bb1, ^bb2
^bb1:
  %a0 = packet.load %data[0] : !packet.ptr -> i8
  %zero = arith.constant 0 : i16
  packet.store %data[1], %zero : !packet.ptr, i16
  %a1 = packet.load %data[1] : !packet.ptr -> i8
  packet.store %data[40], %a0 : !packet.ptr, i8
  packet.store %data[41], %a1 : !packet.ptr, i8
  %lower = arith.constant 1 : i32
  packet.store %data[4], %lower : !packet.ptr, i32
  packet.store %data[8], %lower : !packet.ptr, i32
  %byte = arith.constant 1 : i8
  packet.store %data[16], %byte : !packet.ptr, i8
  %read = packet.load %data[16] : !packet.ptr -> i16
  packet.store %data[17], %byte : !packet.ptr, i8
  map.store %route[1], %byte : !map.value<@routes>, i8
  map.store %route[2], %byte : !map.value<@routes>, i8
  %eight = arith.constant 8 : i16
  %down = arith.shrui %read, %eight : i16
  packet.store %data[52], %read : !packet.ptr, i16
  packet.store %data[54], %down : !packet.ptr, i16
  cf.br ^bb2
^bb2:
  packet.verdict %one : i64
}
