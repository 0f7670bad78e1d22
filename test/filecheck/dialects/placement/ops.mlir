// RUN: %roundtrip

map.decl @flows "hash" key 4 value 8 entries 1024 flags 0

// CHECK: placement.part @kernel on "xdp" {
placement.part @kernel on "xdp" {
  ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx : !packet.ctx):
    %port = packet.ctx_load %ctx[12] : !packet.ctx -> i32
    // CHECK: placement.handoff 1 to @user from %ctx carrying (%port) : !packet.ctx, i32
    placement.handoff 1 to @user from %ctx carrying (%port) : !packet.ctx, i32
  }
}

// CHECK: placement.part @user on "af-xdp" attributes {reasons = ["prog.c:12: a loop without a bound"]} {
placement.part @user on "af-xdp" attributes {reasons = ["prog.c:12: a loop without a bound"]} {
  ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx : !packet.ctx):
    // CHECK: %at = placement.resume %ctx : !packet.ctx -> i32
    %at = placement.resume %ctx : !packet.ctx -> i32
    // CHECK-NEXT: %port = placement.carried %ctx at 1[0] : !packet.ctx -> i32
    %port = placement.carried %ctx at 1[0] : !packet.ctx -> i32
    // CHECK-NEXT: placement.accept %ctx at 1 : !packet.ctx
    placement.accept %ctx at 1 : !packet.ctx
    %verdict = arith.extui %port : i32 to i64
    packet.verdict %verdict : i64
  }
}

// CHECK: placement.edge 1 from @kernel to @user {fields = [{name = "port", width = #builtin.int<32>}], order = "sequential", transport = "metadata"}
placement.edge 1 from @kernel to @user {fields = [{name = "port", width = #builtin.int<32>}], order = "sequential", transport = "metadata"}
// CHECK-NEXT: placement.share @flows by "private" {parts = [@user], consistency = "exact", reason = "one part touches it"}
placement.share @flows by "private" {parts = [@user], consistency = "exact", reason = "one part touches it"}
