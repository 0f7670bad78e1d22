// RUN: fs-opt %s -p lower | filecheck %s

// The placed form stays; beside it, the kernel's part as an object of its own.

// CHECK: placement.edge 1 from @xdp to @af_xdp
placement.edge 1 from @xdp to @af_xdp {fields = [], order = "sequential", transport = "metadata"}

// CHECK: placement.part @xdp on "xdp"
// CHECK: placement.handoff 1 to @af_xdp
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    placement.handoff 1 to @af_xdp from %ctx carrying () : !packet.ctx
  }
}

// CHECK: placement.part @af_xdp on "af-xdp"
placement.part @af_xdp on "af-xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    placement.accept %ctx at 1 : !packet.ctx
    %pass = arith.constant 2 : i64
    packet.verdict %pass : i64
  }
}

// CHECK: builtin.module @xdp.o
// CHECK-NOT: placement.
// CHECK: ebpf.func @f section "xdp"
// CHECK-NEXT: ^{{.*}}(%{{.*}}: !ebpf.reg<r1>):
// CHECK: ebpf.call 54
// CHECK: ebpf.ld_sym @fs_xsks
// CHECK: ebpf.call 51
// CHECK: ebpf.exit
