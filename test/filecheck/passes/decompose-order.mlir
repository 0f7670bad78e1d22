// RUN: fs-opt %s -p 'decompose{cut-at=bb1},share-maps' --split-input-file | filecheck %s

// What is changed after a cut may have been decided on by what was seen before it: exact when packets are done with one
// after the other, which the edge says.

// CHECK-LABEL: placement.edge 1
// CHECK-SAME:    order = "sequential"
// CHECK-SAME:    parts change and read flows
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
// CHECK-SAME:    order = "sequential"
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
