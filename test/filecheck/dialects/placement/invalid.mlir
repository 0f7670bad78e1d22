// RUN: fs-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{resume is 65536, must be an unsigned number of 16 bits}}
placement.edge 65536 from @kernel to @user {fields = [], order = "sequential", transport = "metadata"}

// -----

// What is carried is a number of up to 64 bits.

// expected-error@+1 {{has no width from 1 to 64 bits}}
placement.edge 1 from @kernel to @user {fields = [{name = "port", width = #builtin.int<0>}], order = "sequential", transport = "metadata"}

// -----

// expected-error@+1 {{has no width from 1 to 64 bits}}
placement.edge 1 from @kernel to @user {fields = [{name = "port", width = 65 : i32}], order = "sequential", transport = "metadata"}

// -----

// expected-error@+1 {{has no width from 1 to 64 bits}}
placement.edge 1 from @kernel to @user {fields = [{name = "port"}], order = "sequential", transport = "metadata"}

// -----

// expected-error@+1 {{order}}
placement.edge 1 from @kernel to @user {fields = [], transport = "metadata"}

// -----

// expected-error@+1 {{consistency}}
placement.share @flows by "private" {parts = [@user], reason = "one part touches it"}

// -----

// expected-error@+1 {{should be of base attribute dictionary}}
placement.part @kernel on "xdp" attributes {costs = "much"} {
  ebpf.func @f section "xdp" {
  ^entry:
    ebpf.end
  }
}

// -----

ebpf.func @f section "xdp" {
^entry(%n : i64):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  placement.handoff 1 to @user from %n carrying () : i64
}

// -----

// No address crosses.

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // expected-error@+1 {{operand 'values' at position 1 does not verify}}
  placement.handoff 1 to @user from %ctx carrying (%data) : !packet.ctx, !packet.ptr
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{operand 'slot' at position 1 does not verify}}
  %waits = placement.overtakes %ctx in %ctx : !packet.ctx, !packet.ctx -> i1
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %at = placement.resume %ctx : !packet.ctx -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %data = placement.carried %ctx at 1[0] : !packet.ctx -> !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%n : i32):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  placement.accept %n at 1 : i32
  ebpf.end
}
