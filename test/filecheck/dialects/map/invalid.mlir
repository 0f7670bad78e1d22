// RUN: fs-opt %s --split-input-file --verify-diagnostics

map.decl @flows "hash" key 12 value 8 entries 1024 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{the key of @flows has 12 bytes, the operands have 8}}
  %v = map.lookup @flows(%a) : i64 -> !map.value<@flows>
  ebpf.end
}

// -----

map.decl @flows "hash" key 12 value 8 entries 1024 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{the key of @flows has 12 bytes, the operands have 8}}
  %v = map.delete @flows(%a) : i64 -> i64
  ebpf.end
}

// -----

map.decl @flows "hash" key 8 value 8 entries 1024 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64, %b : i32):
  // expected-error@+1 {{the value of @flows has 8 bytes, the operands have 4}}
  %rc = map.update @flows key (%a) value (%b) flags %a : i64, i32, i64 -> i64
  ebpf.end
}

// -----

map.decl @flows "hash" key 8 value 8 entries 1024 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64, %b : i32):
  // expected-error@+1 {{the key of @flows has 8 bytes, the operands have 4}}
  %rc = map.update @flows key (%b) value (%a) flags %a : i32, i64, i64 -> i64
  ebpf.end
}

// -----

map.decl @flows "hash" key 8 value 8 entries 1024 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{the operands are not those of the key, those of the value, and the flags}}
  %rc = "map.update"(%a, %a) <{map = @flows, key_count = #builtin.int<1>, value_count = #builtin.int<1>}> : (i64, i64) -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{no map @nowhere is declared in the module; declare it with map.decl}}
  %v = map.lookup @nowhere(%a) : i64 -> !map.value<@nowhere>
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.fp):
  // expected-error@+1 {{no map @nowhere is declared in the module}}
  %v = map.lookup_at @nowhere[%a] : !ebpf.fp -> !map.value<@nowhere>
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.fp, %flags : i64):
  // expected-error@+1 {{no map @nowhere is declared in the module}}
  %v = map.update_at @nowhere[%a], %a flags %flags : !ebpf.fp, !ebpf.fp, i64 -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.fp):
  // expected-error@+1 {{no map @nowhere is declared in the module}}
  %v = map.delete_at @nowhere[%a] : !ebpf.fp -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{no map @nowhere is declared in the module}}
  %v = map.redirect @nowhere[%a] flags %a : i64, i64 -> i64
  ebpf.end
}

// -----

// A key is made of numbers: an address has no place in it.

map.decl @m "hash" key 8 value 8 entries 1 flags 0
ebpf.func @f section "xdp" {
^entry(%a : !packet.ptr):
  // expected-error@+1 {{operand 'key' at position 0 does not verify}}
  %v = map.lookup @m(%a) : !packet.ptr -> !map.value<@m>
  ebpf.end
}

// -----

map.decl @m "hash" key 8 value 8 entries 1 flags 0
ebpf.func @f section "xdp" {
^entry(%a : !packet.ptr):
  // expected-error@+1 {{operand 'key' at position 0 does not verify}}
  %v = map.delete @m(%a) : !packet.ptr -> i64
  ebpf.end
}

// -----

// A lookup gives the address of a value of its map.

map.decl @m "hash" key 8 value 8 entries 1 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{a lookup in @m gives !map.value<@m> or !ebpf.reg, not i64}}
  %v = map.lookup @m(%a) : i64 -> i64
  ebpf.end
}

// -----

map.decl @m "hash" key 8 value 8 entries 1 flags 0
ebpf.func @f section "xdp" {
^entry(%a : !ebpf.fp):
  // expected-error@+1 {{a lookup in @m gives !map.value<@m> or !ebpf.reg, not i64}}
  %v = map.lookup_at @m[%a] : !ebpf.fp -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %hit = map.hit %v : !map.value<@m> -> i64
  ebpf.end
}

// -----

// Accesses go through values, and move numbers.

