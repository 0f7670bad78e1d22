// RUN: not fs-opt %s -t p4 --split-input-file 2>&1 | filecheck %s
// RUN: not fs-opt %examples/router/router.o -p raise -t p4 2>&1 | filecheck %s --check-prefix UNPLACED

// UNPLACED: router.o: error: one part must be placed on a P4 target (there is: none); run decompose with one among its targets

builtin.module {
  placement.part @nic on "p4-v1model" {
    ebpf.func @resize section "xdp" attributes {prog_type = "xdp"} {
    ^bb0(%ctx: !packet.ctx):
      %by = arith.constant -4 : i64
      %error = packet.adjust_tail %ctx, %by : !packet.ctx, i64 -> i64
      packet.verdict %error : i64
    }
  }
}

// CHECK: error: packet.adjust_tail cannot be part of a P4 program: the packet's end is moved, which a NIC cannot do; place it on another target
