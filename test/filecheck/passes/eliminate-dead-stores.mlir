// RUN: fs-opt %s -p eliminate-dead-stores | filecheck %s

map.decl @flows "hash" key 4 value 16 entries 16 flags 0

// Written again on both ways before anything reads it, by a wider store on one of them.
// CHECK-LABEL: ebpf.func @again
// CHECK:           packet.store %data[8], %word
// CHECK-NEXT:      %test
// CHECK-NEXT:      cf.cond_br
// CHECK-COUNT-2:   packet.store %data[
ebpf.func @again section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %byte = arith.constant 7 : i8
  %word = arith.constant 7 : i32
  %verdict = arith.constant 2 : i64
  packet.store %data[2], %byte : !packet.ptr, i8
  packet.store %data[8], %word : !packet.ptr, i32
  %test = arith.cmpi eq, %verdict, %verdict : i64
  cf.cond_br %test, ^bb1, ^bb2
^bb1:
  packet.store %data[2], %byte : !packet.ptr, i8
  packet.verdict %verdict : i64
^bb2:
  packet.store %data[0], %word : !packet.ptr, i32
  packet.verdict %verdict : i64
}

// Kept: read in between, by the same address, by another one, by a helper; written again on one way only, or in part;
// and what is seen at the end.
// CHECK-LABEL: ebpf.func @read
// CHECK-COUNT-8:   packet.store
// CHECK:           }
ebpf.func @read section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %byte = arith.constant 7 : i8
  %word = arith.constant 7 : i32
  %verdict = arith.constant 2 : i64
  packet.store %data[0], %byte : !packet.ptr, i8
  %same = packet.load %data[0] : !packet.ptr -> i8
  packet.store %data[0], %same : !packet.ptr, i8
  %ihl = arith.extui %same : i8 to i64
  %moved = packet.advance %data, %ihl : !packet.ptr, i64 -> !packet.ptr
  %other = packet.load %moved[2] : !packet.ptr -> i8
  packet.store %data[0], %other : !packet.ptr, i8
  %none = arith.constant 0 : i64
  %size = arith.constant 4 : i64
  %sum = ebpf.call 28(%data, %size, %data, %none, %none) : !packet.ptr, i64, !packet.ptr, i64, i64 -> i64
  packet.store %data[0], %word : !packet.ptr, i32
  packet.store %data[1], %byte : !packet.ptr, i8
  packet.store %data[8], %word : !packet.ptr, i32
  %test = arith.cmpi eq, %sum, %verdict : i64
  cf.cond_br %test, ^bb1, ^bb2
^bb1:
  packet.store %data[8], %word : !packet.ptr, i32
  packet.verdict %verdict : i64
^bb2:
  packet.store %data[20], %word : !packet.ptr, i32
  packet.verdict %verdict : i64
}

// The frame: what nothing reads goes, what a load or a helper reads stays.
// CHECK-LABEL: ebpf.func @frame
// CHECK-NOT:       ebpf.st64 %fp[-16]
// CHECK:           ebpf.st64 %fp[-8], 1
// CHECK-NEXT:      ebpf.st32 %fp[-24], 3
// CHECK-NEXT:      %key
// CHECK-NEXT:      map.lookup_at
// CHECK-NEXT:      %value = ebpf.ldx64 %fp[-8]
// CHECK-NEXT:      packet.verdict
ebpf.func @frame section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.st64 %fp[-8], 1 : !ebpf.fp
  ebpf.st32 %fp[-24], 3 : !ebpf.fp
  %key = ebpf.addi %fp, -24 : !ebpf.fp -> !ebpf.fp
  %v = map.lookup_at @flows[%key] : !ebpf.fp -> !map.value<@flows>
  ebpf.st64 %fp[-16], 2 : !ebpf.fp
  %value = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
  packet.verdict %value : i64
}

// What takes an address of the frame reads what it says the size of: the key of a lookup, the 8 bytes of the sum. Where
// an address gets out of sight (here into memory), it may be anything.
// CHECK-LABEL: ebpf.func @reads_of_the_frame
// CHECK-NOT:       ebpf.st64 %fp[-16]
// CHECK:           ebpf.st32 %fp[-8], 2
// CHECK-NOT:       ebpf.st64 %fp[-40]
// CHECK:           ebpf.st64 %fp[-32], 4
// CHECK:           packet.verdict
ebpf.func @reads_of_the_frame section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.st64 %fp[-16], 1 : !ebpf.fp
  ebpf.st32 %fp[-8], 2 : !ebpf.fp
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %v = map.lookup_at @flows[%key] : !ebpf.fp -> !map.value<@flows>
  ebpf.st64 %fp[-40], 3 : !ebpf.fp
  ebpf.st64 %fp[-32], 4 : !ebpf.fp
  %from = ebpf.addi %fp, -32 : !ebpf.fp -> !ebpf.fp
  %none = arith.constant 0 : i64
  %size = arith.constant 8 : i64
  %sum = ebpf.call 28(%from, %size, %none, %none, %none) : !ebpf.fp, i64, i64, i64, i64 -> i64
  packet.verdict %sum : i64
}

// CHECK-LABEL: ebpf.func @escaped
// CHECK:           ebpf.st64 %fp[-16], 1
ebpf.func @escaped section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.st64 %fp[-16], 1 : !ebpf.fp
  ebpf.stx64 %fp[-24], %fp : !ebpf.fp, !ebpf.fp
  %from = ebpf.addi %fp, -24 : !ebpf.fp -> !ebpf.fp
  %none = arith.constant 0 : i64
  %size = arith.constant 8 : i64
  %sum = ebpf.call 28(%from, %size, %none, %none, %none) : !ebpf.fp, i64, i64, i64, i64 -> i64
  packet.verdict %sum : i64
}

// Around a loop everything may be read.
// CHECK-LABEL: ebpf.func @loop
// CHECK-COUNT-2:   packet.store
// CHECK:           }
ebpf.func @loop section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %byte = arith.constant 7 : i8
  %verdict = arith.constant 2 : i64
  cf.br ^bb1
^bb1:
  %old = packet.load %data[0] : !packet.ptr -> i8
  packet.store %data[0], %byte : !packet.ptr, i8
  %test = arith.cmpi eq, %old, %byte : i8
  cf.cond_br %test, ^bb1, ^bb2
^bb2:
  packet.store %data[0], %byte : !packet.ptr, i8
  packet.verdict %verdict : i64
}
