// RUN: %roundtrip

// CHECK: map.decl @flows "hash" key 12 value 8 entries 1024 flags 0 {section = ".maps"}
map.decl @flows "hash" key 12 value 8 entries 1024 flags 0 {section = ".maps"}
// CHECK-NEXT: map.decl @ports "devmap" key 4 value 4 entries 8 flags 0
map.decl @ports "devmap" key 4 value 4 entries 8 flags 0

// CHECK-LABEL: ebpf.func @ops
ebpf.func @ops section "xdp" {
^entry(%a : i64, %b : i32, %key : !ebpf.fp):
  // A key is the concatenation of its operands: 8 + 4 bytes.
  // CHECK: %v = map.lookup @flows(%a, %b) : i64, i32 -> !map.value<@flows>
  %v = map.lookup @flows(%a, %b) : i64, i32 -> !map.value<@flows>
  // CHECK-NEXT: %w = map.lookup_at @flows[%key] : !ebpf.fp -> !map.value<@flows>
  %w = map.lookup_at @flows[%key] : !ebpf.fp -> !map.value<@flows>
  // CHECK-NEXT: %hit = map.hit %v : !map.value<@flows> -> i1
  %hit = map.hit %v : !map.value<@flows> -> i1
  // CHECK-NEXT: %x = map.load %v[4] {field = "packets"} : !map.value<@flows> -> i32
  %x = map.load %v[4] {field = "packets"} : !map.value<@flows> -> i32
  // CHECK-NEXT: map.store %v[4], %x : !map.value<@flows>, i32
  map.store %v[4], %x : !map.value<@flows>, i32
  // CHECK-NEXT: map.atomic "add" %v[0], %x : !map.value<@flows>, i32
  map.atomic "add" %v[0], %x : !map.value<@flows>, i32
  // CHECK-NEXT: %old = map.atomic "xor" %v[4], %x : !map.value<@flows>, i32 -> i32
  %old = map.atomic "xor" %v[4], %x : !map.value<@flows>, i32 -> i32
  // CHECK-NEXT: %rc = map.update @flows key (%a, %b) value (%a) flags %a : i64, i32, i64, i64 -> i64
  %rc = map.update @flows key (%a, %b) value (%a) flags %a : i64, i32, i64, i64 -> i64
  // CHECK-NEXT: %rc_1 = map.update_at @flows[%key], %key flags %a : !ebpf.fp, !ebpf.fp, i64 -> i64
  %rc_1 = map.update_at @flows[%key], %key flags %a : !ebpf.fp, !ebpf.fp, i64 -> i64
  // CHECK-NEXT: %rc_2 = map.delete @flows(%a, %b) : i64, i32 -> i64
  %rc_2 = map.delete @flows(%a, %b) : i64, i32 -> i64
  // CHECK-NEXT: %rc_3 = map.delete_at @flows[%key] : !ebpf.fp -> i64
  %rc_3 = map.delete_at @flows[%key] : !ebpf.fp -> i64
  // CHECK-NEXT: %to = map.redirect @ports[%a] flags %rc : i64, i64 -> i64
  %to = map.redirect @ports[%a] flags %rc : i64, i64 -> i64
  ebpf.exit (%to) : i64
}

// A map that is not known by name is a handle: one that is in a map of maps, or one of several.

map.decl @like "hash" key 4 value 16 entries 1 flags 0 {template = unit}
map.decl @outer "array_of_maps" key 4 value 4 entries 2 flags 0 {inner = @like}

// CHECK-LABEL: ebpf.func @handles
ebpf.func @handles section "xdp" {
^entry(%one : !map.handle<@flows, @ports>, %key : !ebpf.fp, %a : i64, %i : i32):
  // CHECK: %m = map.lookup @outer(%i) : i32 -> !map.handle<@outer::@inner>
  %m = map.lookup @outer(%i) : i32 -> !map.handle<@outer::@inner>
  // CHECK-NEXT: %hit = map.hit %m : !map.handle<@outer::@inner> -> i1
  %hit = map.hit %m : !map.handle<@outer::@inner> -> i1
  // CHECK-NEXT: %v = map.lookup_via %m[%key] : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
  %v = map.lookup_via %m[%key] : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
  // CHECK-NEXT: %x = map.load %v[8] : !map.value<@outer::@inner> -> i32
  %x = map.load %v[8] : !map.value<@outer::@inner> -> i32
  // CHECK-NEXT: %rc = map.update_via %one[%key], %key flags %a : !map.handle<@flows, @ports>, !ebpf.fp, !ebpf.fp, i64 -> i64
  %rc = map.update_via %one[%key], %key flags %a : !map.handle<@flows, @ports>, !ebpf.fp, !ebpf.fp, i64 -> i64
  // CHECK-NEXT: map.push %m, %key flags %a : !map.handle<@outer::@inner>, !ebpf.fp, i64 -> i64
  %rc_1 = map.push %m, %key flags %a : !map.handle<@outer::@inner>, !ebpf.fp, i64 -> i64
  ebpf.exit (%rc) : i64
}
