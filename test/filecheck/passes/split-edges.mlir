// RUN: fs-opt %s -p split-edges | filecheck %s

// What two branches return is made where it is returned; what only one returns, and what is not known, stays.
// CHECK-LABEL: ebpf.func @branches
// CHECK:           cf.cond_br %{{.*}}, ^[[OWN:bb[0-9]+]], ^bb1
// CHECK:           cf.cond_br %{{.*}}, ^[[OWN]], ^bb2
// CHECK:           cf.cond_br %{{.*}}, ^[[COMMON:bb[0-9]+]](%one : i64), ^bb3
// CHECK:           cf.cond_br %{{.*}}, ^[[COMMON]](%word : i64), ^bb4
// CHECK:         ^bb4:
// CHECK-NEXT:      packet.verdict %last : i64
// CHECK-NEXT:    ^[[COMMON]](%r: i64):
// CHECK-NEXT:      packet.verdict %r : i64
// CHECK-NEXT:    ^[[OWN]]:
// CHECK-NEXT:      %[[TWO:.*]] = arith.constant 2 : i64
// CHECK-NEXT:      packet.verdict %[[TWO]] : i64
ebpf.func @branches section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %one = arith.constant 1 : i64
  %two = arith.constant 2 : i64
  %last = arith.constant 3 : i64
  %a = arith.cmpi ult, %word, %one : i64
  %b = arith.cmpi ugt, %word, %two : i64
  %c = arith.cmpi eq, %word, %two : i64
  %d = arith.cmpi eq, %word, %last : i64
  cf.cond_br %a, ^bb5(%two : i64), ^bb1
^bb1:
  cf.cond_br %b, ^bb5(%two : i64), ^bb2
^bb2:
  cf.cond_br %c, ^bb5(%one : i64), ^bb3
^bb3:
  cf.cond_br %d, ^bb5(%word : i64), ^bb4
^bb4:
  packet.verdict %last : i64
^bb5(%r: i64):
  packet.verdict %r : i64
}

// Where only jumps lead to the end, each ends by itself.
// CHECK-LABEL: ebpf.func @jumps
// CHECK:         ^bb1:
// CHECK-NEXT:      packet.verdict %word : i64
// CHECK-NEXT:    ^bb2:
// CHECK-NEXT:      packet.verdict %two : i64
ebpf.func @jumps section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %two = arith.constant 2 : i64
  %a = arith.cmpi ult, %word, %two : i64
  cf.cond_br %a, ^bb1, ^bb2
^bb1:
  cf.br ^bb3(%word : i64)
^bb2:
  cf.br ^bb3(%two : i64)
^bb3(%r: i64):
  packet.verdict %r : i64
}

// An end that does more than return its argument is there once.
// CHECK-LABEL: ebpf.func @more
// CHECK:           cf.cond_br %a, ^[[WAY:bb[0-9]+]], ^bb1
// CHECK:           cf.cond_br %b, ^[[WAY]], ^[[END:bb[0-9]+]](%word : i64)
// CHECK-NEXT:    ^[[WAY]]:
// CHECK-NEXT:      %[[TWO:.*]] = arith.constant 2 : i64
// CHECK-NEXT:      cf.br ^[[END]](%[[TWO]] : i64)
// CHECK-NEXT:    ^[[END]](%r: i64):
// CHECK-NEXT:      %time = ebpf.call 5
ebpf.func @more section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %two = arith.constant 2 : i64
  %a = arith.cmpi ult, %word, %two : i64
  %b = arith.cmpi ugt, %word, %two : i64
  cf.cond_br %a, ^bb2(%two : i64), ^bb1
^bb1:
  cf.cond_br %b, ^bb2(%two : i64), ^bb2(%word : i64)
^bb2(%r: i64):
  %time = ebpf.call 5() -> i64
  packet.verdict %r : i64
}

// Two branches pass the same to a block that goes on; one passes something else, and one a value with its constant.
// CHECK-LABEL: ebpf.func @joins
// CHECK:           cf.cond_br %a, ^[[WAY:bb[0-9]+]], ^bb1
// CHECK:           cf.cond_br %b, ^[[WAY]], ^bb2
// CHECK:           cf.cond_br %c, ^[[JOIN:bb[0-9]+]](%two, %one : i64, i64), ^bb3
// CHECK:           cf.cond_br %d, ^[[JOIN]](%one, %word : i64, i64), ^[[JOIN]](%one, %word : i64, i64)
// CHECK-NEXT:    ^[[WAY]]:
// CHECK-NEXT:      %[[A:.*]] = arith.constant 1 : i64
// CHECK-NEXT:      %[[B:.*]] = arith.constant 2 : i64
// CHECK-NEXT:      cf.br ^[[JOIN]](%[[A]], %[[B]] : i64, i64)
ebpf.func @joins section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %one = arith.constant 1 : i64
  %two = arith.constant 2 : i64
  %last = arith.constant 3 : i64
  %a = arith.cmpi ult, %word, %one : i64
  %b = arith.cmpi ugt, %word, %two : i64
  %c = arith.cmpi eq, %word, %two : i64
  %d = arith.cmpi eq, %word, %last : i64
  cf.cond_br %a, ^bb4(%one, %two : i64, i64), ^bb1
