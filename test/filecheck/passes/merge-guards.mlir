// RUN: fs-opt %s -p merge-guards,value-numbering,eliminate-dead-code,simplify-cfg | filecheck %s

map.decl @counts "array" key 4 value 8 entries 4 flags 0

// What is no IPv4, and what is too short for it, passes: one question. TCP asks for more than UDP, which is left.
// CHECK-LABEL: ebpf.func @once
// CHECK:           %ethernet = packet.guard %data[42], %end
// CHECK-COUNT-3:   cf.cond_br
// CHECK:           %tcp = packet.guard %data[54]
// CHECK-NOT:       packet.guard
ebpf.func @once section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i64
  %again = arith.constant 2 : i64
  %ethernet = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ethernet, ^bb1, ^bb6(%pass : i64)
^bb1:
  %type = packet.load %data[12] : !packet.ptr -> i16
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  cf.cond_br %is_ip, ^bb2, ^bb6(%again : i64)
^bb2:
  %header = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %all = packet.guard %header[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb3, ^bb6(%pass : i64)
^bb3:
  %proto = packet.load %header[9] : !packet.ptr -> i8
  %six = arith.constant 6 : i8
  %is_tcp = arith.cmpi eq, %proto, %six : i8
  cf.cond_br %is_tcp, ^bb4, ^bb5
^bb4:
  %tcp = packet.guard %data[54], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %tcp, ^bb7, ^bb6(%pass : i64)
^bb5:
  %udp = packet.guard %data[42], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %udp, ^bb7, ^bb6(%pass : i64)
^bb6(%verdict: i64):
  packet.verdict %verdict : i64
^bb7:
  %port = packet.load %data[36] : !packet.ptr -> i16
  %word = arith.extui %port : i16 to i64
  packet.verdict %word : i64
}

// Not where another end is reached, something is counted in between, or a way asks for nothing.
// CHECK-LABEL: ebpf.func @other_end
// CHECK:           packet.guard %data[14]
// CHECK:           packet.guard %data[34]
ebpf.func @other_end section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i64
  %drop = arith.constant 1 : i64
  %ethernet = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ethernet, ^bb1, ^bb2(%pass : i64)
^bb1:
  %all = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb3, ^bb2(%drop : i64)
^bb2(%verdict: i64):
  packet.verdict %verdict : i64
^bb3:
  %proto = packet.load %data[23] : !packet.ptr -> i8
  %word = arith.extui %proto : i8 to i64
  packet.verdict %word : i64
}

// CHECK-LABEL: ebpf.func @counted
// CHECK:           packet.guard %data[14]
// CHECK:           packet.guard %data[34]
ebpf.func @counted section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i64
  %key = arith.constant 1 : i32
  %count = map.lookup @counts(%key) : i32 -> !map.value<@counts>
  %hit = map.hit %count : !map.value<@counts> -> i1
  cf.cond_br %hit, ^bb1, ^bb4
^bb1:
  %ethernet = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ethernet, ^bb2, ^bb4
^bb2:
  map.store %count[0], %pass : !map.value<@counts>, i64
  %all = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb3, ^bb4
^bb3:
  %proto = packet.load %data[23] : !packet.ptr -> i8
  %word = arith.extui %proto : i8 to i64
  packet.verdict %word : i64
^bb4:
  packet.verdict %pass : i64
}

// CHECK-LABEL: ebpf.func @one_way
// CHECK:           packet.guard %data[14]
// CHECK:           packet.guard %data[34]
ebpf.func @one_way section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i64
  %ethernet = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ethernet, ^bb1, ^bb4
^bb1:
  %type = packet.load %data[12] : !packet.ptr -> i16
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  cf.cond_br %is_ip, ^bb2, ^bb3
^bb2:
  %all = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb3, ^bb4
^bb3:
  %first = packet.load %data[0] : !packet.ptr -> i8
  %word = arith.extui %first : i8 to i64
  packet.verdict %word : i64
^bb4:
  packet.verdict %pass : i64
}
