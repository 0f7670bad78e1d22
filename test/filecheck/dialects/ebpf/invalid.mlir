// RUN: fs-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{function f has no blocks}}
ebpf.func @f section "xdp" {
}

// -----

// expected-error@+1 {{arguments are r1 to r5}}
ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r6>):
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{does not fit a machine register}}
  %b = ebpf.mov %a : r1 -> i128
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{expected 1 operand types but had 2}}
  %b = ebpf.add %a, %a : r1 -> r1
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{Operation ebpf.addd is not registered}}
  %b = ebpf.addd %a, %a : r1, r1 -> r1
  ebpf.end
}
