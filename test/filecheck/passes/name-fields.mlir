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

// A frame starts with Ethernet also after it was resized. Where that moved the start by a constant, what was known of the
// packet still is, but for what a new header takes the place of; and a type field that is written says what follows.

// CHECK-LABEL: ebpf.func @resized
ebpf.func @resized section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %before = packet.data %ctx : !packet.ctx -> !packet.ptr
  %type = packet.load %before[12] : !packet.ptr -> i16
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  cf.cond_br %is_ip, ^ipv4, ^out
^ipv4:
  %by = arith.constant -20 : i64
  %rc = packet.adjust_head %ctx, %by : !packet.ctx, i64 -> i64
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK: packet.store %data[16], %{{.*}} {field = "ipv4.tot_len"}
  packet.store %data[16], %type : !packet.ptr, i16
  // CHECK: packet.store %data[12], %{{.*}} {field = "eth.h_proto"}
  packet.store %data[12], %ip : !packet.ptr, i16
  // CHECK: packet.load %data[42] {field = "ipv4.ttl"}
  %inner = packet.load %data[42] : !packet.ptr -> i8
  // A name that is no longer explained goes.
  // CHECK: packet.load %data[60] : !packet.ptr
  %what = packet.load %data[60] {field = "udp.len"} : !packet.ptr -> i16
  cf.br ^out
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
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

// Where the start was moved by an unknown number, or on one path only, the packet begins with Ethernet again.

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
  // CHECK: packet.load %data[12] {field = "eth.h_proto"}
  %type = packet.load %data[12] : !packet.ptr -> i16
  packet.verdict %zero : i64
}

// What a type field is may be decided in any way: here two flags that are joined.

// CHECK-LABEL: ebpf.func @flags
ebpf.func @flags section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  %q = arith.constant 129 : i16
  %ad = arith.constant -22392 : i16
  %is_q = arith.cmpi eq, %type, %q : i16
  %is_ad = arith.cmpi eq, %type, %ad : i16
  %tagged = arith.ori %is_q, %is_ad : i1
  cf.cond_br %tagged, ^tag, ^out
^tag:
  // CHECK: packet.load %data[16] {field = "vlan.proto"}
  %inner = packet.load %data[16] : !packet.ptr -> i16
  cf.br ^out
^out:
  // Where other ways come, it may be anything.
  // CHECK: packet.load %data[16] : !packet.ptr
  %again = packet.load %data[16] : !packet.ptr -> i16
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// Any number of VLAN tags: the loop keeps the field that says what is at its address.

// CHECK-LABEL: ebpf.func @loop
ebpf.func @loop section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  cf.br ^head(%l3, %type : !packet.ptr, i16)
^head(%at : !packet.ptr, %what : i16):
  %vlan = arith.constant 129 : i16
  %tagged = arith.cmpi eq, %what, %vlan : i16
  cf.cond_br %tagged, ^tag, ^network
^tag:
  // CHECK: packet.load %at[2] {field = "vlan.proto"}
  %inner = packet.load %at[2] : !packet.ptr -> i16
  %behind = packet.offset %at[4] : !packet.ptr -> !packet.ptr
  cf.br ^head(%behind, %inner : !packet.ptr, i16)
^network:
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %what, %ip : i16
  cf.cond_br %is_ip, ^ipv4, ^out
^ipv4:
  // CHECK: packet.load %at[8] {field = "ipv4.ttl"}
  %ttl = packet.load %at[8] : !packet.ptr -> i8
  cf.br ^out
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// But not where it goes on with another field.

// CHECK-LABEL: ebpf.func @other_field
ebpf.func @other_field section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  cf.br ^head(%l3, %type : !packet.ptr, i16)
^head(%at : !packet.ptr, %what : i16):
  %vlan = arith.constant 129 : i16
  %tagged = arith.cmpi eq, %what, %vlan : i16
  cf.cond_br %tagged, ^tag, ^out
^tag:
  // CHECK: packet.load %at[0] : !packet.ptr
  %inner = packet.load %at[0] : !packet.ptr -> i16
  %behind = packet.offset %at[4] : !packet.ptr -> !packet.ptr
  cf.br ^head(%behind, %inner : !packet.ptr, i16)
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// What a function is passed is what all of its callers pass; TCP and UDP have their ports in common.

