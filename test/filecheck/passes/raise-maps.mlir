// RUN: fs-opt %s -p raise-maps | filecheck %s

map.decl @m "hash" key 4 value 16 entries 1 flags 0
map.decl @ports "devmap" key 4 value 4 entries 1 flags 0
map.decl @queues "xskmap" key 4 value 4 entries 1 flags 0
map.decl @sockets "sockmap" key 4 value 8 entries 1 flags 0

// CHECK-LABEL: ebpf.func @operations
ebpf.func @operations section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %key : !ebpf.fp, %x : i64, %unknown : !ebpf.reg):
  %m = ebpf.ld_sym @m -> !map.handle<@m>
  // CHECK: %v = map.lookup_at @m[%key] : !ebpf.fp -> !map.value<@m>
  %v = ebpf.call 1(%m, %key) : !map.handle<@m>, !ebpf.fp -> !map.value<@m>
  // CHECK-NEXT: map.update_at @m[%key], %key flags %x : !ebpf.fp, !ebpf.fp, i64 -> i64
  %a = ebpf.call 2(%m, %key, %key, %x) : !map.handle<@m>, !ebpf.fp, !ebpf.fp, i64 -> i64
  // CHECK-NEXT: map.delete_at @m[%key] : !ebpf.fp -> i64
  %b = ebpf.call 3(%m, %key) : !map.handle<@m>, !ebpf.fp -> i64
  %ports = ebpf.ld_sym @ports -> !map.handle<@ports>
  // CHECK: map.redirect @ports[%x] flags %x : i64, i64 -> i64
  %c = ebpf.call 51(%ports, %x, %x) : !map.handle<@ports>, i64, i64 -> i64
  // CHECK-NEXT: %[[HIT:.*]] = map.hit %v : !map.value<@m> -> i1
  // CHECK-NEXT: cf.cond_br %[[HIT]], ^hit, ^miss
  ebpf.jeqi %v, 0, ^miss, ^hit : !map.value<@m>
^hit:
  // CHECK: %[[B:.*]] = map.load %v[12] : !map.value<@m> -> i8
  // CHECK-NEXT: arith.extui %[[B]] : i8 to i64
  %field = ebpf.addi %v, 8 : !map.value<@m> -> !map.value<@m>
  %y = ebpf.ldx8 %field[4] : !map.value<@m> -> i64
  // CHECK-NEXT: map.store %v[0], %y : !map.value<@m>, i64
  ebpf.stx64 %v[0], %y : !map.value<@m>, i64
  // CHECK: map.atomic "add" %v[4], %{{.*}} : !map.value<@m>, i32
  ebpf.atomic_add32 %v[4], %x : !map.value<@m>, i64
  // CHECK-NEXT: %old = map.atomic "add" %v[8], %x : !map.value<@m>, i64 -> i64
  %old = ebpf.atomic_fetch_add64 %v[8], %x : !map.value<@m>, i64 -> i64
  // CHECK: %[[OLD:.*]] = map.atomic "or" %v[8], %{{.*}} : !map.value<@m>, i32 -> i32
  // CHECK-NEXT: arith.extui %[[OLD]] : i32 to i64
  %old32 = ebpf.atomic_fetch_or32 %v[8], %x : !map.value<@m>, i64 -> i64
  // Exchanges stay.
  // CHECK-NEXT: ebpf.atomic_xchg64
  %older = ebpf.atomic_xchg64 %v[8], %x : !map.value<@m>, i64 -> i64
  // A word of unknown kind is stored as a number.
  // CHECK-NEXT: %[[WORD:.*]] = ebpf.cast %unknown : reg -> i64
  // CHECK-NEXT: arith.trunci %[[WORD]] : i64 to i16
  // CHECK-NEXT: map.store %v[2]
  ebpf.stx16 %v[2], %unknown : !map.value<@m>, reg
  ebpf.exit (%old) : i64
^miss:
  ebpf.exit (%x) : i64
}

// A map that is not known by name, and a value whose kind is not known, stay.

// CHECK-LABEL: ebpf.func @unknown
ebpf.func @unknown section "xdp" attributes {prog_type = "xdp"} {
^entry(%handle : !ebpf.reg, %key : !ebpf.fp):
  // CHECK: ebpf.call 1(%handle, %key) : reg, !ebpf.fp -> reg
  %v = ebpf.call 1(%handle, %key) : reg, !ebpf.fp -> reg
  // CHECK-NEXT: ebpf.jnei %v, 0
  ebpf.jnei %v, 0, ^out, ^out : reg
^out:
  ebpf.end
}

// What is found in some maps is no value.

// CHECK-LABEL: ebpf.func @others
ebpf.func @others section "xdp" attributes {prog_type = "xdp"} {
^entry(%key : !ebpf.fp, %x : !ebpf.reg):
  %queues = ebpf.ld_sym @queues -> !map.handle<@queues>
  // CHECK: map.lookup_at @queues[%key] : !ebpf.fp -> reg
  %v = ebpf.call 1(%queues, %key) : !map.handle<@queues>, !ebpf.fp -> reg
  %sockets = ebpf.ld_sym @sockets -> !map.handle<@sockets>
  // CHECK: map.lookup_via %sockets[%key] : !map.handle<@sockets>, !ebpf.fp -> reg
  %s = ebpf.call 1(%sockets, %key) : !map.handle<@sockets>, !ebpf.fp -> reg
  // CHECK: %[[X:.*]] = ebpf.cast %x : reg -> i64
  // CHECK: map.redirect @queues[%[[X]]] flags
  %r = ebpf.call 51(%queues, %x, %x) : !map.handle<@queues>, reg, reg -> i64
  ebpf.end
}

