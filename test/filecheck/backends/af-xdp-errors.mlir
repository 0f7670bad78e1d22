// What cannot run in user space is an error at its place.
// RUN: not fs-opt %s -t c 2>&1 | filecheck %s

ebpf.func @p section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %size = arith.constant 64 : i64
  %r = ebpf.call 69(%ctx, %ctx, %size, %size) : !packet.ctx, !packet.ctx, i64, i64 -> i64
  packet.verdict %r : i64
}

// CHECK: af-xdp-errors.mlir:7:3: error: bpf_fib_lookup (helper 69) cannot be called on AF_XDP:
// CHECK-SAME: the routing table is the kernel's; place this code in the kernel
