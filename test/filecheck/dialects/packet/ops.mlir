// RUN: %roundtrip

// CHECK-LABEL: ebpf.func @ops
ebpf.func @ops section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  // CHECK: %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK-NEXT: %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  // CHECK-NEXT: %meta = packet.meta %ctx : !packet.ctx -> !packet.meta_ptr
  %meta = packet.meta %ctx : !packet.ctx -> !packet.meta_ptr
  // CHECK-NEXT: %q = packet.ctx_load %ctx[16] {field = "rx_queue_index"} : !packet.ctx -> i32
  %q = packet.ctx_load %ctx[16] {field = "rx_queue_index"} : !packet.ctx -> i32
  // CHECK-NEXT: packet.ctx_store %ctx[8], %q : !packet.ctx, i32
  packet.ctx_store %ctx[8], %q : !packet.ctx, i32
  // CHECK-NEXT: %ok = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  %ok = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  // CHECK-NEXT: %ihl = packet.load %data[14] {field = "ipv4.version_ihl"} : !packet.ptr -> i8
  %ihl = packet.load %data[14] {field = "ipv4.version_ihl"} : !packet.ptr -> i8
  %by = arith.extui %ihl : i8 to i64
  // CHECK: %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  // CHECK-NEXT: %l4 = packet.advance %l3, %by : !packet.ptr, i64 -> !packet.ptr
  %l4 = packet.advance %l3, %by : !packet.ptr, i64 -> !packet.ptr
  // CHECK-NEXT: packet.store %l4[2], %ihl : !packet.ptr, i8
  packet.store %l4[2], %ihl : !packet.ptr, i8
  // CHECK-NEXT: %rc = packet.adjust_head %ctx, %by : !packet.ctx, i64 -> i64
  %rc = packet.adjust_head %ctx, %by : !packet.ctx, i64 -> i64
  // CHECK-NEXT: packet.verdict %rc : i64
  packet.verdict %rc : i64
}

// CHECK-LABEL: ebpf.func @fetches
ebpf.func @fetches section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !packet.ctx, %i : i64):
  // CHECK: %type = packet.fetch %ctx[12] {field = "eth.h_proto"} : !packet.ctx -> i16
  %type = packet.fetch %ctx[12] {field = "eth.h_proto"} : !packet.ctx -> i16
  // CHECK-NEXT: %byte = packet.fetch_at %ctx[%i + 14] : !packet.ctx, i64 -> i8
  %byte = packet.fetch_at %ctx[%i + 14] : !packet.ctx, i64 -> i8
  packet.verdict %i : i64
}