// CHECK-LABEL: ebpf.func @ports
ebpf.func @ports section ".text" attributes {bind = #builtin.int<0>} {
^entry(%l4 : !packet.ptr):
  // CHECK: packet.load %l4[2] {field = "ports.dest"}
  %port = packet.load %l4[2] : !packet.ptr -> i16
  %wide = arith.extui %port : i16 to i64
  ebpf.exit (%wide) : i64
}
ebpf.func @calls section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  %v6 = arith.constant -8826 : i16
  %is_v6 = arith.cmpi eq, %type, %v6 : i16
  %pass = arith.constant 2 : i64
  cf.cond_br %is_v6, ^ipv6, ^out(%pass : i64)
^ipv6:
  %next = packet.load %data[20] : !packet.ptr -> i8
  %tcp = arith.constant 6 : i8
  %udp = arith.constant 17 : i8
  %is_tcp = arith.cmpi eq, %next, %tcp : i8
  cf.cond_br %is_tcp, ^transport, ^more
^more:
  %is_udp = arith.cmpi eq, %next, %udp : i8
  cf.cond_br %is_udp, ^transport, ^out(%pass : i64)
^transport:
  %l4 = packet.offset %data[54] : !packet.ptr -> !packet.ptr
  %r = ebpf.call_local @ports(%l4) : !packet.ptr -> i64
  cf.br ^out(%r : i64)
^out(%v : i64):
  packet.verdict %v : i64
}

// Calls with different constants are told apart where the function asks for these.

// CHECK-LABEL: ebpf.func @process
ebpf.func @process section ".text" attributes {bind = #builtin.int<0>} {
^entry(%frame : !packet.ptr, %is_v6 : i64):
  // CHECK: packet.load %frame[20] : !packet.ptr
  %either = packet.load %frame[20] : !packet.ptr -> i8
  %zero = arith.constant 0 : i64
  %v4 = arith.cmpi eq, %is_v6, %zero : i64
  cf.cond_br %v4, ^ipv4, ^ipv6
^ipv4:
  // CHECK: packet.load %frame[23] {field = "ipv4.protocol"}
  %protocol = packet.load %frame[23] : !packet.ptr -> i8
  ebpf.exit (%zero) : i64
^ipv6:
  // CHECK: packet.load %frame[20] {field = "ipv6.nexthdr"}
  %next = packet.load %frame[20] : !packet.ptr -> i8
  ebpf.exit (%zero) : i64
}
ebpf.func @both section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  %c0 = arith.constant 0 : i64
  %c1 = arith.constant 1 : i64
  %ip = arith.constant 8 : i16
  %v6 = arith.constant -8826 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  cf.cond_br %is_ip, ^ipv4, ^other
^ipv4:
  %r = ebpf.call_local @process(%data, %c0) : !packet.ptr, i64 -> i64
  packet.verdict %r : i64
^other:
  %is_v6 = arith.cmpi eq, %type, %v6 : i16
  cf.cond_br %is_v6, ^ipv6, ^out
^ipv6:
  %s = ebpf.call_local @process(%data, %c1) : !packet.ptr, i64 -> i64
  packet.verdict %s : i64
^out:
  packet.verdict %c0 : i64
}

// A fetch is from the start of the packet, and gives numbers in their own order.

// CHECK-LABEL: ebpf.func @fetches
ebpf.func @fetches section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !packet.ctx):
  // CHECK: packet.fetch %ctx[12] {field = "eth.h_proto"}
  %type = packet.fetch %ctx[12] : !packet.ctx -> i16
  %ip = arith.constant 2048 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  %zero = arith.constant 0 : i64
  cf.cond_br %is_ip, ^ipv4, ^out
^ipv4:
  // CHECK: packet.fetch %ctx[23] {field = "ipv4.protocol"}
  %protocol = packet.fetch %ctx[23] : !packet.ctx -> i8
  cf.br ^out
^out:
  packet.verdict %zero : i64
}

// An address that was kept in the frame is where it was.

// CHECK-LABEL: ebpf.func @kept
ebpf.func @kept section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  ebpf.stx64 %fp[-8], %l3 : !ebpf.fp, !packet.ptr
  %type = packet.load %data[12] : !packet.ptr -> i16
  %ip = arith.constant 8 : i16
  %is_ip = arith.cmpi eq, %type, %ip : i16
  cf.cond_br %is_ip, ^ipv4, ^out
^ipv4:
  %at = ebpf.ldx64 %fp[-8] : !ebpf.fp -> !packet.ptr
  // CHECK: packet.load %at[8] {field = "ipv4.ttl"}
  %ttl = packet.load %at[8] : !packet.ptr -> i8
  cf.br ^out
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}
