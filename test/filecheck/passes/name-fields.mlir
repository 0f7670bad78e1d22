// RUN: fs-opt %s -p name-fields | filecheck %s

// What follows a header is what its type field was compared with, in one load or byte by byte, in either byte order.

// CHECK-LABEL: ebpf.func @layers
ebpf.func @layers section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK: packet.load %data[12] {field = "eth.h_proto"}
  %type = packet.load %data[12] : !packet.ptr -> i16
  // Nothing is known about what follows yet.
  // CHECK-NEXT: packet.load %data[23] : !packet.ptr
  %early = packet.load %data[23] : !packet.ptr -> i8
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  cf.cond_br %is_ip, ^ipv4, ^other
^ipv4:
  // CHECK: packet.load %data[23] {field = "ipv4.protocol"}
  %protocol = packet.load %data[23] : !packet.ptr -> i8
  // CHECK: packet.load %data[26] {field = "ipv4.saddr+daddr"}
  %addresses = packet.load %data[26] : !packet.ptr -> i64
  // CHECK: packet.load %data[14] {field = "ipv4.version_ihl"}
  %v = packet.load %data[14] : !packet.ptr -> i8
  %wide = arith.extui %v : i8 to i64
  %c2 = arith.constant 2 : i64
  %quarter = arith.shli %wide, %c2 : i64
  %c60 = arith.constant 60 : i64
  %ihl = arith.andi %quarter, %c60 : i64
  %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %udp = arith.constant 17 : i8
  %is_udp = arith.cmpi ne, %protocol, %udp : i8
  cf.cond_br %is_udp, ^out, ^udp
^udp:
  // Behind a header of variable length: only at a distance computed from that header's own length field.
  %l4 = packet.advance %l3, %ihl : !packet.ptr, i64 -> !packet.ptr
  // CHECK: packet.load %l4[2] {field = "udp.dest"}
  %port = packet.load %l4[2] : !packet.ptr -> i16
  %elsewhere = packet.advance %l3, %wide : !packet.ptr, i64 -> !packet.ptr
  // CHECK: packet.load %elsewhere[2] : !packet.ptr
  %what = packet.load %elsewhere[2] : !packet.ptr -> i16
  packet.verdict %wide : i64
^other:
  // CHECK: packet.load %data[12] {field = "eth.h_proto[0]"}
  %low = packet.load %data[12] : !packet.ptr -> i8
  // CHECK: packet.load %data[13] {field = "eth.h_proto[1]"}
  %high = packet.load %data[13] : !packet.ptr -> i8
  %a = arith.extui %low : i8 to i64
  %b = arith.extui %high : i8 to i64
  %c8 = arith.constant 8 : i64
  %bs = arith.shli %b, %c8 : i64
  %both = arith.ori %bs, %a : i64
  %swapped = ebpf.be16 %both : i64 -> i64
  %v6 = arith.constant 34525 : i64
  %is_v6 = arith.cmpi eq, %swapped, %v6 : i64
  cf.cond_br %is_v6, ^ipv6, ^out
^ipv6:
  // CHECK: packet.store %data[26], %{{.*}} {field = "ipv6.saddr[4:8]"}
  %z = arith.constant 0 : i32
  packet.store %data[26], %z : !packet.ptr, i32
  // CHECK: packet.ctx_load %ctx[16] {field = "rx_queue_index"}
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  cf.br ^out
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// After the packet was resized, its start is not known to be Ethernet, and a name that is no longer explained goes.

// CHECK-LABEL: ebpf.func @resized
ebpf.func @resized section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %by = arith.constant 4 : i64
  %rc = packet.adjust_head %ctx, %by : !packet.ctx, i64 -> i64
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK: packet.load %data[12] : !packet.ptr
  %type = packet.load %data[12] {field = "eth.h_proto"} : !packet.ptr -> i16
  packet.verdict %rc : i64
}

// A socket buffer says itself what follows the Ethernet header; IPv6 extension headers are as long as they say.

