// RUN: fs-opt %s -p share-maps --split-input-file | filecheck %s

// Who touches a map, and how, decides the mechanism.

map.decl @config "hash" key 4 value 8 entries 4 flags 0
map.decl @counters "array" key 4 value 8 entries 4 flags 0
map.decl @seen "lru_hash" key 4 value 8 entries 4 flags 0
map.decl @unused "hash" key 4 value 8 entries 4 flags 0

// All accesses to what is shared commute, so any order is as good.
// CHECK: placement.edge 1 {{.*}} order = "commuting"
placement.edge 1 from @xdp to @af_xdp {fields = [], order = "sequential", transport = "metadata"}

// CHECK: placement.share @config by "pinned" {parts = [@xdp, @af_xdp]
// CHECK-NEXT: placement.share @counters by "mmap" {parts = [@xdp, @af_xdp], consistency = "word by word
// CHECK-NEXT: placement.share @seen by "private" {parts = [@xdp]
// CHECK-NEXT: placement.part @xdp
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %s = map.lookup @seen(%key) : i32 -> !map.value<@seen>
    %known = map.hit %s : !map.value<@seen> -> i1
    cf.cond_br %known, ^go, ^go
  ^go:
    %c = map.lookup @counters(%key) : i32 -> !map.value<@counters>
    %hit = map.hit %c : !map.value<@counters> -> i1
    cf.cond_br %hit, ^count, ^hand
  ^count:
    %one = arith.constant 1 : i64
    map.atomic "add" %c[0], %one : !map.value<@counters>, i64
    cf.br ^hand
  ^hand:
    %v = map.lookup @config(%key) : i32 -> !map.value<@config>
    placement.handoff 1 to @af_xdp from %ctx carrying () : !packet.ctx
  }
}
placement.part @af_xdp on "af-xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    placement.accept %ctx at 1 : !packet.ctx
    %key = arith.constant 1 : i32
    %v = map.lookup @config(%key) : i32 -> !map.value<@config>
    %hit = map.hit %v : !map.value<@config> -> i1
    cf.cond_br %hit, ^read, ^done
  ^read:
    %n = map.load %v[0] : !map.value<@config> -> i64
    %c = map.lookup @counters(%key) : i32 -> !map.value<@counters>
    %there = map.hit %c : !map.value<@counters> -> i1
    cf.cond_br %there, ^count, ^done
  ^count:
    map.atomic "add" %c[0], %n : !map.value<@counters>, i64
    cf.br ^done
  ^done:
    %pass = arith.constant 2 : i64
    packet.verdict %pass : i64
  }
}

// -----

// A value that user space replaces, and the kernel reads: by system calls, and the order matters.

map.decl @state "hash" key 4 value 8 entries 4 flags 0

// CHECK: placement.edge 1 {{.*}} order = "sequential"
// CHECK-SAME: exact when each packet is done with before the next: parts change and read state
placement.edge 1 from @xdp to @af_xdp {fields = [], order = "sequential", transport = "metadata"}

// CHECK: placement.share @state by "pinned"
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %v = map.lookup @state(%key) : i32 -> !map.value<@state>
    %hit = map.hit %v : !map.value<@state> -> i1
    cf.cond_br %hit, ^read, ^hand
  ^read:
    %n = map.load %v[0] : !map.value<@state> -> i64
    packet.verdict %n : i64
  ^hand:
    placement.handoff 1 to @af_xdp from %ctx carrying () : !packet.ctx
  }
}
placement.part @af_xdp on "af-xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    placement.accept %ctx at 1 : !packet.ctx
    %key = arith.constant 1 : i32
    %value = arith.constant 2 : i64
    %flags = arith.constant 0 : i64
    %error = map.update @state key (%key) value (%value) flags %flags : i32, i64, i64 -> i64
    packet.verdict %value : i64
  }
}

// -----

// The NIC's tables mirror a map, its counters add to one.

map.decl @routes "hash" key 4 value 8 entries 4 flags 0
map.decl @stats "percpu_array" key 4 value 8 entries 4 flags 0

