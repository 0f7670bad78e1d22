// RUN: fs-opt %s -p 'decompose{cut-at=bb2}' --split-input-file | filecheck %s

// A packet that was made longer travels as it is; addresses are distances from its new start.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK:         packet.adjust_head
// CHECK:         placement.handoff
// CHECK:       placement.part @af_xdp
// CHECK-NOT:     packet.adjust_head
// CHECK:         packet.store
ebpf.func @grows section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %by = arith.constant -14 : i32
  %error = packet.adjust_head %ctx, %by : !packet.ctx, i32 -> i64
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %ok = packet.guard %data[28], %end : !packet.ptr, !packet.end_ptr -> i1
  %tx = arith.constant 3 : i64
  cf.cond_br %ok, ^more, ^out
^out:
  packet.verdict %error : i64
^more:
  packet.store %data[14], %tx : !packet.ptr, i64
  packet.verdict %tx : i64
}

// -----

// A path with a tail call stays in the kernel, and others can be cut.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK:         ebpf.call 12
// CHECK:         placement.handoff
// CHECK:       placement.part @af_xdp
// CHECK-NOT:     ebpf.call 12
map.decl @jumps "prog_array" key 4 value 4 entries 4 flags 0
ebpf.func @tail_call section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %index = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %zero = arith.constant 0 : i32
  %slow = arith.cmpi eq, %index, %zero : i32
  %verdict = arith.constant 1 : i64
  cf.cond_br %slow, ^here, ^jump
^jump:
  %jumps = ebpf.ld_sym @jumps -> !map.handle<@jumps>
  %which = arith.extui %index : i32 to i64
  %r = ebpf.call 12(%ctx, %jumps, %which) : !packet.ctx, !map.handle<@jumps>, i64 -> i64
  packet.verdict %r : i64
^here:
  packet.verdict %verdict : i64
}

// -----

// Where addresses meet, each way there is a cut of its own: the one in front of it carries the key that it has.

// CHECK-LABEL: placement.edge 1
// CHECK-SAME:    fields = []
// CHECK:       placement.edge 2
// CHECK-SAME:    fields = [{name = "key"
// CHECK:       placement.part @xdp
// CHECK:         cf.cond_br %x, ^[[A:bb[0-9]+]], ^[[B:bb[0-9]+]]
// CHECK-NEXT:  ^[[A]]:
// CHECK-NEXT:    placement.handoff 2
// CHECK-NEXT:  ^[[B]]:
// CHECK-NEXT:    placement.handoff 1
// CHECK:       placement.part @af_xdp
// CHECK:         %a = map.lookup @m(%key)
// CHECK:         cf.cond_br %{{[0-9]+}}, ^[[USE:bb[0-9]+]](%a
// CHECK:         %b = map.lookup @m(%one)
// CHECK-NEXT:    cf.br ^[[USE]](%b
map.decl @m "hash" key 4 value 8 entries 4 flags 0
ebpf.func @either section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %one = arith.constant 1 : i32
  %a = map.lookup @m(%key) : i32 -> !map.value<@m>
  %b = map.lookup @m(%one) : i32 -> !map.value<@m>
  %x = map.hit %a : !map.value<@m> -> i1
  cf.cond_br %x, ^use(%a : !map.value<@m>), ^use(%b : !map.value<@m>)
^load:
  %n = map.load %v[0] : !map.value<@m> -> i64
  packet.verdict %n : i64
^use(%v: !map.value<@m>):
  %hit = map.hit %v : !map.value<@m> -> i1
  cf.cond_br %hit, ^load, ^out
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// -----

// A null address is made again.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @af_xdp
// CHECK:         ebpf.cast
ebpf.func @perhaps section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %zero = arith.constant 0 : i64
  %none = ebpf.cast %zero : i64 -> !packet.ptr
  %ok = packet.guard %data[28], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^use(%data : !packet.ptr), ^use(%none : !packet.ptr)
^out:
  packet.verdict %zero : i64
