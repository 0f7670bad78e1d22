// RUN: fs-opt %s -p if-conversion,fold-constants,eliminate-dead-code,simplify-cfg | filecheck %s
// RUN: fs-opt %s -p if-conversion | filecheck %s --check-prefix=ONLY

// A flag from two comparisons, tested twice: the branch is on the comparisons.
// CHECK-LABEL: ebpf.func @flags
// CHECK:           %[[A:.*]] = arith.cmpi eq, %queue, %two : i32
// CHECK-NEXT:      %[[B:.*]] = arith.cmpi eq, %queue, %seven : i32
// CHECK-NEXT:      %[[EITHER:.*]] = arith.ori %[[A]], %[[B]] : i1
// CHECK-NEXT:      cf.cond_br %[[EITHER]], ^bb1, ^bb2
// ONLY-LABEL: ebpf.func @flags
// ONLY:            %[[A:.*]] = arith.cmpi eq, %queue, %two : i32
// ONLY-NEXT:       %{{.*}} = arith.extui %[[A]] : i1 to i64
// ONLY-NEXT:       cf.br
ebpf.func @flags section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %two = arith.constant 2 : i32
  %seven = arith.constant 7 : i32
  %yes = arith.constant 1 : i64
  %no = arith.constant 0 : i64
  %a = arith.cmpi eq, %queue, %two : i32
  cf.cond_br %a, ^bb2(%yes : i64), ^bb1
^bb1:
  cf.br ^bb2(%no : i64)
^bb2(%x: i64):
  %b = arith.cmpi ne, %queue, %seven : i32
  cf.cond_br %b, ^bb3(%no : i64), ^bb3(%yes : i64)
^bb3(%y: i64):
  %either = arith.ori %x, %y : i64
  %c = arith.cmpi ne, %either, %no : i64
  cf.cond_br %c, ^bb4, ^bb5
^bb4:
  packet.verdict %yes : i64
^bb5:
  packet.verdict %no : i64
}

// Not converted: other numbers, two choices at once, an arm that does something, more ways to the join.
// ONLY-LABEL: ebpf.func @others
// ONLY-NOT:        arith.ext
// ONLY:            }
ebpf.func @others section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %two = arith.constant 2 : i32
  %yes = arith.constant 1 : i64
  %no = arith.constant 0 : i64
  %many = arith.constant 5 : i64
  %a = arith.cmpi eq, %queue, %two : i32
  %b = arith.cmpi ugt, %queue, %two : i32
  cf.cond_br %a, ^bb1(%yes : i64), ^bb1(%many : i64)
^bb1(%x: i64):
  cf.cond_br %a, ^bb2(%yes, %no : i64, i64), ^bb2(%no, %yes : i64, i64)
^bb2(%y: i64, %z: i64):
  cf.cond_br %a, ^bb4(%yes : i64), ^bb3
^bb3:
  %time = ebpf.call 5() -> i64
  cf.br ^bb4(%no : i64)
^bb4(%u: i64):
  cf.cond_br %a, ^bb6(%yes : i64), ^bb5
^bb5:
  cf.cond_br %b, ^bb6(%yes : i64), ^bb6(%no : i64)
^bb6(%v: i64):
  %s = arith.addi %x, %y : i64
  %t = arith.addi %z, %u : i64
  %w = arith.addi %s, %t : i64
  %all = arith.addi %w, %v : i64
  packet.verdict %all : i64
}
