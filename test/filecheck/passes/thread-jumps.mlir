// RUN: fs-opt %s -p thread-jumps,simplify-cfg,eliminate-dead-code | filecheck %s

map.decl @flows "hash" key 4 value 8 entries 16 flags 0

// The same question three times: who has been answered is not asked again, and what the first answer set is known.
// CHECK-LABEL: ebpf.func @again
// CHECK:           cf.cond_br %four, ^[[YES:bb[0-9]+]], ^[[NO:bb[0-9]+]]
// CHECK-NEXT:    ^[[YES]]:
// CHECK-NEXT:      ebpf.call 7
// CHECK-NEXT:      packet.verdict %pass
// CHECK-NEXT:    ^[[NO]]:
// CHECK-NEXT:      packet.verdict %drop
ebpf.func @again section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %one = arith.constant 1 : i32
  %two = arith.constant 2 : i64
  %pass = arith.constant 4 : i64
  %drop = arith.constant 1 : i64
  %four = arith.cmpi eq, %queue, %one : i32
  cf.cond_br %four, ^bb2(%pass : i64), ^bb1
^bb1:
  cf.br ^bb2(%two : i64)
^bb2(%verdict: i64):
  %same = arith.cmpi eq, %queue, %one : i32
  cf.cond_br %same, ^bb4(%verdict : i64), ^bb3
^bb3:
  cf.br ^bb4(%drop : i64)
^bb4(%last: i64):
  %other = arith.cmpi ne, %queue, %one : i32
  cf.cond_br %other, ^bb5, ^bb6
^bb5:
  packet.verdict %last : i64
^bb6:
  %time = ebpf.call 7() -> i64
  packet.verdict %last : i64
}

// The second header only where there was a first one: whoever comes from ^bb1 has no tag. What the block that asks was
// passed is passed on.
// CHECK-LABEL: ebpf.func @tags
// CHECK:           cf.cond_br %tagged, ^[[TAG:bb[0-9]+]], ^[[NONE:bb[0-9]+]]
// CHECK-NEXT:    ^[[TAG]]:
// CHECK-NEXT:      %inner = packet.load %data[16]
// CHECK:           cf.cond_br %{{.*}}, ^{{.*}}, ^[[END:bb[0-9]+]](%{{.*}}, %inner : i64, i16)
// CHECK-NEXT:    ^[[NONE]]:
// CHECK-NEXT:      cf.br ^[[END]](%{{.*}}, %type : i64, i16)
ebpf.func @tags section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  %vlan = arith.constant 129 : i16
  %short = arith.constant 14 : i64
  %long = arith.constant 18 : i64
  %longest = arith.constant 22 : i64
  %tagged = arith.cmpi eq, %type, %vlan : i16
  cf.cond_br %tagged, ^bb1, ^bb2(%short, %type : i64, i16)
^bb1:
  %inner = packet.load %data[16] : !packet.ptr -> i16
  cf.br ^bb2(%long, %inner : i64, i16)
^bb2(%length: i64, %proto: i16):
  %again = arith.cmpi eq, %proto, %vlan : i16
  cf.cond_br %again, ^bb3, ^bb4(%length, %proto : i64, i16)
^bb3:
  %last = packet.load %data[20] : !packet.ptr -> i16
  cf.br ^bb4(%longest, %last : i64, i16)
^bb4(%n: i64, %p: i16):
  %wide = arith.extui %p : i16 to i64
  %sum = arith.addi %n, %wide : i64
  packet.verdict %sum : i64
}

// All ways agree: found in one of two maps, each of which was asked. A load that other code needs is not copied.
// CHECK-LABEL: ebpf.func @found
// CHECK:           cf.cond_br %hit, ^[[BOTH:bb[0-9]+]](%a : !map.value<@flows>), ^bb1
// CHECK:           cf.cond_br %hit_1, ^[[BOTH]](%b : !map.value<@flows>), ^[[MISS:bb[0-9]+]]
// CHECK:         ^[[BOTH]](%value: !map.value<@flows>):
// CHECK-NEXT:      %count = map.load %value[0]
// CHECK-NEXT:      packet.verdict %count
ebpf.func @found section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %other = packet.ctx_load %ctx[12] : !packet.ctx -> i32
  %a = map.lookup @flows(%queue) : i32 -> !map.value<@flows>
  %hit = map.hit %a : !map.value<@flows> -> i1
  cf.cond_br %hit, ^bb2(%a : !map.value<@flows>), ^bb1
^bb1:
  %b = map.lookup @flows(%other) : i32 -> !map.value<@flows>
  %hit_1 = map.hit %b : !map.value<@flows> -> i1
  cf.cond_br %hit_1, ^bb2(%b : !map.value<@flows>), ^bb4
^bb2(%value: !map.value<@flows>):
  %hit_2 = map.hit %value : !map.value<@flows> -> i1
  cf.cond_br %hit_2, ^bb3, ^bb4
^bb3:
  %count = map.load %value[0] : !map.value<@flows> -> i64
  packet.verdict %count : i64
^bb4:
  %drop = arith.constant 1 : i64
  packet.verdict %drop : i64
}

// The question is in a loop, or stands behind a store that would be there twice.
// CHECK-LABEL: ebpf.func @kept
// CHECK-COUNT-3:   cf.cond_br
// CHECK:           map.store
// CHECK:           cf.cond_br
ebpf.func @kept section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %one = arith.constant 1 : i32
  %ten = arith.constant 10 : i32
  %word = arith.constant 1 : i64
  %a = map.lookup @flows(%queue) : i32 -> !map.value<@flows>
  %hit = map.hit %a : !map.value<@flows> -> i1
  cf.cond_br %hit, ^bb1(%one : i32), ^bb4
^bb1(%i: i32):
  %below = arith.cmpi ult, %i, %ten : i32
  cf.cond_br %below, ^bb2, ^bb3(%one : i32)
^bb2:
  %next = arith.addi %i, %one : i32
  %odd = arith.cmpi eq, %next, %queue : i32
  cf.cond_br %odd, ^bb3(%queue : i32), ^bb1(%next : i32)
^bb3(%x: i32):
  map.store %a[0], %word : !map.value<@flows>, i64
  %is_one = arith.cmpi eq, %x, %one : i32
  cf.cond_br %is_one, ^bb4, ^bb5
^bb4:
  %drop = arith.constant 1 : i64
  packet.verdict %drop : i64
^bb5:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}