^use(%p: !packet.ptr):
  %some = ebpf.cast %p : !packet.ptr -> i64
  %there = arith.cmpi ne, %some, %zero : i64
  cf.cond_br %there, ^load, ^out
^load:
  %byte = packet.load %p[0] : !packet.ptr -> i64
  packet.verdict %byte : i64
}

// -----

// A way out that was chosen before is chosen again.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK:         map.redirect @devices
// CHECK:       placement.part @af_xdp
// CHECK:         %[[KEY:.*]] = arith.extui %key
// CHECK:         %[[VERDICT:.*]] = map.redirect @devices[%[[KEY]]]
// CHECK:         packet.verdict %[[VERDICT]]
map.decl @devices "devmap" key 4 value 4 entries 4 flags 0
ebpf.func @redirected section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i64
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %key = arith.extui %queue : i32 to i64
  %verdict = map.redirect @devices[%key] flags %zero : i64, i64 -> i64
  %lost = arith.cmpi eq, %verdict, %zero : i64
  cf.cond_br %lost, ^out, ^more
^out:
  packet.verdict %zero : i64
^more:
  %by = arith.constant -14 : i32
  %error = packet.adjust_tail %ctx, %by : !packet.ctx, i32 -> i64
  packet.verdict %verdict : i64
}

// -----

// Where it was chosen on one way only, that way is a cut of its own.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.edge 2
// CHECK:       placement.part @af_xdp
// CHECK:         %[[VERDICT:.*]] = map.redirect @devices
// CHECK-NEXT:    cf.br ^[[JOIN:bb[0-9]+]](%[[VERDICT]]
// CHECK:         %pass = arith.constant 2
// CHECK-NEXT:    cf.br ^[[JOIN]](%pass
map.decl @devices "devmap" key 4 value 4 entries 4 flags 0
ebpf.func @perhaps_redirected section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i64
  %pass = arith.constant 2 : i64
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %first = arith.cmpi eq, %queue, %queue : i32
  cf.cond_br %first, ^there, ^here(%pass : i64)
^there:
  %redirected = map.redirect @devices[%zero] flags %zero : i64, i64 -> i64
  cf.br ^here(%redirected : i64)
^here(%verdict: i64):
  %error = packet.adjust_tail %ctx, %queue : !packet.ctx, i32 -> i64
  packet.verdict %verdict : i64
}

// -----

// Metadata of the program's own travels, too: the header goes behind it.

// CHECK-LABEL: placement.edge 1
// CHECK-SAME:    metadata = [#builtin.int<4>]
// CHECK:       placement.part @af_xdp
// CHECK:         packet.meta
ebpf.func @own_metadata section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %by = arith.constant -4 : i32
  %zero = arith.constant 0 : i64
  %error = packet.adjust_meta %ctx, %by : !packet.ctx, i32 -> i64
  %failed = arith.cmpi ne, %error, %zero : i64
  cf.cond_br %failed, ^out, ^grown
^out:
  packet.verdict %zero : i64
^grown:
  %pass = arith.constant 2 : i64
  %meta = packet.meta %ctx : !packet.ctx -> !packet.meta_ptr
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %ok = packet.guard %meta[4], %data : !packet.meta_ptr, !packet.ptr -> i1
  cf.cond_br %ok, ^write, ^out
^write:
  packet.store %meta[0], %by : !packet.meta_ptr, i32
  packet.verdict %pass : i64
}

// -----

// An address of the frame that was spilled is made again where it is loaded, and no more stored.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK-NOT:     !ebpf.fp, !ebpf.fp
// CHECK:       placement.part @af_xdp
// CHECK-NOT:     ebpf.ldx64
// CHECK:         %[[KEY:.*]] = ebpf.addi %{{.*}}, -8
// CHECK:         map.lookup_at @flows[%[[KEY]]]
map.decl @flows "hash" key 8 value 8 entries 4 flags 0
ebpf.func @spilled section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %a = ebpf.call 5() -> i64
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx64 %fp[-8], %a : !ebpf.fp, i64
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  ebpf.stx64 %fp[-32], %key : !ebpf.fp, !ebpf.fp
  %one = arith.constant 1 : i64
  %odd = arith.andi %a, %one : i64
  %is_odd = arith.cmpi eq, %odd, %one : i64
  cf.cond_br %is_odd, ^out, ^more
