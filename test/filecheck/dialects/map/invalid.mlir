// RUN: fs-opt %s --split-input-file --verify-diagnostics

map.decl @flows "hash" key 12 value 8 entries 1024 flags 0
ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{the key of @flows has 12 bytes, the operands have 8}}
  %v = map.lookup @flows(%a) : i64 -> !map.value<@flows>
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

ebpf.func @f section "xdp" {
^entry(%a : i64):
  // expected-error@+1 {{no map @nowhere is declared}}
  %v = map.lookup @nowhere(%a) : i64 -> !map.value<@nowhere>
  ebpf.end
}