// CHECK: placement.share @routes by "mirror" {parts = [@nic]
// CHECK: placement.share @stats by "split" {parts = [@nic, @xdp], consistency = "exact when the parts' counts are added up"
placement.part @nic on "p4-v1model" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %r = map.lookup @routes(%key) : i32 -> !map.value<@routes>
    %c = map.lookup @stats(%key) : i32 -> !map.value<@stats>
    %hit = map.hit %c : !map.value<@stats> -> i1
    cf.cond_br %hit, ^count, ^hand
  ^count:
    %old = map.load %c[0] : !map.value<@stats> -> i64
    %one = arith.constant 1 : i64
    %new = arith.addi %old, %one : i64
    map.store %c[0], %new : !map.value<@stats>, i64
    cf.br ^hand
  ^hand:
    placement.handoff 1 to @xdp from %ctx carrying () : !packet.ctx
  }
}
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    placement.accept %ctx at 1 : !packet.ctx
    %key = arith.constant 2 : i32
    %one = arith.constant 1 : i64
    %c = map.lookup @stats(%key) : i32 -> !map.value<@stats>
    %hit = map.hit %c : !map.value<@stats> -> i1
    cf.cond_br %hit, ^count, ^done
  ^count:
    map.atomic "add" %c[0], %one : !map.value<@stats>, i64
    cf.br ^done
  ^done:
    packet.verdict %one : i64
  }
}

// -----

// User space adds to what is not in its memory: by a program in the kernel, and every addition is one atomic operation,
// those of programs beside the parts, too. Their code as it was is no longer theirs.

map.decl @stats "percpu_array" key 4 value 8 entries 4 flags 0

// CHECK: ebpf.func @beside section "xdp" attributes {prog_type = "xdp"} {
// CHECK: map.atomic "add" %c[0], %one
// CHECK-NOT: map.store
// CHECK: placement.share @stats by "counted" {parts = [@xdp, @af_xdp], consistency = "exact: what all parts add
ebpf.func @beside section "xdp" attributes {prog_type = "xdp", original = {code = "b7000000010000009500000000000000"}} {
^entry(%ctx: !packet.ctx):
  %key = arith.constant 1 : i32
  %one = arith.constant 1 : i64
  %c = map.lookup @stats(%key) : i32 -> !map.value<@stats>
  %old = map.load %c[0] : !map.value<@stats> -> i64
  %new = arith.addi %old, %one : i64
  map.store %c[0], %new : !map.value<@stats>, i64
  packet.verdict %one : i64
}
// CHECK: placement.part @xdp
// CHECK: map.atomic "add" %c[0], %one
// CHECK-NOT: map.store
placement.part @xdp on "xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %key = arith.constant 1 : i32
    %one = arith.constant 1 : i64
    %c = map.lookup @stats(%key) : i32 -> !map.value<@stats>
    %hit = map.hit %c : !map.value<@stats> -> i1
    cf.cond_br %hit, ^count, ^hand
  ^count:
    %old = map.load %c[0] : !map.value<@stats> -> i64
    %new = arith.addi %old, %one : i64
    map.store %c[0], %new : !map.value<@stats>, i64
    cf.br ^hand
  ^hand:
    placement.handoff 1 to @af_xdp from %ctx carrying () : !packet.ctx
  }
}
// CHECK: placement.part @af_xdp
// CHECK: map.atomic "add" %c[0], %one
placement.part @af_xdp on "af-xdp" {
  ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    placement.accept %ctx at 1 : !packet.ctx
    %key = arith.constant 1 : i32
    %one = arith.constant 1 : i64
    %c = map.lookup @stats(%key) : i32 -> !map.value<@stats>
    %hit = map.hit %c : !map.value<@stats> -> i1
    cf.cond_br %hit, ^count, ^done
  ^count:
    map.atomic "add" %c[0], %one : !map.value<@stats>, i64
    cf.br ^done
  ^done:
    packet.verdict %one : i64
  }
}