^out:
  packet.verdict %one : i64
^more:
  %again = ebpf.ldx64 %fp[-32] : !ebpf.fp -> !ebpf.fp
  %found = map.lookup_at @flows[%again] : !ebpf.fp -> !map.value<@flows>
  %hit = map.hit %found : !map.value<@flows> -> i1
  %verdict = arith.extui %hit : i1 to i64
  packet.verdict %verdict : i64
}

// -----

// An element that was found, or made and looked up again, is looked up by the key that both ways used.

// CHECK-LABEL: placement.edge 1
// CHECK-SAME:    kind = "scalar"
// CHECK:       placement.part @xdp
// CHECK:         map.update @flows
// CHECK:         placement.handoff 1 to @af_xdp
// CHECK:       placement.part @af_xdp
// CHECK:         %[[KEY:.*]] = placement.carried
// CHECK:         %[[FOUND:.*]] = map.lookup @flows(%[[KEY]])
// CHECK:         map.hit %[[FOUND]]
// CHECK:         map.load
map.decl @flows "hash" key 8 value 8 entries 4 flags 0
ebpf.func @found_or_made section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %a = ebpf.call 5() -> i64
  %zero = arith.constant 0 : i64
  %first = map.lookup @flows(%a) : i64 -> !map.value<@flows>
  %known = map.hit %first : !map.value<@flows> -> i1
  cf.cond_br %known, ^have(%first : !map.value<@flows>), ^new
^new:
  %full = map.update @flows key (%a) value (%a) flags %zero : i64, i64, i64 -> i64
  %second = map.lookup @flows(%a) : i64 -> !map.value<@flows>
  %made = map.hit %second : !map.value<@flows> -> i1
  cf.cond_br %made, ^have(%second : !map.value<@flows>), ^out
^held:
  %value = map.load %found[0] : !map.value<@flows> -> i64
  packet.verdict %value : i64
^have(%found: !map.value<@flows>):
  %c = arith.cmpi ult, %a, %zero : i64
  cf.cond_br %c, ^out, ^held
^out:
  packet.verdict %zero : i64
}

// -----

// So are addresses of map values that were spilled: each load is the value that was stored, looked up again.

// CHECK-LABEL: placement.edge 1
// CHECK:       placement.part @xdp
// CHECK-NOT:     !ebpf.fp, !map.value
// CHECK:       placement.part @af_xdp
// CHECK-NOT:     ebpf.ldx64
// CHECK:         %[[FOUND:.*]] = map.lookup @hosts
// CHECK-NOT:     ebpf.ldx64
// CHECK:         ebpf.call 28({{.*}}) : !map.value<@hosts>
map.decl @hosts "array" key 4 value 8 entries 4 flags 0
ebpf.func @kept section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %found = map.lookup @hosts(%key) : i32 -> !map.value<@hosts>
  %zero = arith.constant 0 : i64
  %hit = map.hit %found : !map.value<@hosts> -> i1
  cf.cond_br %hit, ^keep, ^out
^out:
  packet.verdict %zero : i64
^use:
  %host = ebpf.ldx64 %fp[-8] : !ebpf.fp -> !map.value<@hosts>
  %size = arith.constant 8 : i64
  %sum = ebpf.call 28(%host, %size, %host, %size, %zero) : !map.value<@hosts>, i64, !map.value<@hosts>, i64, i64 -> i64
  packet.verdict %sum : i64
^keep:
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.stx64 %fp[-8], %found : !ebpf.fp, !map.value<@hosts>
  cf.br ^use
}
