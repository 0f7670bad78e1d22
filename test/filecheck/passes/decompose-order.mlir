// RUN: fs-opt %s -p 'decompose{cut-at=bb1},share-maps' --split-input-file | filecheck %s

// What is changed after a cut may have been decided on by what was seen before it: exact when packets are done with one
// after the other. So those behind one that is in flight are handed over, too, as they came, where they could conflict.

// CHECK-LABEL: placement.edge 1
// CHECK-SAME:    {name = "in flight", width = #builtin.int<32>, kind = "ticket"}, {name = "in flight among"
// CHECK-LABEL: placement.edge 2 {{.*}}{fields = [{name = "in flight",
// CHECK-SAME:    the cut is in front of the program, to keep the order
// CHECK:       placement.part @xdp
// CHECK:         [[OVERTAKES:%.*]] = placement.overtakes %ctx in %
// CHECK-NEXT:    cf.cond_br [[OVERTAKES]],
// CHECK:         map.lookup @flows
// CHECK:         placement.handoff 1 to @af_xdp
// CHECK:         placement.handoff 2 to @af_xdp

// CHECK:       placement.part @af_xdp
// CHECK:         map.delete @flows
map.decl @flows "hash" key 4 value 8 entries 4 flags 0
ebpf.func @decided section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %known = map.hit %v : !map.value<@flows> -> i1
  cf.cond_br %known, ^old, ^new
^old:
  %error = map.delete @flows(%key) : i32 -> i64
  packet.verdict %error : i64
^new:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// -----

// An element that the program may delete afterwards is looked up again.

// CHECK-LABEL: placement.edge 1
// CHECK-SAME:    order = "per-flow"
// CHECK:       placement.part @af_xdp
// CHECK:         map.lookup @flows
// CHECK:         map.load
// CHECK:         map.delete @flows
map.decl @flows "hash" key 4 value 8 entries 4 flags 0
ebpf.func @held section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %known = map.hit %v : !map.value<@flows> -> i1
  cf.cond_br %known, ^old, ^new
^old:
  %n = map.load %v[0] : !map.value<@flows> -> i64
  %error = map.delete @flows(%key) : i32 -> i64
  packet.verdict %n : i64
^new:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}