// An offset that the loader sets is no constant.

// CHECK-LABEL: ebpf.func @relocated
ebpf.func @relocated section "xdp" attributes {prog_type = "xdp"} {
^entry(%key : !ebpf.fp):
  %v = map.lookup_at @m[%key] : !ebpf.fp -> !map.value<@m>
  // CHECK: %field = ebpf.addi %v, 8 {core
  %field = ebpf.addi %v, 8 {core = {type = #builtin.int<1>, access = "0:1", kind = #builtin.int<0>}} : !map.value<@m> -> !map.value<@m>
  // CHECK-NEXT: map.load %field[4]
  %y = ebpf.ldx8 %field[4] : !map.value<@m> -> i64
  ebpf.exit (%y) : i64
}

// An access whose offset the loader writes keeps its base and its relocation.

// CHECK-LABEL: ebpf.func @relocated_access
ebpf.func @relocated_access section "xdp" attributes {prog_type = "xdp"} {
^entry(%v : !map.value<@m>):
  %field = ebpf.addi %v, 4 : !map.value<@m> -> !map.value<@m>
  // CHECK: map.load %field[8] {{.core = .type = .*, access = "0:2".*}} : !map.value<@m> -> i32
  %x = ebpf.ldx32 %field[8] {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !map.value<@m> -> i64
  // CHECK: map.store %field[8], %{{.*}} {{.core = .*}} : !map.value<@m>, i32
  ebpf.stx32 %field[8], %x {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !map.value<@m>, i64
  ebpf.exit (%x) : i64
}

// A map that is one of several, or in a map of maps, is taken as an operand. It may be null as a value may.

// CHECK-LABEL: ebpf.func @handles
ebpf.func @handles section "xdp" attributes {prog_type = "xdp"} {
^entry(%h : !map.handle<@outer::@inner>, %two : !map.handle<@m, @other>, %key : !ebpf.fp, %x : i64):
  // CHECK: %[[HIT:.*]] = map.hit %h : !map.handle<@outer::@inner> -> i1
  // CHECK-NEXT: cf.cond_br %[[HIT]], ^in, ^out
  ebpf.jeqi %h, 0, ^out, ^in : !map.handle<@outer::@inner>
^in:
  // CHECK: %v = map.lookup_via %h[%key] : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
  %v = ebpf.call 1(%h, %key) : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
  // CHECK-NEXT: map.load %v[4] : !map.value<@outer::@inner> -> i64
  %y = ebpf.ldx64 %v[4] : !map.value<@outer::@inner> -> i64
  // CHECK-NEXT: map.update_via %two[%key], %key flags %x
  %a = ebpf.call 2(%two, %key, %key, %x) : !map.handle<@m, @other>, !ebpf.fp, !ebpf.fp, i64 -> i64
  // CHECK-NEXT: map.delete_via %two[%key]
  %b = ebpf.call 3(%two, %key) : !map.handle<@m, @other>, !ebpf.fp -> i64
  // CHECK-NEXT: map.redirect_via %two[%x] flags %x
  %c = ebpf.call 51(%two, %x, %x) : !map.handle<@m, @other>, i64, i64 -> i64
  ebpf.end
^out:
  ebpf.end
}

// What other helpers do with maps, and what is in values, is an operation each.

// CHECK-LABEL: ebpf.func @helpers
ebpf.func @helpers section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %v : !map.value<@m>, %key : !ebpf.fp, %x : i64, %word : !ebpf.reg):
  %m = ebpf.ld_sym @m -> !map.handle<@m>
  // CHECK: %w = map.lookup_percpu %m[%key] cpu %x : !map.handle<@m>, !ebpf.fp, i64 -> !map.value<@m>
  %w = ebpf.call 195(%m, %key, %x) : !map.handle<@m>, !ebpf.fp, i64 -> !map.value<@m>
  // CHECK-NEXT: map.output %ctx to %m flags %x from %key size %x : !packet.ctx, !map.handle<@m>, i64, !ebpf.fp, i64 -> i64
  %o = ebpf.call 25(%ctx, %m, %x, %key, %x) : !packet.ctx, !map.handle<@m>, i64, !ebpf.fp, i64 -> i64
  // CHECK-NEXT: %f = ebpf.ld_sym @each
  %f = ebpf.ld_sym @each -> reg
  // CHECK-NEXT: map.for_each %m do %f with %key flags %x : !map.handle<@m>, reg, !ebpf.fp, i64 -> i64
  %e = ebpf.call 164(%m, %f, %key, %x) : !map.handle<@m>, reg, !ebpf.fp, i64 -> i64
  // CHECK-NEXT: map.spin_lock %v : !map.value<@m> -> reg
  %l = ebpf.call 93(%v) : !map.value<@m> -> reg
  // CHECK-NEXT: ebpf.call 87(%word
  %p = ebpf.call 87(%word, %key, %x) : reg, !ebpf.fp, i64 -> i64
  ebpf.end
}

// What is called back for a map has it in a register.

// CHECK-LABEL: ebpf.func @each
ebpf.func @each section ".text" attributes {bind = #builtin.int<0>} {
^entry(%map : !map.handle<@m>, %key : !ebpf.reg, %value : !map.value<@m>, %ctx : !ebpf.fp):
  // CHECK: map.delete_via %map[%key]
  %d = ebpf.call 3(%map, %key) : !map.handle<@m>, reg -> i64
  ebpf.exit (%d) : i64
}
