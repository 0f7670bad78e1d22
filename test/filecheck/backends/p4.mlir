// RUN: fs-opt %s -t p4 | filecheck %s

// A part that counts, rewrites and forwards. The IPv4 header is there where the packet has 34 bytes, which is what the
// program asks; bytes that it loads in memory order are P4's fields again; constants of the key are not matched.

builtin.module attributes {object.file = "part.o"} {
  map.decl @neighbours "hash" key 8 value 8 entries 256 flags 0
  map.decl @stats "percpu_array" key 4 value 16 entries 4 flags 0
  placement.edge 5 from @nic to @xdp {fields = [{name = "ipv4.daddr", width = #builtin.int<32>, kind = "scalar"}], order = "commuting", transport = "cpu-port"}
  placement.part @nic on "p4-v1model" {
    ebpf.func @forward section "xdp" attributes {prog_type = "xdp"} {
    ^bb0(%ctx: !packet.ctx):
      %data = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      %eth = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
      cf.cond_br %eth, ^bb1, ^short
    ^bb1:
      %type = packet.load %data[12] : !packet.ptr -> i16
      %ipv4_type = arith.constant 8 : i16
      %is_ipv4 = arith.cmpi eq, %type, %ipv4_type : i16
      %ip = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
      %both = arith.andi %is_ipv4, %ip : i1
      cf.cond_br %both, ^bb2, ^short
    ^short:
      %zero = arith.constant 0 : i32
      %one = arith.constant 1 : i64
      %counter = map.lookup @stats(%zero) : i32 -> !map.value<@stats>
      map.atomic "add" %counter[0], %one : !map.value<@stats>, i64
      %length = ebpf.sub %end, %data : !packet.end_ptr, !packet.ptr -> i64
      map.atomic "add" %counter[8], %length : !map.value<@stats>, i64
      packet.verdict %one : i64
    ^bb2:
      %daddr = packet.load %data[30] : !packet.ptr -> i32
      %vlan = arith.constant 7 : i32
      %value = map.lookup @neighbours(%daddr, %vlan) : i32, i32 -> !map.value<@neighbours>
      %known = map.hit %value : !map.value<@neighbours> -> i1
      cf.cond_br %known, ^bb3, ^unknown
    ^unknown:
      placement.handoff 5 to @xdp from %ctx carrying (%daddr) : !packet.ctx, i32
    ^bb3:
      %low = map.load %value[0] : !map.value<@neighbours> -> i32
      %high = map.load %value[4] : !map.value<@neighbours> -> i16
      packet.store %data[0], %low : !packet.ptr, i32
      packet.store %data[4], %high : !packet.ptr, i16
      %tx = arith.constant 3 : i64
      packet.verdict %tx : i64
    }
  }
}

// CHECK-LABEL: // forward of part.o: the part placed on p4-v1model
// CHECK:       header ipv4_t {
// CHECK:       header handoff_t {
// CHECK-NEXT:      bit<16> magic;
// CHECK:       header resume_5_t {
// CHECK-NEXT:      bit<32> ipv4_daddr;
// CHECK-NEXT:  }

// CHECK-LABEL: parser NicParser
// CHECK:           state start {
// CHECK-NEXT:          transition select(sm.packet_length) {
// CHECK-NEXT:              0 .. 13: accept;
// CHECK-NEXT:              default: parse_ethernet;
// CHECK:           state parse_ethernet {
// CHECK-NEXT:          packet.extract(hdr.ethernet);
// CHECK-NEXT:          transition select(sm.packet_length) {
// CHECK-NEXT:              0 .. 33: accept;
// CHECK-NEXT:              default: parse_ipv4;

// CHECK-LABEL: control Program
// CHECK:           counter(4, CounterType.packets_and_bytes) stats;
// CHECK:           action neighbours_found(bit<32> b0, bit<16> b4) {
// CHECK-NEXT:          neighbours_hit = true;
// CHECK:           table neighbours {
// CHECK-NEXT:          key = {
// CHECK-NEXT:              hdr.ipv4.dstAddr: exact @name("k0");
// CHECK-NEXT:          }
// CHECK-NEXT:          actions = { neighbours_found; NoAction; }
// CHECK-NEXT:          default_action = NoAction();
// CHECK-NEXT:          size = 256;

// CHECK:           apply {
// CHECK-NEXT:          if (!hdr.ethernet.isValid()) {
// CHECK-NEXT:              stats.count(32w0);
// CHECK-NEXT:              meta.verdict = XDP_DROP;
// CHECK-NEXT:              return;
// CHECK-NEXT:          }
// CHECK-NEXT:          if (hdr.ethernet.etherType != 16w0x800 || !hdr.ipv4.isValid()) {
// CHECK-NEXT:              stats.count(32w0);
// CHECK-NEXT:              meta.verdict = XDP_DROP;
// CHECK-NEXT:              return;
// CHECK-NEXT:          }
// CHECK-NEXT:          neighbours_hit = false;
// CHECK-NEXT:          neighbours.apply();
// CHECK-NEXT:          if (neighbours_hit) {
// CHECK-NEXT:              hdr.ethernet.dst = (neighbours_b0 ++ neighbours_b4);
// CHECK-NEXT:              meta.verdict = XDP_TX;
// CHECK-NEXT:              return;
// CHECK-NEXT:          }
// CHECK-NEXT:          hand_over(16w0x500, 8w0xc);  // resume point 5
// CHECK-NEXT:          hdr.resume_5.setValid();
// CHECK-NEXT:          hdr.resume_5.ipv4_daddr = hdr.ipv4.dstAddr;
// CHECK-NEXT:      }

// CHECK-LABEL: control NicIngress
// CHECK:           apply {
// CHECK-NEXT:          program.apply(hdr, meta, sm);
// CHECK-NEXT:          if (!hdr.handoff.isValid()) {
// CHECK-NEXT:              if (meta.verdict == XDP_DROP) {
// CHECK-NEXT:                  mark_to_drop(sm);
// CHECK-NEXT:              } else if (meta.verdict == XDP_TX) {
// CHECK-NEXT:                  sm.egress_spec = sm.ingress_port;
// CHECK-NEXT:              }
// CHECK-NEXT:          }
