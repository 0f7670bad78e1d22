// RUN: fs-opt %s -p share-maps --split-input-file --verify-diagnostics

// decompose does not make such placements; share-maps finds them in what was placed by hand.

map.decl @flows "percpu_hash" key 4 value 8 entries 4 flags 0
// expected-error@+1 {{map 'flows' has a value per CPU, and user space is on none}}
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
    placement.handoff 1 to @af_xdp from %ctx carrying () : !packet.ctx
  }
}
placement.part @af_xdp on "af-xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
    %n = map.load %v[0] : !map.value<@flows> -> i64
    packet.verdict %n : i64
  }
}

// -----

map.decl @flows "hash" key 4 value 8 entries 4 flags 0
// expected-error@+1 {{map 'flows' is read on the NIC, where its content is a copy, and changed on xdp}}
placement.part @nic on "p4-v1model" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
    placement.handoff 1 to @xdp from %ctx carrying () : !packet.ctx
  }
}
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %error = map.delete @flows(%key) : i32 -> i64
    packet.verdict %error : i64
  }
}

// -----

// expected-error@+1 {{nothing is placed; run decompose before share-maps}}
builtin.module {
}