ebpf.func @f section "xdp" {
^entry(%v : !packet.ptr):
  // expected-error@+1 {{operand 'value' at position 0 does not verify}}
  %x = map.load %v[0] : !packet.ptr -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %x = map.load %v[0] : !map.value<@m> -> !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !packet.ptr, %x : i64):
  // expected-error@+1 {{operand 'value' at position 0 does not verify}}
  map.store %v[0], %x : !packet.ptr, i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>, %x : !packet.ptr):
  // expected-error@+1 {{operand 'stored' at position 1 does not verify}}
  map.store %v[0], %x : !map.value<@m>, !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !packet.ptr, %x : i64):
  // expected-error@+1 {{operand 'value' at position 0 does not verify}}
  map.atomic "add" %v[0], %x : !packet.ptr, i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>, %x : i64):
  // expected-error@+1 {{there is no atomic 'mul'; there are add, and, or, xor}}
  map.atomic "mul" %v[0], %x : !map.value<@m>, i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>, %x : i16):
  // expected-error@+1 {{atomics are of i32 or i64, not of i16}}
  map.atomic "add" %v[0], %x : !map.value<@m>, i16
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>, %x : i32):
  // expected-error@+1 {{the result is of the argument's type i32, not of i64}}
  %old = map.atomic "add" %v[0], %x : !map.value<@m>, i32 -> i64
  ebpf.end
}

// -----

// Sizes are numbers of 32 bits; initial values have an index and a symbol.

// expected-error@+1 {{value_size is -8, must be an unsigned number of 32 bits}}
map.decl @m "hash" key 4 value -8 entries 1 flags 0

// -----

// expected-error@+1 {{an initial value must be a dictionary with index (#builtin.int), symbol (string)}}
map.decl @m "prog_array" key 4 value 4 entries 1 flags 0 {initial = [{index = #builtin.int<0>}]}

// -----

// A value of several maps names each once, in order; of no map there is none.

ebpf.func @f section "xdp" {
// expected-error@+1 {{the maps of a type are one or more, each once, in the order of their names}}
^entry(%v : !map.value<@b, @a>):
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
// expected-error@+1 {{the maps of a type are one or more, each once, in the order of their names}}
^entry(%v : !map.value<@a, @a>):
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%v : !map.value<@m>):
  // expected-error@+1 {{core must be a dictionary with}}
  %x = map.load %v[0] {core = {type = #builtin.int<1>}} : !map.value<@m> -> i8
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
// expected-error@+1 {{the maps of a type are one or more, each once, in the order of their names}}
^entry(%m : !map.handle<@b, @a>):
  ebpf.end
}

// -----

// What is in a map of maps is named after it.

ebpf.func @f section "xdp" {
// expected-error@+1 {{a map is @name, or @name::@inner for one that is in a map of maps}}
^entry(%m : !map.handle<@outer::@other>):
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
// expected-error@+1 {{a map is @name, or @name::@inner for one that is in a map of maps}}
^entry(%v : !map.value<@outer::@inner::@inner>):
  ebpf.end
}

// -----

// A lookup in a map of maps gives a map.

map.decl @outer "array_of_maps" key 4 value 4 entries 2 flags 0
ebpf.func @f section "xdp" {
^entry(%i : i32):
  // expected-error@+1 {{a lookup in @outer gives !map.handle<@outer::@inner> or !ebpf.reg, not !map.value<@outer>}}
  %m = map.lookup @outer(%i) : i32 -> !map.value<@outer>
  ebpf.end
}

// -----

// What is the call of a helper takes what the helper takes.

ebpf.func @f section "xdp" {
^entry(%m : !map.handle<@m>, %value : !ebpf.fp):
  // expected-error@+1 {{bpf_map_push_elem takes 3 arguments, not 2}}
  %rc = "map.push"(%m, %value) <{helper = #builtin.int<87>}> : (!map.handle<@m>, !ebpf.fp) -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%m : !map.value<@m>, %value : !ebpf.fp, %flags : i64):
  // expected-error@+1 {{bpf_map_push_elem takes a map, a !map.handle, not !map.value<@m>}}
  %rc = map.push %m, %value flags %flags : !map.value<@m>, !ebpf.fp, i64 -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%m : !map.handle<@m>, %value : !ebpf.fp):
  // expected-error@+1 {{map.pop calls helper 88 (bpf_map_pop_elem), not 89}}
  %rc = "map.pop"(%m, %value) <{helper = #builtin.int<89>}> : (!map.handle<@m>, !ebpf.fp) -> i64
  ebpf.end
}