// CHECK-LABEL: ebpf.func @extensions
ebpf.func @extensions section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !packet.ctx):
  // CHECK: packet.ctx_load %ctx[16] {field = "protocol"}
  %protocol = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %protocol : i32 to i64
  %v6 = arith.constant 56710 : i64
  %is_v6 = arith.cmpi eq, %word, %v6 : i64
  cf.cond_br %is_v6, ^ipv6, ^out
^ipv6:
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK: packet.load %data[20] {field = "ipv6.nexthdr"}
  %next = packet.load %data[20] : !packet.ptr -> i8
  %hop = arith.constant 0 : i8
  %is_hop = arith.cmpi eq, %next, %hop : i8
  cf.cond_br %is_hop, ^options, ^out
^options:
  // CHECK: packet.load %data[54] {field = "hopopts.nexthdr"}
  %then = packet.load %data[54] : !packet.ptr -> i8
  // CHECK: packet.load %data[55] {field = "hopopts.hdrlen"}
  %length = packet.load %data[55] : !packet.ptr -> i8
  %wide = arith.extui %length : i8 to i64
  %three = arith.constant 3 : i64
  %eights = arith.shli %wide, %three : i64
  %eight = arith.constant 8 : i64
  %bytes = arith.addi %eights, %eight : i64
  %tcp = arith.constant 6 : i8
  %is_tcp = arith.cmpi eq, %then, %tcp : i8
  cf.cond_br %is_tcp, ^tcp, ^out
^tcp:
  %at = packet.offset %data[54] : !packet.ptr -> !packet.ptr
  %l4 = packet.advance %at, %bytes : !packet.ptr, i64 -> !packet.ptr
  // CHECK: packet.load %l4[2] {field = "tcp.dest"}
  %port = packet.load %l4[2] : !packet.ptr -> i16
  // The same, with the fixed part in the access.
  %l5 = packet.advance %at, %eights : !packet.ptr, i64 -> !packet.ptr
  // CHECK: packet.load %l5[10] {field = "tcp.dest"}
  %again = packet.load %l5[10] : !packet.ptr -> i16
  cf.br ^out
^out:
  %ok = arith.constant 0 : i64
  packet.verdict %ok : i64
}

// With or without a VLAN tag: an address and the field that said what is there meet.

// CHECK-LABEL: ebpf.func @either
ebpf.func @either section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  %vlan = arith.constant 129 : i16
  %tagged = arith.cmpi eq, %type, %vlan : i16
  cf.cond_br %tagged, ^tag, ^network(%l3, %type : !packet.ptr, i16)
^tag:
  // CHECK: packet.load %data[16] {field = "vlan.proto"}
  %inner = packet.load %data[16] : !packet.ptr -> i16
  %behind = packet.offset %data[18] : !packet.ptr -> !packet.ptr
  cf.br ^network(%behind, %inner : !packet.ptr, i16)
^network(%l3_1 : !packet.ptr, %type_1 : i16):
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %type_1, %ip : i16
  cf.cond_br %is_ip, ^ipv4, ^out
^ipv4:
  // CHECK: packet.load %l3_1[8] {field = "ipv4.ttl"}
  %ttl = packet.load %l3_1[8] : !packet.ptr -> i8
  cf.br ^out
^out:
  %ok = arith.constant 2 : i64
  packet.verdict %ok : i64
}

// A packet that was resized on one of the paths does not surely begin with Ethernet.

// CHECK-LABEL: ebpf.func @resized_on_a_path
ebpf.func @resized_on_a_path section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %by : i64):
  %zero = arith.constant 0 : i64
  %grow = arith.cmpi ne, %by, %zero : i64
  cf.cond_br %grow, ^grown, ^on
^grown:
  %rc = packet.adjust_head %ctx, %by : !packet.ctx, i64 -> i64
  cf.br ^on
^on:
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK: packet.load %data[12] : !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  packet.verdict %zero : i64
}
