// RUN: fs-opt %s -p lower-maps | filecheck %s

map.decl @m "hash" key 12 value 8 entries 16 flags 0
map.decl @ports "devmap" key 4 value 4 entries 16 flags 0

// A key is written whole, neighbouring constants with one store; where it is there already it serves again.
// CHECK-LABEL: ebpf.func @key
// CHECK:         %[[KEY:.*]] = ebpf.alloca 12 -> !ebpf.fp
// CHECK-NEXT:    ebpf.st32 %[[KEY]][4], 16842752 : !ebpf.fp
// CHECK-NEXT:    ebpf.st32 %[[KEY]][8], 5 : !ebpf.fp
// CHECK-NEXT:    ebpf.stx32 %[[KEY]][0], %{{.*}} : !ebpf.fp, i32
// CHECK-NEXT:    %[[M:.*]] = ebpf.ld_sym @m -> !map.handle<@m>
// CHECK-NEXT:    %[[V:.*]] = ebpf.call 1(%[[M]], %[[KEY]]) : !map.handle<@m>, !ebpf.fp -> !map.value<@m>
// CHECK:         arith.cmpi ne, %{{.*}}, %{{.*}} : i64
// CHECK:         ebpf.ldx16 %[[V]][4] : !map.value<@m> -> i16
// CHECK-NEXT:    ebpf.st32 %[[V]][0], 5 : !map.value<@m>
// CHECK-NEXT:    ebpf.atomic_add32 %[[V]][4], %{{.*}} : !map.value<@m>, i32
// CHECK-NOT:     ebpf.alloca
// CHECK:         ebpf.call 3(%{{.*}}, %[[KEY]])
ebpf.func @key section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i32):
  %zero = arith.constant 0 : i16
  %b = arith.constant 257 : i16
  %c = arith.constant 5 : i32
  %v = map.lookup @m(%a, %zero, %b, %c) : i32, i16, i16, i32 -> !map.value<@m>
  %hit = map.hit %v : !map.value<@m> -> i1
  cf.cond_br %hit, ^hit, ^miss
^hit:
  %f = map.load %v[4] : !map.value<@m> -> i16
  map.store %v[0], %c : !map.value<@m>, i32
  map.atomic "add" %v[4], %a : !map.value<@m>, i32
  %d = map.delete @m(%a, %zero, %b, %c) : i32, i16, i16, i32 -> i64
  cf.br ^miss
^miss:
  %r = arith.constant 1 : i64
  ebpf.exit(%r) : i64
}

// A piece that is not aligned is written in parts; one that would have to live across a call is written when it is
// made.
// CHECK-LABEL: ebpf.func @pieces
// CHECK:         %[[KEY:.*]] = ebpf.alloca 12 -> !ebpf.fp
// CHECK-NEXT:    ebpf.stx16 %[[KEY]][4], %{{.*}} : !ebpf.fp, i16
// CHECK-NEXT:    ebpf.stx16 %[[KEY]][10], %{{.*}} : !ebpf.fp, i16
// CHECK-NEXT:    %[[X:.*]] = ebpf.call 7() -> i64
// CHECK-NEXT:    ebpf.stx32 %[[KEY]][0], %[[X]] : !ebpf.fp, i64
// CHECK-NEXT:    %[[Y:.*]] = ebpf.call 5() -> i64
// CHECK:         ebpf.stx16 %[[KEY]][6], %[[Y]] : !ebpf.fp, i64
// CHECK-NEXT:    %[[HIGH:.*]] = ebpf.rshi %[[Y]], 16 : i64 -> i64
// CHECK-NEXT:    ebpf.stx16 %[[KEY]][8], %[[HIGH]] : !ebpf.fp, i64
// CHECK:         ebpf.call 1(
ebpf.func @pieces section "xdp" attributes {prog_type = "xdp"} {
^bb0(%b : i16):
  %x = ebpf.call 7() -> i64
  %y = ebpf.call 5() -> i64
  %x32 = arith.trunci %x : i64 to i32
  %y32 = arith.trunci %y : i64 to i32
  %v = map.lookup @m(%x32, %b, %y32, %b) : i32, i16, i32, i16 -> !map.value<@m>
  %r = arith.constant 1 : i64
  ebpf.exit(%r) : i64
}

// CHECK-LABEL: ebpf.func @others
// CHECK:         ebpf.call 2(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : !map.handle<@m>, !ebpf.fp, !ebpf.fp, i64 -> i64
// CHECK:         ebpf.call 1(%{{.*}}, %[[P:.*]]) : !map.handle<@m>, !ebpf.fp -> !map.value<@m>
// CHECK:         ebpf.call 51(%{{.*}}, %{{.*}}, %{{.*}}) : !map.handle<@ports>, i64, i64 -> i64
ebpf.func @others section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i32, %x : i64, %p : !ebpf.fp):
  %u = map.update @m key (%a, %x) value (%x) flags %x : i32, i64, i64, i64 -> i64
  %v = map.lookup_at @m[%p] : !ebpf.fp -> !map.value<@m>
  %r = map.redirect @ports[%x] flags %x : i64, i64 -> i64
  ebpf.exit(%r) : i64
}

