// RUN: fs-opt %s -p simplify-cfg | filecheck %s

map.decl @counters "array" key 4 value 8 entries 16 flags 0

// Constant branches, jumps to jumps, chains of blocks.
// CHECK-LABEL: ebpf.func @straight
// CHECK-NEXT:    ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:      %true = arith.constant true
// CHECK-NEXT:      %one = arith.constant 1 : i64
// CHECK-NEXT:      %two = arith.addi %one, %one : i64
// CHECK-NEXT:      packet.verdict %two : i64
// CHECK-NEXT:    }
ebpf.func @straight section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %true = arith.constant true
  %one = arith.constant 1 : i64
  cf.cond_br %true, ^bb1, ^bb2
^bb1:
  cf.br ^bb3(%one : i64)
^bb2:
  packet.verdict %one : i64
^bb3(%x: i64):
  %two = arith.addi %x, %x : i64
  cf.br ^bb4
^bb4:
  cf.br ^bb5(%two : i64)
^bb5(%y: i64):
  packet.verdict %y : i64
}

// Edges around empty blocks, arguments that hold the same, and a branch whose edges become the same.
// CHECK-LABEL: ebpf.func @joins
// CHECK:           cf.cond_br %any, ^bb1, ^bb2
// CHECK-NEXT:    ^bb1:
// CHECK-NEXT:      %{{.*}} = ebpf.call 7()
// CHECK-NEXT:      cf.br ^bb3(%{{.*}} : i64)
// CHECK-NEXT:    ^bb2:
// CHECK-NEXT:      %{{.*}} = ebpf.call 8()
// CHECK-NEXT:      cf.br ^bb3(%{{.*}} : i64)
// CHECK-NEXT:    ^bb3(%[[A:.*]]: i64):
// CHECK-NEXT:      %sum = arith.addi %[[A]], %[[A]] : i64
// CHECK-NEXT:      packet.verdict %sum : i64
ebpf.func @joins section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %any = arith.cmpi ne, %queue, %zero : i32
  cf.cond_br %any, ^bb1, ^bb2
^bb1:
  %random = ebpf.call 7() -> i64
  cf.br ^bb3(%random, %random : i64, i64)
^bb2:
  %cpu = ebpf.call 8() -> i64
  cf.br ^bb4(%cpu : i64)
^bb3(%a: i64, %b: i64):
  %sum = arith.addi %a, %b : i64
  cf.cond_br %any, ^bb5, ^bb6
^bb4(%c: i64):
  cf.br ^bb3(%c, %c : i64, i64)
^bb5:
  cf.br ^bb7
^bb6:
  cf.br ^bb7
^bb7:
  packet.verdict %sum : i64
}

// Arguments that hold the same constant on one way, and the same value on the other, are one.
// CHECK-LABEL: ebpf.func @constants
// CHECK:           cf.br ^bb3(%{{.*}} : i64)
// CHECK:         ^bb3(%[[A:[^:,]*]]: i64):
// CHECK-NEXT:      %sum = arith.addi %[[A]], %[[A]] : i64
ebpf.func @constants section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %any = arith.cmpi ne, %queue, %zero : i32
  cf.cond_br %any, ^bb1, ^bb2
^bb1:
  %random = ebpf.call 7() -> i64
  cf.br ^bb3(%random, %random : i64, i64)
^bb2:
  %cpu = ebpf.call 8() -> i64
  %one = arith.constant 7 : i64
  %two = arith.constant 7 : i64
  cf.br ^bb3(%one, %two : i64, i64)
^bb3(%a: i64, %b: i64):
  %sum = arith.addi %a, %b : i64
  packet.verdict %sum : i64
}

// Ends that are the same become one, however often they were written.
// CHECK-LABEL: ebpf.func @ends
// CHECK-COUNT-2:   packet.verdict
// CHECK-NOT:       packet.verdict
ebpf.func @ends section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %all = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb1, ^bb2
^bb1:
  %more = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %more, ^bb3, ^bb4
^bb2:
  %drop = arith.constant 1 : i64
  packet.verdict %drop : i64
^bb3:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
^bb4:
  %drop_too = arith.constant 1 : i64
  packet.verdict %drop_too : i64
}

// Left as it is: a block that makes a copy for several edges, blocks with effects, a loop without an end.
// CHECK-LABEL: ebpf.func @kept
// CHECK:           cf.cond_br %{{.*}}, ^bb1, ^bb2
// CHECK:         ^bb1:
// CHECK:           cf.cond_br %{{.*}}, ^bb3, ^bb2
// CHECK:         ^bb2:
// CHECK-NEXT:      cf.br ^bb4(%two : i64)
// CHECK:         ^bb3:
// CHECK-NEXT:      cf.cond_br %{{.*}}, ^bb5, ^bb4(%one : i64)
// CHECK:         ^bb4(%verdict: i64):
// CHECK-NEXT:      packet.store
// CHECK-NEXT:      packet.verdict
// CHECK:         ^bb5:
// CHECK-NEXT:      cf.br ^bb5
ebpf.func @kept section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %one = arith.constant 1 : i64
  %two = arith.constant 2 : i64
  %all = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  %more = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  %most = packet.guard %data[54], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb1, ^bb2
^bb1:
  cf.cond_br %more, ^bb3, ^bb2
^bb2:
  cf.br ^bb4(%two : i64)
^bb3:
  cf.cond_br %most, ^bb5, ^bb4(%one : i64)
^bb4(%verdict: i64):
  packet.store %data[0], %verdict : !packet.ptr, i64
  packet.verdict %verdict : i64
^bb5:
  cf.br ^bb5
}
