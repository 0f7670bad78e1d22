// RUN: fs-opt %s -p raise-stack | filecheck %s

map.decl @m "hash" key 8 value 4 entries 1 flags 0

// A key that is put together on the stack becomes operands; the zeroing store is cut where others overwrite part of it.

// CHECK-LABEL: ebpf.func @key
ebpf.func @key section "xdp" attributes {prog_type = "xdp"} {
^entry(%addr : i64, %port : i64, %flags : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK-NOT: ebpf.st
  ebpf.st64 %fp[-8], 0 : !ebpf.fp
  ebpf.stx32 %fp[-8], %addr : !ebpf.fp, i64
  ebpf.stx16 %fp[-4], %port : !ebpf.fp, i64
  %k = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  // CHECK-DAG: %[[A:.*]] = arith.trunci %addr : i64 to i32
  // CHECK-DAG: %[[P:.*]] = arith.trunci %port : i64 to i16
  // CHECK-DAG: %[[Z:.*]] = arith.trunci %{{.*}} : i64 to i16
  // CHECK: map.lookup @m(%[[A]], %[[P]], %[[Z]]) : i32, i16, i16 -> !map.value<@m>
  %v = map.lookup_at @m[%k] : !ebpf.fp -> !map.value<@m>
  ebpf.st32 %fp[-12], 7 : !ebpf.fp
  %w = ebpf.addi %fp, -12 : !ebpf.fp -> !ebpf.fp
  // CHECK: map.update @m key (%{{.*}}, %{{.*}}, %{{.*}}) value (%{{.*}}) flags %flags : i32, i16, i16, i32, i64 -> i64
  %rc = map.update_at @m[%k], %w flags %flags : !ebpf.fp, !ebpf.fp, i64 -> i64
  ebpf.exit (%rc) : i64
}

// Where paths store different values, the slot is a block argument.

// CHECK-LABEL: ebpf.func @join
ebpf.func @join section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64, %y : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK-NOT: ebpf.st
  ebpf.stx64 %fp[-8], %x : !ebpf.fp, i64
  // CHECK: ebpf.jeqi %x, 0, ^out(%x : i64), ^other : i64
  ebpf.jeqi %x, 0, ^out, ^other : i64
^other:
  ebpf.stx64 %fp[-8], %y : !ebpf.fp, i64
  // CHECK: ebpf.fallthrough ^out(%y : i64)
  ebpf.fallthrough ^out
// CHECK: ^out(%[[V:.*]]: i64):
^out:
  // CHECK-NEXT: ebpf.exit (%[[V]]) : i64
  %v = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
  ebpf.exit (%v) : i64
}

// What a helper reads or writes through an address stays, and so does what is read in other pieces than it was written.

// CHECK-LABEL: ebpf.func @memory
ebpf.func @memory section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: ebpf.stx64 %fp[-16], %x
  ebpf.stx64 %fp[-16], %x : !ebpf.fp, i64
  // CHECK-NEXT: ebpf.ldx8 %fp[-13]
  %b = ebpf.ldx8 %fp[-13] : !ebpf.fp -> i64
  // CHECK-NEXT: ebpf.stx64 %fp[-8], %b
  ebpf.stx64 %fp[-8], %b : !ebpf.fp, i64
  %p = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %size = arith.constant 8 : i64
  // CHECK: ebpf.call 28
  %s = ebpf.call 28(%p, %size, %p, %size, %x) : !ebpf.fp, i64, !ebpf.fp, i64, i64 -> i64
  // CHECK-NEXT: %v = ebpf.ldx64 %fp[-8]
  %v = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
  ebpf.exit (%v) : i64
}

// An address that another function gets may be used for any byte: nothing moves.

// CHECK-LABEL: ebpf.func @escapes
ebpf.func @escapes section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: ebpf.stx64 %fp[-8], %x
  ebpf.stx64 %fp[-8], %x : !ebpf.fp, i64
  %r = ebpf.call_local @escapes(%fp) : !ebpf.fp -> i64
  // CHECK: ebpf.ldx64 %fp[-8]
  %v = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
  ebpf.exit (%v) : i64
}

// Padding that was never written is no value: the key stays in memory.

// CHECK-LABEL: ebpf.func @unwritten
ebpf.func @unwritten section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: ebpf.stx32 %fp[-8], %x
  ebpf.stx32 %fp[-8], %x : !ebpf.fp, i64
  %k = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  // CHECK: map.lookup_at @m[%k]
  %v = map.lookup_at @m[%k] : !ebpf.fp -> !map.value<@m>
  ebpf.exit (%x) : i64
}

// Constants are what the machine makes of them, and no constants where the loader sets them.

