// RUN: fs-opt %s -p merge-blocks | filecheck %s

map.decl @counters "array" key 4 value 8 entries 16 flags 0

// Two arms that count the same and go on to the same block; the constant that one took from above is made again.
// CHECK-LABEL: ebpf.func @arms
// CHECK:           cf.cond_br %a, ^[[KEPT:bb[0-9]+]], ^bb1
// CHECK:           cf.cond_br %b, ^[[KEPT]], ^bb{{.*}}
// CHECK-COUNT-1:   map.lookup
// CHECK-NOT:       map.lookup
// CHECK:           packet.verdict
ebpf.func @arms section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %two = arith.constant 2 : i32
  %verdict = arith.constant 1 : i64
  %a = arith.cmpi eq, %queue, %two : i32
  cf.cond_br %a, ^bb2, ^bb1
^bb1:
  %three = arith.constant 3 : i32
  %b = arith.cmpi eq, %queue, %three : i32
  cf.cond_br %b, ^bb4, ^bb6
^bb2:
  %key = arith.constant 3 : i32
  %v = map.lookup @counters(%key) : i32 -> !map.value<@counters>
  %hit = map.hit %v : !map.value<@counters> -> i1
  cf.cond_br %hit, ^bb3, ^bb6
^bb3:
  map.store %v[0], %verdict : !map.value<@counters>, i64
  cf.br ^bb6
^bb4:
  %w = map.lookup @counters(%three) : i32 -> !map.value<@counters>
  %found = map.hit %w : !map.value<@counters> -> i1
  cf.cond_br %found, ^bb5, ^bb6
^bb5:
  map.store %w[0], %verdict : !map.value<@counters>, i64
  cf.br ^bb6
^bb6:
  packet.verdict %verdict : i64
}

// Another key, another order of operands, another way on, a result that is used later: two of each stay.
// CHECK-LABEL: ebpf.func @different
// CHECK-COUNT-6:   map.lookup
// CHECK:           packet.verdict
ebpf.func @different section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %one = arith.constant 1 : i32
  %verdict = arith.constant 1 : i64
  %a = arith.cmpi eq, %queue, %zero : i32
  cf.cond_br %a, ^bb1, ^bb2
^bb1:
  %k = map.lookup @counters(%zero) : i32 -> !map.value<@counters>
  cf.br ^bb3
^bb2:
  %l = map.lookup @counters(%one) : i32 -> !map.value<@counters>
  cf.br ^bb3
^bb3:
  cf.cond_br %a, ^bb4, ^bb5
^bb4:
  %m = map.lookup @counters(%zero) : i32 -> !map.value<@counters>
  cf.br ^bb7(%m : !map.value<@counters>)
^bb5:
  %n = map.lookup @counters(%zero) : i32 -> !map.value<@counters>
  cf.br ^bb6
^bb6:
  cf.br ^bb7(%n : !map.value<@counters>)
^bb7(%o: !map.value<@counters>):
  %hit = map.hit %o : !map.value<@counters> -> i1
  cf.cond_br %hit, ^bb8, ^bb9
^bb8:
  %p = map.lookup @counters(%zero) : i32 -> !map.value<@counters>
  packet.verdict %verdict : i64
^bb9:
  %q = map.lookup @counters(%one) : i32 -> !map.value<@counters>
  packet.verdict %verdict : i64
}

// The turns of an unrolled loop do not become a loop.
// CHECK-LABEL: ebpf.func @turns
// CHECK-COUNT-2:   ebpf.call 7
// CHECK:           packet.verdict
ebpf.func @turns section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %verdict = arith.constant 1 : i64
  cf.br ^bb1
^bb1:
  %a = ebpf.call 7() -> i64
  %c = arith.cmpi eq, %a, %verdict : i64
  cf.cond_br %c, ^bb3, ^bb2
^bb2:
  %b = ebpf.call 7() -> i64
  %d = arith.cmpi eq, %b, %verdict : i64
  cf.cond_br %d, ^bb3, ^bb3
^bb3:
  packet.verdict %verdict : i64
}

// Nor is anything merged within a loop.
// CHECK-LABEL: ebpf.func @loop
// CHECK-COUNT-2:   map.store
// CHECK:           packet.verdict
ebpf.func @loop section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i32
  %verdict = arith.constant 1 : i64
  %v = map.lookup @counters(%zero) : i32 -> !map.value<@counters>
  %hit = map.hit %v : !map.value<@counters> -> i1
  cf.cond_br %hit, ^bb1, ^bb4
^bb1:
  %r = ebpf.call 7() -> i64
  %c = arith.cmpi eq, %r, %verdict : i64
  %d = arith.cmpi ult, %r, %verdict : i64
  cf.cond_br %c, ^bb2, ^bb3
^bb2:
  map.store %v[0], %verdict : !map.value<@counters>, i64
  cf.cond_br %d, ^bb1, ^bb4
^bb3:
  map.store %v[0], %verdict : !map.value<@counters>, i64
  cf.cond_br %d, ^bb1, ^bb4
^bb4:
  packet.verdict %verdict : i64
}

// What lies behind equal blocks is compared, too: here jumps with other values, and accesses with relocations.
// CHECK-LABEL: ebpf.func @behind
// CHECK-COUNT-2:   ebpf.call 7
// CHECK:           packet.verdict
// CHECK-LABEL: ebpf.func @relocated
// CHECK-COUNT-2:   ebpf.call 7
// CHECK:           packet.verdict
ebpf.func @behind section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %one = arith.constant 1 : i64
  %two = arith.constant 2 : i64
  %a = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %c = arith.cmpi eq, %a, %zero : i32
  cf.cond_br %c, ^bb1, ^bb2
^bb1:
  %r = ebpf.call 7() -> i64
  %d = arith.cmpi eq, %r, %one : i64
  cf.cond_br %d, ^bb3, ^bb5(%one : i64)
^bb2:
  %s = ebpf.call 7() -> i64
  %e = arith.cmpi eq, %s, %one : i64
  cf.cond_br %e, ^bb4, ^bb5(%one : i64)
^bb3:
  cf.br ^bb5(%one : i64)
^bb4:
  cf.br ^bb5(%two : i64)
^bb5(%x: i64):
  packet.verdict %x : i64
}
ebpf.func @relocated section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %one = arith.constant 1 : i64
  %fp = ebpf.frame -> !ebpf.fp
  %a = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %c = arith.cmpi eq, %a, %zero : i32
  cf.cond_br %c, ^bb1, ^bb2
^bb1:
  %r = ebpf.call 7() -> i64
  %d = arith.cmpi eq, %r, %one : i64
  cf.cond_br %d, ^bb3, ^bb5
^bb2:
  %s = ebpf.call 7() -> i64
  %e = arith.cmpi eq, %s, %one : i64
  cf.cond_br %e, ^bb4, ^bb5
^bb3:
  %x = ebpf.ldx32 %fp[-8] {core = {type = #builtin.int<1>, access = "0:0", kind = #builtin.int<0>}} : !ebpf.fp -> i64
  ebpf.stx64 %fp[-16], %x : !ebpf.fp, i64
  cf.br ^bb5
^bb4:
  %y = ebpf.ldx32 %fp[-8] {core = {type = #builtin.int<1>, access = "0:1", kind = #builtin.int<0>}} : !ebpf.fp -> i64
  ebpf.stx64 %fp[-16], %y : !ebpf.fp, i64
  cf.br ^bb5
^bb5:
  packet.verdict %one : i64
}
