// RUN: fs-opt %s -p sink-code | filecheck %s

map.decl @flows "hash" key 4 value 8 entries 16 flags 0

// The address, the load and the store are for one way only; what the other way needs, too, stays.
// CHECK-LABEL: ebpf.func @one_way
// CHECK:           %both = arith.shli
// CHECK-NEXT:      %few = arith.cmpi
// CHECK-NEXT:      cf.cond_br %few, ^bb1, ^bb2
// CHECK-NEXT:    ^bb1:
// CHECK-NEXT:      %byte = packet.load %data[0]
// CHECK-NEXT:      %wide = arith.extui %byte
// CHECK-NEXT:      ebpf.st64 %fp[-8], 0
// CHECK:           %r0 = ebpf.call 1000
// CHECK:         ^bb2:
// CHECK-NEXT:      packet.verdict %both
ebpf.func @one_way section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %one = arith.constant 1 : i64
  %both = arith.shli %word, %one : i64
  %byte = packet.load %data[0] : !packet.ptr -> i8
  %wide = arith.extui %byte : i8 to i64
  ebpf.st64 %fp[-8], 0 : !ebpf.fp
  %few = arith.cmpi ult, %word, %one : i64
  cf.cond_br %few, ^bb1, ^bb2
^bb1:
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %r0 = ebpf.call 1000(%key, %wide) : !ebpf.fp, i64 -> i64
  %sum = arith.addi %r0, %both : i64
  packet.verdict %sum : i64
^bb2:
  packet.verdict %both : i64
}

// The bytes may be read on both ways, the packet changes in between, and a loop would do it each time.
// CHECK-LABEL: ebpf.func @kept
// CHECK:           ebpf.st64 %fp[-8], 0
// CHECK-NEXT:      %byte = packet.load %data[0]
// CHECK-NEXT:      packet.store
// CHECK:         ^bb1:
// CHECK-NEXT:      %twice = arith.shli
// CHECK-NEXT:      %half = arith.shrui
ebpf.func @kept section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %one = arith.constant 1 : i64
  %other = arith.constant 7 : i8
  ebpf.st64 %fp[-8], 0 : !ebpf.fp
  %byte = packet.load %data[0] : !packet.ptr -> i8
  packet.store %data[0], %other : !packet.ptr, i8
  %twice = arith.shli %word, %one : i64
  %few = arith.cmpi ult, %word, %one : i64
  cf.cond_br %few, ^bb1, ^bb3(%one : i64)
^bb1:
  %half = arith.shrui %word, %one : i64
  %wide = arith.extui %byte : i8 to i64
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %r0 = ebpf.call 1000(%key, %wide) : !ebpf.fp, i64 -> i64
  %zero = arith.cmpi eq, %r0, %one : i64
  cf.cond_br %zero, ^bb2(%one : i64), ^bb4
^bb2(%i: i64):
  %step = arith.addi %i, %half : i64
  %more = arith.cmpi ult, %step, %twice : i64
  cf.cond_br %more, ^bb2(%step : i64), ^bb4
^bb3(%x: i64):
  %read = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
  packet.verdict %read : i64
^bb4:
  packet.verdict %one : i64
}