// Key and value of the same content are one object, also when the word goes by another type in each.
// CHECK-LABEL: ebpf.func @twice
// CHECK:         %[[O:.*]] = ebpf.alloca 8 -> !ebpf.fp
// CHECK-NOT:     ebpf.alloca
// CHECK:         ebpf.call 2(%{{.*}}, %[[O]], %[[O]], %{{.*}})
map.decl @wide "hash" key 8 value 8 entries 16 flags 0
ebpf.func @twice section "xdp" attributes {prog_type = "xdp"} {
^bb0(%w : !ebpf.reg, %x : i64):
  %a = ebpf.cast %w : reg -> i64
  %b = ebpf.cast %w : reg -> i64
  %u = map.update @wide key (%a) value (%b) flags %x : i64, i64, i64 -> i64
  ebpf.exit(%u) : i64
}

// Where that takes fewer stores, constants are written across what comes between them, and the rest over it.
// CHECK-LABEL: ebpf.func @across
// CHECK:         %[[O:.*]] = ebpf.alloca 4 -> !ebpf.fp
// CHECK-NEXT:    ebpf.st32 %[[O]][0], 117440512 : !ebpf.fp
// CHECK-NEXT:    ebpf.stx8 %[[O]][0], %{{.*}} : !ebpf.fp, i8
// CHECK-NOT:     ebpf.st
// CHECK:         ebpf.call 1(
map.decl @odd "hash" key 4 value 8 entries 16 flags 0
ebpf.func @across section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i8):
  %zero = arith.constant 0 : i16
  %seven = arith.constant 7 : i8
  %v = map.lookup @odd(%a, %zero, %seven) : i8, i16, i8 -> !map.value<@odd>
  %r = arith.constant 1 : i64
  ebpf.exit(%r) : i64
}

// An object whose content is not needed any more is changed where that takes fewer stores than a new one, and back.
// CHECK-LABEL: ebpf.func @changed
// CHECK:         %[[K:.*]] = ebpf.alloca 12 -> !ebpf.fp
// CHECK:         ebpf.call 1(%{{.*}}, %[[K]])
// CHECK-NEXT:    %b = ebpf.call 7() -> i32
// CHECK-NEXT:    ebpf.stx32 %[[K]][4], %b : !ebpf.fp, i32
// CHECK-NEXT:    ebpf.ld_sym
// CHECK-NEXT:    ebpf.call 3(%{{.*}}, %[[K]])
// CHECK-NEXT:    ebpf.st32 %[[K]][4], 0 : !ebpf.fp
// CHECK-NEXT:    ebpf.ld_sym
// CHECK-NEXT:    ebpf.call 3(%{{.*}}, %[[K]])
// CHECK-NEXT:    ebpf.exit
ebpf.func @changed section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i32):
  %z = arith.constant 0 : i32
  %five = arith.constant 5 : i32
  %v = map.lookup @m(%a, %z, %five) : i32, i32, i32 -> !map.value<@m>
  %b = ebpf.call 7() -> i32
  %d = map.delete @m(%a, %b, %five) : i32, i32, i32 -> i64
  %e = map.delete @m(%a, %z, %five) : i32, i32, i32 -> i64
  ebpf.exit(%e) : i64
}

// The key of an operation is not changed into its value.
// CHECK-LABEL: ebpf.func @both
// CHECK:         %[[K:.*]] = ebpf.alloca 8 -> !ebpf.fp
// CHECK:         %[[V:.*]] = ebpf.alloca 8 -> !ebpf.fp
// CHECK:         ebpf.call 2(%{{.*}}, %[[K]], %[[V]], %{{.*}})
ebpf.func @both section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i32, %b : i32, %c : i32, %x : i64):
  %u = map.update @wide key (%a, %b) value (%a, %c) flags %x : i32, i32, i32, i32, i64 -> i64
  ebpf.exit(%u) : i64
}

// Nor is what the next turn of a loop needs; what one way has changed does not serve where the ways meet.
// CHECK-LABEL: ebpf.func @turns
// CHECK:         %[[A:.*]] = ebpf.alloca 8 -> !ebpf.fp
// CHECK-NEXT:    ebpf.stx32 %[[A]][0], %a
// CHECK-NEXT:    %[[B:.*]] = ebpf.alloca 8 -> !ebpf.fp
// CHECK-NEXT:    ebpf.stx32 %[[B]][0], %a
// CHECK:         ebpf.call 1(%{{.*}}, %[[B]])
// CHECK:         ebpf.call 3(%{{.*}}, %[[A]])
// CHECK:         ebpf.st32 %[[B]][4], 3
// CHECK:         ebpf.call 3(%{{.*}}, %[[B]])
// CHECK:         ebpf.st32 %[[A]][4], 1
// CHECK:         ebpf.call 3(%{{.*}}, %[[A]])
ebpf.func @turns section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i32, %x : i64):
  %one = arith.constant 1 : i32
  %two = arith.constant 2 : i32
  %three = arith.constant 3 : i32
  cf.br ^loop
