// RUN: fs-opt %s -p eliminate-dead-code | filecheck %s

map.decl @flows "hash" key 4 value 8 entries 16 flags 0
map.decl @cache "lru_hash" key 4 value 8 entries 16 flags 0

// What only gives results goes when nobody wants them: arithmetic, loads, guards, lookups that change nothing.
// CHECK-LABEL: ebpf.func @unused
// CHECK-NEXT:    ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:      %pass = arith.constant 2 : i64
// CHECK-NEXT:      packet.verdict %pass : i64
ebpf.func @unused section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %guard = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %ip = packet.load %data[0] : !packet.ptr -> i32
  %flow = map.lookup @flows(%ip) : i32 -> !map.value<@flows>
  %count = map.load %flow[0] : !map.value<@flows> -> i64
  %more = arith.addi %count, %count : i64
  %now = ebpf.call 5() -> i64
  %fp = ebpf.frame -> !ebpf.fp
  %word = ebpf.ldx32 %fp[-4] : !ebpf.fp -> i64
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// What does something stays, with what it needs: stores, updates, random numbers, and a lookup that keeps an LRU's entry.
// CHECK-LABEL: ebpf.func @effects
// CHECK:           packet.store
// CHECK:           map.lookup @cache
// CHECK:           map.update @flows
// CHECK:           ebpf.call 7()
// CHECK:           packet.adjust_head
// CHECK:           packet.verdict
ebpf.func @effects section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %key = arith.constant 7 : i32
  %zero = arith.constant 0 : i64
  packet.store %data[0], %key : !packet.ptr, i32
  %entry = map.lookup @cache(%key) : i32 -> !map.value<@cache>
  %r = map.update @flows key(%key) value(%zero) flags %zero : i32, i64, i64 -> i64
  %random = ebpf.call 7() -> i64
  %delta = arith.constant 14 : i64
  %gone = packet.adjust_head %ctx, %delta : !packet.ctx, i64 -> i64
  packet.verdict %zero : i64
}

// Block arguments that keep only each other alive, and blocks that nothing reaches.
// CHECK-LABEL: ebpf.func @around
// CHECK:         ^bb1(%n: i64):
// CHECK-NEXT:      %less = arith.subi %n, %one : i64
// CHECK-NEXT:      %zero
// CHECK-NEXT:      %done = arith.cmpi
// CHECK-NEXT:      cf.cond_br %done, ^bb2, ^bb1(%less : i64)
// CHECK-NEXT:    ^bb2:
// CHECK-NEXT:      packet.verdict %one : i64
// CHECK-NEXT:    }
ebpf.func @around section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %one = arith.constant 1 : i64
  %ten = arith.constant 10 : i64
  cf.br ^bb1(%ten, %one : i64, i64)
^bb1(%n: i64, %sum: i64):
  %less = arith.subi %n, %one : i64
  %next = arith.addi %sum, %n : i64
  %zero = arith.constant 0 : i64
  %done = arith.cmpi eq, %less, %zero : i64
  cf.cond_br %done, ^bb2(%next : i64), ^bb1(%less, %next : i64, i64)
^bb2(%unused: i64):
  packet.verdict %one : i64
^bb3:
  packet.verdict %ten : i64
}

// Machine code is left alone: a dead write there may be another value's last definition of the register.
// CHECK-LABEL: ebpf.func @machine
// CHECK:           ebpf.movi 1 -> r1
ebpf.func @machine section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !ebpf.reg<r1>):
  %dead = ebpf.movi 1 -> r1
  %r0 = ebpf.movi 2 -> r0
  ebpf.exit(%r0) : r0
}
