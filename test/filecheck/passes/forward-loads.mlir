// RUN: fs-opt %s -p forward-loads | filecheck %s

map.decl @flows "hash" key 4 value 16 entries 16 flags 0

// A load of what was loaded, of what was stored, on both paths, and past a store to other bytes.
// CHECK-LABEL: ebpf.func @known
// CHECK:           %first = packet.load %data[12] : !packet.ptr -> i16
// CHECK-NOT:       packet.load
// CHECK:         ^bb3:
// CHECK-NEXT:      %sum = arith.addi %first, %value : i16
ebpf.func @known section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %value = arith.constant 7 : i16
  %zero = arith.constant 0 : i64
  %first = packet.load %data[12] : !packet.ptr -> i16
  %test = arith.cmpi eq, %first, %value : i16
  cf.cond_br %test, ^bb1, ^bb2
^bb1:
  packet.store %data[30], %value : !packet.ptr, i16
  packet.store %data[0], %zero : !packet.ptr, i64
  cf.br ^bb3
^bb2:
  packet.store %data[30], %value : !packet.ptr, i16
  cf.br ^bb3
^bb3:
  %again = packet.load %data[12] : !packet.ptr -> i16
  %stored = packet.load %data[30] : !packet.ptr -> i16
  %sum = arith.addi %again, %stored : i16
  %wide = arith.extui %sum : i16 to i64
  packet.verdict %wide : i64
}

// Around a loop that writes elsewhere.
// CHECK-LABEL: ebpf.func @loop
// CHECK:           packet.load %data[0] : !packet.ptr -> i8
// CHECK-NOT:       packet.load %data[0]
// CHECK:           packet.verdict
ebpf.func @loop section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %one = arith.constant 1 : i8
  %first = packet.load %data[0] : !packet.ptr -> i8
  cf.br ^bb1(%first : i8)
^bb1(%n: i8):
  packet.store %data[1], %n : !packet.ptr, i8
  %less = arith.subi %n, %one : i8
  %same = packet.load %data[0] : !packet.ptr -> i8
  %done = arith.cmpi eq, %less, %same : i8
  cf.cond_br %done, ^bb2, ^bb1(%less : i8)
^bb2:
  %wide = arith.extui %less : i8 to i64
  packet.verdict %wide : i64
}

// Unknown: overlapping stores, other addresses, one path only, calls, maps whose entries change.
// CHECK-LABEL: ebpf.func @unknown
// CHECK:         ^bb1:
// CHECK:           packet.store %data[3]
// CHECK-NEXT:      %[[A:.*]] = packet.load %data[0]
// CHECK-NEXT:      packet.store %other[0]
// CHECK-NEXT:      %[[B:.*]] = packet.load %data[0]
// CHECK:         ^bb2:
// CHECK-NEXT:      %[[C:.*]] = packet.load %data[40]
// CHECK:           map.delete
// CHECK-NEXT:      %[[D:.*]] = map.load %flow[0]
ebpf.func @unknown section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %zero = arith.constant 0 : i64
  %first = packet.load %data[0] : !packet.ptr -> i32
  %by = arith.extui %first : i32 to i64
  %other = packet.advance %data, %by : !packet.ptr, i64 -> !packet.ptr
  %flow = map.lookup @flows(%first) : i32 -> !map.value<@flows>
  %hit = map.hit %flow : !map.value<@flows> -> i1
  cf.cond_br %hit, ^bb1, ^bb3
^bb1:
  packet.store %data[3], %zero : !packet.ptr, i64
  %a = packet.load %data[0] : !packet.ptr -> i32
  packet.store %other[0], %zero : !packet.ptr, i64
  %b = packet.load %data[0] : !packet.ptr -> i32
  %x = arith.addi %a, %b : i32
  packet.store %data[40], %x : !packet.ptr, i32
  cf.br ^bb3
^bb3:
  %c = packet.load %data[40] : !packet.ptr -> i32
  cf.cond_br %hit, ^bb4, ^bb5
^bb4:
  %count = map.load %flow[0] : !map.value<@flows> -> i64
  %gone = map.delete @flows(%c) : i32 -> i64
  %d = map.load %flow[0] : !map.value<@flows> -> i64
  %y = arith.addi %count, %d : i64
  packet.verdict %y : i64
^bb5:
  packet.verdict %zero : i64
}

// In the frame, a narrower word is what was stored, cut to its bytes.
// CHECK-LABEL: ebpf.func @frame
// CHECK:           ebpf.stx16
// CHECK-NEXT:      %[[CUT:.*]] = arith.trunci %x : i64 to i16
// CHECK-NEXT:      %[[WORD:.*]] = arith.extsi %[[CUT]] : i16 to i64
// CHECK-NEXT:      ebpf.exit (%[[WORD]])
ebpf.func @frame section "xdp" {
^bb0(%x: i64):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx16 %fp[-2], %x : !ebpf.fp, i64
  %y = ebpf.ldxs16 %fp[-2] : !ebpf.fp -> i64
  ebpf.exit(%y) : i64
}

// Where the loader puts an access is not known: nothing is forwarded from it or past it.

// CHECK-LABEL: ebpf.func @relocated
ebpf.func @relocated section "xdp" attributes {prog_type = "xdp"} {
^entry(%p : !packet.ptr, %x : i8):
  // CHECK: packet.store %p[0], %x
  packet.store %p[0], %x : !packet.ptr, i8
  // CHECK-NEXT: packet.store %p[4], %x {{.core}}
  packet.store %p[4], %x {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr, i8
  // CHECK-NEXT: %a = packet.load %p[0]
  %a = packet.load %p[0] : !packet.ptr -> i8
  // CHECK-NEXT: %b = packet.load %p[4] {{.core}}
  %b = packet.load %p[4] {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr -> i8
  // CHECK-NEXT: %c = packet.load %p[4] :
  %c = packet.load %p[4] : !packet.ptr -> i8
  %d = arith.addi %a, %b : i8
  %e = arith.addi %c, %d : i8
  ebpf.exit (%e) : i8
}
