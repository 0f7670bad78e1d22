// RUN: fs-opt %s --split-input-file --verify-diagnostics

// The start, the end and the metadata of the packet come from the context, and have types of their own.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %data = packet.data %p : !packet.ptr -> !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %data = packet.data %ctx : !packet.ctx -> !packet.end_ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{packet.ctx}}
  %end = packet.end %p : !packet.ptr -> !packet.end_ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %end = packet.end %ctx : !packet.ctx -> !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%p : i64):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %meta = packet.meta %p : i64 -> !packet.meta_ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %meta = packet.meta %ctx : !packet.ctx -> !packet.ptr
  ebpf.end
}

// -----

// Fields of the context are numbers.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %x = packet.ctx_load %p[12] : !packet.ptr -> i32
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %x = packet.ctx_load %ctx[0] : !packet.ctx -> !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "tc" {
^entry(%p : !packet.ptr, %x : i32):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  packet.ctx_store %p[8], %x : !packet.ptr, i32
  ebpf.end
}

// -----

ebpf.func @f section "tc" {
^entry(%ctx : !packet.ctx, %p : !packet.ptr):
  // expected-error@+1 {{operand 'value' at position 1 does not verify}}
  packet.ctx_store %ctx[8], %p : !packet.ctx, !packet.ptr
  ebpf.end
}

// -----

// Addresses and distances are words.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{does not fit a machine register}}
  %x = packet.offset %p[4] : !packet.ptr -> i128
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr, %by : i128):
  // expected-error@+1 {{does not fit a machine register}}
  %x = packet.advance %p, %by : !packet.ptr, i128 -> !packet.ptr
  ebpf.end
}

// -----

// A guard gives a truth value.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr, %end : !packet.end_ptr):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %ok = packet.guard %p[14], %end : !packet.ptr, !packet.end_ptr -> i64
  ebpf.end
}

// -----

// Loads and stores move numbers.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %x = packet.load %p[0] : !packet.ptr -> !packet.ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{operand 'value' at position 1 does not verify}}
  packet.store %p[0], %p : !packet.ptr, !packet.ptr
  ebpf.end
}

// -----

// The packet is resized through the context.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr, %by : i64):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %rc = packet.adjust_head %p, %by : !packet.ptr, i64 -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr, %by : i64):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %rc = packet.adjust_tail %p, %by : !packet.ptr, i64 -> i64
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr, %by : i64):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %rc = packet.adjust_meta %p, %by : !packet.ptr, i64 -> i64
  ebpf.end
}

// -----

// A verdict is a word, and the end of its block.

ebpf.func @f section "xdp" {
^entry(%x : i128):
  // expected-error@+1 {{does not fit a machine register}}
  packet.verdict %x : i128
}

// -----

ebpf.func @f section "xdp" {
^entry(%x : i64):
  // expected-error@+1 {{must be the last operation in its parent block}}
  packet.verdict %x : i64
  ebpf.end
}

// -----

// A relocation says of which type, which field of it, and what of that.

ebpf.func @f section "xdp" {
^entry(%p : !packet.ptr):
  // expected-error@+1 {{core must be a dictionary with}}
  %x = packet.load %p[0] {core = {type = #builtin.int<1>}} : !packet.ptr -> i8
  ebpf.end
}

// -----

ebpf.func @f section "tc" {
^entry(%n : i64):
  // expected-error@+1 {{operand 'ctx' at position 0 does not verify}}
  %x = packet.fetch %n[12] : i64 -> i16
  ebpf.end
}

// -----

ebpf.func @f section "tc" {
^entry(%ctx : !packet.ctx, %i : i64):
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %x = packet.fetch_at %ctx[%i + 12] : !packet.ctx, i64 -> !packet.ptr
  ebpf.end
}