// CHECK-LABEL: ebpf.func @constants
ebpf.func @constants section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: arith.constant 4294967295 : i64
  %minus = ebpf.movi32 -1 -> i64
  ebpf.stx64 %fp[-8], %minus : !ebpf.fp, i64
  // CHECK: ebpf.movi 8 {core
  %offset = ebpf.movi 8 {core = {type = #builtin.int<1>, access = "0:1", kind = #builtin.int<0>}} -> i64
  ebpf.stx64 %fp[-16], %offset : !ebpf.fp, i64
  %x = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64
  %y = ebpf.ldx64 %fp[-16] : !ebpf.fp -> i64
  // CHECK: ebpf.add %{{.*}}, %offset
  %z = ebpf.add %x, %y : i64, i64 -> i64
  ebpf.exit (%z) : i64
}

// What a static function does with an object on its caller's stack is known: the rest of the frame becomes values.

// CHECK-LABEL: ebpf.func @calls_static
ebpf.func @calls_static section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK-NOT: ebpf.stx64 %fp[-24]
  ebpf.stx64 %fp[-24], %x : !ebpf.fp, i64
  // CHECK: ebpf.stx64 %fp[-16], %x
  ebpf.stx64 %fp[-16], %x : !ebpf.fp, i64
  %object = ebpf.addi %fp, -16 : !ebpf.fp -> !ebpf.fp
  %r = ebpf.call_local @fills(%object) : !ebpf.fp -> i64
  // CHECK: ebpf.ldx64 %fp[-16]
  %a = ebpf.ldx64 %fp[-16] : !ebpf.fp -> i64
  // CHECK-NOT: ebpf.ldx64 %fp[-24]
  %b = ebpf.ldx64 %fp[-24] : !ebpf.fp -> i64
  // CHECK: ebpf.add %{{.*}}, %x
  %sum = ebpf.add %a, %b : i64, i64 -> i64
  ebpf.exit (%sum) : i64
}

ebpf.func @fills section ".text" attributes {bind = #builtin.int<0>} {
^entry(%object : !ebpf.fp):
  %zero = arith.constant 0 : i64
  ebpf.fallthrough ^loop(%zero : i64)
^loop(%i : i64):
  %at = ebpf.add %object, %i : !ebpf.fp, i64 -> !ebpf.fp
  ebpf.st8 %at[0], 1 : !ebpf.fp
  %one = arith.constant 1 : i64
  %next = arith.addi %i, %one : i64
  ebpf.jnei %next, 16, ^loop(%next : i64), ^out : i64
^out:
  ebpf.exit (%zero) : i64
}

// A global function can be replaced when the program is loaded; one that keeps the address, or goes down from it, may do
// anything to the frame.

// CHECK-LABEL: ebpf.func @calls_others
ebpf.func @calls_others section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: ebpf.stx64 %fp[-24], %x
  ebpf.stx64 %fp[-24], %x : !ebpf.fp, i64
  %object = ebpf.addi %fp, -16 : !ebpf.fp -> !ebpf.fp
  %r = ebpf.call_local @global(%object) : !ebpf.fp -> i64
  // CHECK: ebpf.ldx64 %fp[-24]
  %b = ebpf.ldx64 %fp[-24] : !ebpf.fp -> i64
  ebpf.exit (%b) : i64
}

ebpf.func @global section ".text" {
^entry(%object : !ebpf.fp):
  %x = ebpf.ldx64 %object[0] : !ebpf.fp -> i64
  ebpf.exit (%x) : i64
}

// CHECK-LABEL: ebpf.func @calls_down
ebpf.func @calls_down section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: ebpf.stx64 %fp[-24], %x
  ebpf.stx64 %fp[-24], %x : !ebpf.fp, i64
  %object = ebpf.addi %fp, -16 : !ebpf.fp -> !ebpf.fp
  %r = ebpf.call_local @down(%object, %x) : !ebpf.fp, i64 -> i64
  // CHECK: ebpf.ldx64 %fp[-24]
  %b = ebpf.ldx64 %fp[-24] : !ebpf.fp -> i64
  ebpf.exit (%b) : i64
}

ebpf.func @down section ".text" attributes {bind = #builtin.int<0>} {
^entry(%object : !ebpf.fp, %x : i64):
  %at = ebpf.add %object, %x : !ebpf.fp, i64 -> !ebpf.fp
  ebpf.st64 %at[0], 1 : !ebpf.fp
  %zero = arith.constant 0 : i64
  ebpf.exit (%zero) : i64
}

// A helper whose size is in a register that nothing has set: what it reads is not known, so the store stays.

// CHECK-LABEL: ebpf.func @no_size
ebpf.func @no_size section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: ebpf.stx64 %fp[-8], %x
  ebpf.stx64 %fp[-8], %x : !ebpf.fp, i64
  %format = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %r = ebpf.call 6(%format) : !ebpf.fp -> i64
  ebpf.exit (%r) : i64
}
