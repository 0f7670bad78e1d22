// RUN: fs-opt %s -p lower-handoff --split-input-file | filecheck %s

// To user space the header travels in the metadata area, a trailer behind it.

// The map of sockets is added.
// CHECK: map.decl @fs_xsks "xskmap" key 4 value 4 entries 64 flags 0
map.decl @other "array" key 4 value 8 entries 1 flags 0

placement.edge 7 from @xdp to @af_xdp {fields = [{name = "a", width = #builtin.int<32>, kind = "scalar"}, {name = "b", width = #builtin.int<8>, kind = "scalar"}], order = "sequential", transport = "metadata", on_failure = "drop"}

// CHECK: ebpf.func @f
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %a = packet.ctx_load %ctx[12] : !packet.ctx -> i32
    %b = arith.constant 5 : i8
    // 8 bytes of fixed fields, 5 of values, 3 of padding, 4 of trailer.
    // CHECK: %[[SIZE:.*]] = arith.constant -20 : i64
    // CHECK-NEXT: %[[ERROR:.*]] = packet.adjust_meta %ctx, %[[SIZE]]
    // CHECK: arith.cmpi ne, %[[ERROR]]
    // CHECK: %[[META:.*]] = packet.meta %ctx
    // CHECK-NEXT: %[[DATA:.*]] = packet.data %ctx
    // CHECK-NEXT: packet.guard %[[META]][20], %[[DATA]]
    // More than was asked for is metadata of the program's own.
    // CHECK: packet.guard %[[META]][21], %[[DATA]]
    // CHECK: packet.store %[[META]][0], %{{.*}} : !packet.meta_ptr, i32
    // CHECK: packet.store %[[META]][4], %{{.*}} : !packet.meta_ptr, i32
    // CHECK: packet.store %[[META]][8], %a : !packet.meta_ptr, i32
    // CHECK: packet.store %[[META]][12], %b : !packet.meta_ptr, i8
    // CHECK: packet.store %[[META]][16], %{{.*}} : !packet.meta_ptr, i32
    // CHECK: %[[QUEUE:.*]] = packet.ctx_load %ctx[16]
    // CHECK: %[[FAILURE:.*]] = arith.constant 1 : i64
    // CHECK: map.redirect @fs_xsks[%{{.*}}] flags %[[FAILURE]]
    // CHECK-NEXT: packet.verdict
    // CHECK: %[[DROP:.*]] = arith.constant 1 : i64
    // CHECK-NEXT: packet.verdict %[[DROP]]
    placement.handoff 7 to @af_xdp from %ctx carrying (%a, %b) : !packet.ctx, i32, i8
  }
}

// User space keeps its operations.
// CHECK: placement.part @af_xdp
// CHECK: placement.resume
// CHECK: placement.accept
placement.part @af_xdp on "af-xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    %a = placement.carried %ctx at 7[0] : !packet.ctx -> i32
    placement.accept %ctx at 7 : !packet.ctx
    packet.verdict %a : i32
  }
}

// -----

// From the NIC the header is in front of the frame.

// CHECK: // -----
placement.edge 3 from @nic to @xdp {fields = [{name = "a", width = #builtin.int<32>, kind = "scalar"}], order = "sequential", transport = "cpu-port"}
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    // CHECK: %[[NONE:.*]] = arith.constant -1 : i32
    // CHECK-NEXT: %[[LONG:.*]] = packet.guard %{{.*}}[8]
    // A packet without a header was not started.
    // CHECK-NEXT: cf.cond_br %[[LONG]], ^{{.*}}, ^[[GO:.*]](%[[NONE]] : i32)
    // CHECK: packet.load %{{.*}}[4] : !packet.ptr -> i16
    // A verdict that the NIC could not carry out is carried out here.
    // CHECK: arith.constant 65535 : i32
    // CHECK: arith.constant 65534 : i32
    // CHECK: arith.constant 65533 : i32
    // CHECK: ebpf.call 23(
    // CHECK: ^[[GO]](%resume: i32):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    %three = arith.constant 3 : i32
    %known = arith.cmpi eq, %resume, %three : i32
    cf.cond_br %known, ^three, ^other
  ^other:
    %aborted = arith.constant 0 : i64
    packet.verdict %aborted : i64
  ^three:
    // CHECK: packet.guard %{{.*}}[12]
    // CHECK: %a = packet.load %{{.*}}[8] : !packet.ptr -> i32
    // CHECK: %[[LENGTH:.*]] = arith.constant 12 : i64
    // CHECK-NEXT: packet.adjust_head %ctx, %[[LENGTH]]
    %a = placement.carried %ctx at 3[0] : !packet.ctx -> i32
    placement.accept %ctx at 3 : !packet.ctx
    // CHECK: packet.verdict %a : i32
    packet.verdict %a : i32
  }
}
