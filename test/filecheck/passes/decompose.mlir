// RUN: fs-opt %s -p decompose --split-input-file | filecheck %s

// A loop over the payload has no bound that the kernel's verifier accepts: what comes before stays in the kernel, the
// loop goes to user space, and the block that ends the program is in both parts.

map.decl @stats "array" key 4 value 8 entries 2 flags 0

// The edge says what the handoff carries: the loop's start, as its distance from the packet's start.
// CHECK: placement.edge 1 from @xdp to @af_xdp
// CHECK-SAME: fields = [{name = "at_offset", width = #builtin.int<8>, kind = "offset"}]
// CHECK-SAME: transport = "metadata"

// CHECK: placement.part @xdp on "xdp"
// CHECK-SAME: reasons = ["packets arrive on xdp"]
// CHECK: ebpf.func @scan
// CHECK: packet.guard %data[15]
// CHECK: %[[DISTANCE:.*]] = ebpf.sub %start, %{{.*}} : !packet.ptr, !packet.ptr -> i64
// CHECK: %[[FIELD:.*]] = arith.trunci %[[DISTANCE]] : i64 to i8
// CHECK: placement.handoff 1 to @af_xdp from %ctx carrying (%[[FIELD]])
// CHECK: packet.verdict

// CHECK: placement.part @af_xdp on "af-xdp"
// CHECK-SAME: xdp cannot run it: {{.*}}a loop without a bound
// CHECK: ebpf.func @scan
// CHECK-NEXT: ^{{.*}}(%ctx: !packet.ctx):
// CHECK: placement.resume %ctx
// CHECK: placement.carried %ctx at 1[0] : !packet.ctx -> i8
// CHECK-NEXT: placement.accept %ctx at 1
// CHECK: packet.end %ctx
// CHECK: packet.advance
// CHECK: packet.load
// CHECK: map.atomic "add"
// CHECK: packet.verdict
ebpf.func @scan section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %long = packet.guard %data[15], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %long, ^header, ^done(%drop : i64)
^header:
  %size8 = packet.load %data[14] : !packet.ptr -> i8
  %size = arith.extui %size8 : i8 to i64
  %c15 = arith.constant 15 : i64
  %low = arith.andi %size, %c15 : i64
  %start = packet.advance %data, %low : !packet.ptr, i64 -> !packet.ptr
  %pass = arith.constant 2 : i64
  %none = arith.constant 0 : i64
  %empty = arith.cmpi eq, %low, %none : i64
  cf.cond_br %empty, ^done(%pass : i64), ^loop(%start : !packet.ptr)
^loop(%at: !packet.ptr):
  %more = packet.guard %at[1], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %more, ^look, ^done(%pass : i64)
^look:
  %byte = packet.load %at[0] : !packet.ptr -> i8
  %zero = arith.constant 0 : i8
  %found = arith.cmpi eq, %byte, %zero : i8
  %next = packet.offset %at[1] : !packet.ptr -> !packet.ptr
  cf.cond_br %found, ^count, ^loop(%next : !packet.ptr)
^count:
  %key = arith.constant 1 : i32
  %value = map.lookup @stats(%key) : i32 -> !map.value<@stats>
  %hit = map.hit %value : !map.value<@stats> -> i1
  cf.cond_br %hit, ^add, ^done(%drop : i64)
^add:
  %one = arith.constant 1 : i64
  map.atomic "add" %value[0], %one : !map.value<@stats>, i64
  cf.br ^done(%drop : i64)
^done(%verdict: i64):
  packet.verdict %verdict : i64
}

// -----

// A loop with a bound stays in the kernel: one part, nothing carried.

// CHECK: // -----
// CHECK-NOT: placement.edge
// CHECK: placement.part @xdp on "xdp"
// CHECK: ebpf.func @bounded
// CHECK-NOT: placement.
// CHECK: // -----
ebpf.func @bounded section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i64
  cf.br ^loop(%zero, %zero : i64, i64)
^loop(%i: i64, %sum: i64):
  %one = arith.constant 1 : i64
  %next = arith.addi %i, %one : i64
  %more = arith.addi %sum, %i : i64
  %limit = arith.constant 100 : i64
  %again = arith.cmpi ult, %next, %limit : i64
  cf.cond_br %again, ^loop(%next, %more : i64, i64), ^done
^done:
  packet.verdict %more : i64
}

// -----

// What only user space has, is called there; a packet whose verdict is known before never goes there. The address of
// the map's value does not travel, its key does: it is looked up again, and the hit checked again.

map.decl @limits "array" key 4 value 8 entries 4 flags 0

// CHECK: placement.edge 1 from @xdp to @af_xdp
// CHECK-SAME: fields = [{name = "key", width = #builtin.int<8>, kind = "scalar"}]
// CHECK: placement.part @af_xdp on "af-xdp"
// CHECK-SAME: calls 'regex_match', which the kernel does not have
// CHECK: placement.accept %ctx at 1
// CHECK: %[[KEY:.*]] = arith.extui %{{.*}} : i8 to i32
// CHECK-NEXT: %value = map.lookup @limits(%[[KEY]])
// CHECK: map.hit %value
// CHECK: ebpf.call_kfunc
// CHECK: map.load %value[0]
ebpf.func @calls section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %long = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %long, ^header, ^done(%drop : i64)
^header:
  %kind = packet.load %data[12] : !packet.ptr -> i8
  %key = arith.extui %kind : i8 to i32
  %value = map.lookup @limits(%key) : i32 -> !map.value<@limits>
  %hit = map.hit %value : !map.value<@limits> -> i1
  cf.cond_br %hit, ^match, ^done(%drop : i64)
^match:
  %score = ebpf.call_kfunc 0() {callee = @regex_match} -> i64
  %limit = map.load %value[0] : !map.value<@limits> -> i64
  %over = arith.cmpi ugt, %score, %limit : i64
  %pass = arith.constant 2 : i64
  cf.cond_br %over, ^done(%drop : i64), ^done(%pass : i64)
^done(%verdict: i64):
  packet.verdict %verdict : i64
}