^loop:
  %v = map.lookup @wide(%a, %one) : i32, i32 -> !map.value<@wide>
  %again = map.hit %v : !map.value<@wide> -> i1
  %d = map.delete @wide(%a, %two) : i32, i32 -> i64
  cf.cond_br %again, ^loop, ^out
^out:
  %zero = arith.constant 0 : i64
  %some = arith.cmpi eq, %x, %zero : i64
  cf.cond_br %some, ^other, ^join
^other:
  %e = map.delete @wide(%a, %three) : i32, i32 -> i64
  cf.br ^join
^join:
  %f = map.delete @wide(%a, %one) : i32, i32 -> i64
  ebpf.exit(%f) : i64
}

// What would have to live across a call, and what another way needs too, is written on its own way, before the call.
// CHECK-LABEL: ebpf.func @own_way
// CHECK:         cf.cond_br
// CHECK:       ^{{.*}}:
// CHECK-NEXT:    %[[K:.*]] = ebpf.alloca 12 -> !ebpf.fp
// CHECK-NEXT:    ebpf.stx32 %[[K]][0], %a : !ebpf.fp, i32
// CHECK:         ebpf.call 7() -> i64
// CHECK-NOT:     ebpf.stx
// CHECK:         ebpf.call 3(%{{.*}}, %[[K]])
ebpf.func @own_way section "xdp" attributes {prog_type = "xdp"} {
^bb0(%a : i32, %x : i64):
  %z = arith.constant 0 : i32
  %none = arith.constant 0 : i64
  %other = arith.cmpi eq, %x, %none : i64
  cf.cond_br %other, ^other, ^own
^own:
  %t = ebpf.call 7() -> i64
  %d = map.delete @m(%a, %z, %z) : i32, i32, i32 -> i64
  ebpf.exit(%t) : i64
^other:
  %w = arith.extui %a : i32 to i64
  ebpf.exit(%w) : i64
}

// The result of a call that is not used any more when the key is needed is written at once, and may change after that.
// CHECK-LABEL: ebpf.func @at_once
// CHECK:         %[[T:.*]] = ebpf.call 14() -> i64
// CHECK-NEXT:    %[[K:.*]] = ebpf.alloca 12 -> !ebpf.fp
// CHECK-NEXT:    ebpf.stx32 %[[K]][0], %[[T]] : !ebpf.fp, i64
// CHECK:         cf.cond_br
ebpf.func @at_once section "kprobe/x" {
^bb0(%x : i64):
  %t = ebpf.call 14() -> i64
  %c = arith.constant 32 : i64
  %h = arith.shrui %t, %c : i64
  %same = arith.cmpi eq, %h, %x : i64
  %r = arith.constant 1 : i64
  cf.cond_br %same, ^go, ^out
^go:
  %k = arith.trunci %t : i64 to i32
  %z = arith.constant 0 : i32
  %d = map.delete @m(%k, %z, %z) : i32, i32, i32 -> i64
  cf.br ^out
^out:
  ebpf.exit(%r) : i64
}

// What is the call of a helper becomes that; a handle from a map of maps is tested as a value is.
// CHECK-LABEL: ebpf.func @handles
// CHECK:         %[[H:.*]] = ebpf.call 1(%{{.*}}, %{{.*}}) : !map.handle<@outer>, !ebpf.fp -> !map.handle<@outer::@inner>
// CHECK:         arith.cmpi ne
// CHECK:         %[[V:.*]] = ebpf.call 1(%[[H]], %p) : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
// CHECK-NEXT:    ebpf.ldx64 %[[V]][8]
// CHECK-NEXT:    ebpf.call 87(%[[H]], %p, %{{.*}})
map.decl @outer "array_of_maps" key 4 value 4 entries 16 flags 0
ebpf.func @handles section "xdp" attributes {prog_type = "xdp"} {
^bb0(%p : !ebpf.fp, %i : i32):
  %h = map.lookup @outer(%i) : i32 -> !map.handle<@outer::@inner>
  %hit = map.hit %h : !map.handle<@outer::@inner> -> i1
  %r = arith.constant 1 : i64
  cf.cond_br %hit, ^in, ^out
^in:
  %v = map.lookup_via %h[%p] : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
  %x = map.load %v[8] : !map.value<@outer::@inner> -> i64
  %rc = map.push %h, %p flags %x : !map.handle<@outer::@inner>, !ebpf.fp, i64 -> i64
  cf.br ^out
^out:
  ebpf.exit(%r) : i64
}
