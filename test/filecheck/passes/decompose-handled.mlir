// RUN: fs-opt %s -p 'decompose{cut-at=bb2}' --split-input-file | filecheck %s

// A packet that was made longer travels as it is; addresses are distances from its new start.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK:         packet.adjust_head
// CHECK:         placement.handoff
// CHECK:       placement.part @af_xdp
// CHECK-NOT:     packet.adjust_head
// CHECK:         packet.store
ebpf.func @grows section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %by = arith.constant -14 : i32
  %error = packet.adjust_head %ctx, %by : !packet.ctx, i32 -> i64
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %ok = packet.guard %data[28], %end : !packet.ptr, !packet.end_ptr -> i1
  %tx = arith.constant 3 : i64
  cf.cond_br %ok, ^more, ^out
^out:
  packet.verdict %error : i64
^more:
  packet.store %data[14], %tx : !packet.ptr, i64
  packet.verdict %tx : i64
}

// -----

// A path with a tail call stays in the kernel, and others can be cut.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK:         ebpf.call 12
// CHECK:         placement.handoff
// CHECK:       placement.part @af_xdp
// CHECK-NOT:     ebpf.call 12
map.decl @jumps "prog_array" key 4 value 4 entries 4 flags 0
ebpf.func @tail_call section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %index = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %slow = arith.cmpi eq, %index, %zero : i32
  %verdict = arith.constant 1 : i64
  cf.cond_br %slow, ^here, ^jump
^jump:
  %jumps = ebpf.ld_sym @jumps -> !map.handle<@jumps>
  %which = arith.extui %index : i32 to i64
  %r = ebpf.call 12(%ctx, %jumps, %which) : !packet.ctx, !map.handle<@jumps>, i64 -> i64
  packet.verdict %r : i64
^here:
  packet.verdict %verdict : i64
}