^bb1:
  cf.cond_br %b, ^bb4(%one, %two : i64, i64), ^bb2
^bb2:
  cf.cond_br %c, ^bb4(%two, %one : i64, i64), ^bb3
^bb3:
  cf.cond_br %d, ^bb4(%one, %word : i64, i64), ^bb4(%one, %word : i64, i64)
^bb4(%x: i64, %y: i64):
  %sum = arith.addi %x, %y : i64
  packet.verdict %sum : i64
}

// An end that cuts what it returns: constants are cut here. The jump before it stays where no other can fall through.
// CHECK-LABEL: ebpf.func @cut
// CHECK:           cf.cond_br %a, ^[[OWN:bb[0-9]+]], ^bb1
// CHECK:           cf.cond_br %b, ^[[OWN]], ^bb2
// CHECK:         ^bb3:
// CHECK-NEXT:      %[[ONE:.*]] = arith.constant 1 : i64
// CHECK-NEXT:      packet.verdict %[[ONE]] : i64
// CHECK-NEXT:    ^bb4:
// CHECK:           cf.br ^[[END:bb[0-9]+]](%time : i64)
// CHECK-NEXT:    ^[[END]](%r: i64):
// CHECK-NEXT:      arith.trunci
// CHECK-NEXT:      arith.extui
// CHECK-NEXT:      packet.verdict
// CHECK-NEXT:    ^[[OWN]]:
// CHECK-NEXT:      %[[TWO:.*]] = arith.constant 2 : i64
// CHECK-NEXT:      packet.verdict %[[TWO]] : i64
ebpf.func @cut section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %two = arith.constant 2 : i64
  %wide = arith.constant 4294967297 : i64
  %a = arith.cmpi ult, %word, %two : i64
  %b = arith.cmpi ugt, %word, %two : i64
  %c = arith.cmpi eq, %word, %two : i64
  cf.cond_br %a, ^bb5(%two : i64), ^bb1
^bb1:
  cf.cond_br %b, ^bb5(%two : i64), ^bb2
^bb2:
  cf.cond_br %c, ^bb3, ^bb4
^bb3:
  cf.br ^bb5(%wide : i64)
^bb4:
  %time = ebpf.call 5() -> i64
  cf.br ^bb5(%time : i64)
^bb5(%r: i64):
  %low = arith.trunci %r : i64 to i32
  %out = arith.extui %low : i32 to i64
  packet.verdict %out : i64
}

// One branch and one jump: each has its end. With another branch, there is one end for all.
// CHECK-LABEL: ebpf.func @lone
// CHECK:           cf.cond_br %a, ^[[OWN:bb[0-9]+]], ^bb1
// CHECK:         ^bb1:
// CHECK-NEXT:      %time = ebpf.call 7
// CHECK-NEXT:      packet.verdict %time
// CHECK:         ^[[OWN]]:
// CHECK-NEXT:      %[[TWO:.*]] = arith.constant 2 : i64
// CHECK-NEXT:      packet.verdict %[[TWO]] : i64
ebpf.func @lone section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %two = arith.constant 2 : i64
  %a = arith.cmpi ult, %word, %two : i64
  cf.cond_br %a, ^bb2(%two : i64), ^bb1
^bb1:
  %time = ebpf.call 7() -> i64
  cf.br ^bb2(%time : i64)
^bb2(%r: i64):
  packet.verdict %r : i64
}

// CHECK-LABEL: ebpf.func @two_branches
// CHECK:           cf.cond_br %a, ^bb3(%two : i64), ^bb1
// CHECK:           cf.cond_br %b, ^bb3(%word : i64), ^bb2
ebpf.func @two_branches section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %two = arith.constant 2 : i64
  %a = arith.cmpi ult, %word, %two : i64
  %b = arith.cmpi ugt, %word, %two : i64
  cf.cond_br %a, ^bb3(%two : i64), ^bb1
^bb1:
  cf.cond_br %b, ^bb3(%word : i64), ^bb2
^bb2:
  %time = ebpf.call 7() -> i64
  cf.br ^bb3(%time : i64)
^bb3(%r: i64):
  packet.verdict %r : i64
}
