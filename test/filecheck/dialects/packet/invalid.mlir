// RUN: fs-opt %s --split-input-file --verify-diagnostics

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // expected-error@+1 {{packet.ctx}}
  %end = packet.end %data : !packet.ptr -> !packet.end_ptr
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // expected-error@+1 {{result 'res' at position 0 does not verify}}
  %x = packet.load %data[0] : !packet.ptr -> !packet.ptr
  ebpf.end
}
