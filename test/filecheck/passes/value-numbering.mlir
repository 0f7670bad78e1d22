// RUN: fs-opt %s -p value-numbering,eliminate-dead-code | filecheck %s

map.decl @flows "hash" key 4 value 8 entries 16 flags 0
map.decl @recent "lru_hash" key 4 value 8 entries 16 flags 0
map.decl @".data" "array" key 4 value 8 entries 1 flags 0

// Equal computations and loads are one, also across blocks; the second guard asks for less than the first.
// CHECK-LABEL: ebpf.func @redundant
// CHECK-NEXT:    ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:      %data = packet.data
// CHECK-NEXT:      %end = packet.end
// CHECK-NEXT:      %all = packet.guard %data[34]
// CHECK-NEXT:      cf.cond_br %all, ^bb1, ^bb2
// CHECK-NEXT:    ^bb1:
// CHECK-NEXT:      %field = packet.load %data[12]
// CHECK-NEXT:      cf.br ^bb3
// CHECK:         ^bb3:
// CHECK-NEXT:      %word = arith.extui %field
// CHECK-NEXT:      %twice = arith.addi %word, %word
// CHECK-NEXT:      packet.verdict %twice
ebpf.func @redundant section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %all = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb1, ^bb2
^bb1:
  %field = packet.load %data[12] : !packet.ptr -> i16
  %data_1 = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end_1 = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %some = packet.guard %data_1[14], %end_1 : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %some, ^bb3, ^bb2
^bb2:
  %drop = arith.constant 1 : i64
  packet.verdict %drop : i64
^bb3:
  %field_1 = packet.load %data_1[12] {field = "eth.h_proto"} : !packet.ptr -> i16
  %word = arith.extui %field : i16 to i64
  %word_1 = arith.extui %field_1 : i16 to i64
  %twice = arith.addi %word, %word_1 : i64
  packet.verdict %twice : i64
}

// Loads with a store between them on one path; addresses with a resize between them; guards of more bytes.
// CHECK-LABEL: ebpf.func @different
// CHECK-COUNT-2:   packet.load
// CHECK:           packet.guard %{{.*}}[20]
// CHECK:           packet.adjust_head
// CHECK:           packet.data
// CHECK:           packet.end
// CHECK:           packet.guard
ebpf.func @different section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %all = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb1, ^bb4
^bb1:
  %before = packet.load %data[0] : !packet.ptr -> i64
  %zero = arith.constant 0 : i64
  %test = arith.cmpi eq, %before, %zero : i64
  cf.cond_br %test, ^bb2, ^bb3
^bb2:
  packet.store %data[0], %zero : !packet.ptr, i64
  cf.br ^bb3
^bb3:
  %after = packet.load %data[0] : !packet.ptr -> i64
  %sum = arith.addi %before, %after : i64
  %more = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %more, ^bb5, ^bb4
^bb4:
  %drop = arith.constant 1 : i64
  packet.verdict %drop : i64
^bb5:
  %failed = packet.adjust_head %ctx, %sum : !packet.ctx, i64 -> i64
  %data_1 = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end_1 = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %again = packet.guard %data_1[14], %end_1 : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %again, ^bb6, ^bb4
^bb6:
  packet.verdict %failed : i64
}

// What was branched on decides what follows from it: the same comparison, its opposite, a wider range.
// CHECK-LABEL: ebpf.func @decided
// CHECK:           cf.cond_br
// CHECK-NOT:       cf.cond_br
// CHECK:           packet.verdict %x
ebpf.func @decided section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %x = arith.extui %queue : i32 to i64
  %ten = arith.constant 10 : i64
  %five = arith.constant 5 : i64
  %small = arith.cmpi ult, %x, %five : i64
  cf.cond_br %small, ^bb1, ^bb4
^bb1:
  %not_large = arith.cmpi ule, %x, %ten : i64
  cf.cond_br %not_large, ^bb2, ^bb4
^bb2:
  %large = arith.cmpi uge, %x, %five : i64
  cf.cond_br %large, ^bb4, ^bb3
^bb3:
  packet.verdict %x : i64
^bb4:
  packet.verdict %ten : i64
}

// A key is looked up once, and what was found is known to be there, ...
// CHECK-LABEL: ebpf.func @lookups
// CHECK-COUNT-1:   map.lookup
// CHECK-NOT:       map.lookup
// CHECK:           packet.verdict %count
ebpf.func @lookups section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %key = arith.constant 5 : i32
  %zero = arith.constant 0 : i64
  %one = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %hit = map.hit %one : !map.value<@flows> -> i1
  cf.cond_br %hit, ^bb1, ^bb2(%zero : i64)
^bb1:
  map.store %one[0], %zero : !map.value<@flows>, i64
  %other = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %hit_1 = map.hit %other : !map.value<@flows> -> i1
  cf.cond_br %hit_1, ^bb3, ^bb2(%zero : i64)
^bb2(%x: i64):
  packet.verdict %x : i64
^bb3:
  %count = map.load %other[0] : !map.value<@flows> -> i64
  packet.verdict %count : i64
}

// ... but not across a change of the map, nor in a map where looking up makes an entry younger.
// CHECK-LABEL: ebpf.func @changed
// CHECK-COUNT-2:   map.lookup @flows
// CHECK-COUNT-2:   map.lookup @recent
// CHECK:           packet.verdict
ebpf.func @changed section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %key = arith.constant 5 : i32
  %zero = arith.constant 0 : i64
  %one = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %hit = map.hit %one : !map.value<@flows> -> i1
  cf.cond_br %hit, ^bb1, ^bb2
^bb1:
  %r0 = map.delete @flows(%key) : i32 -> i64
  %other = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %hit_1 = map.hit %other : !map.value<@flows> -> i1
  cf.cond_br %hit_1, ^bb3, ^bb2
^bb2:
  packet.verdict %zero : i64
^bb3:
  %young = map.lookup @recent(%key) : i32 -> !map.value<@recent>
  %hit_2 = map.hit %young : !map.value<@recent> -> i1
  cf.cond_br %hit_2, ^bb4, ^bb2
^bb4:
  %younger = map.lookup @recent(%key) : i32 -> !map.value<@recent>
  %hit_3 = map.hit %younger : !map.value<@recent> -> i1
  cf.cond_br %hit_3, ^bb5, ^bb2
^bb5:
  %count = map.load %younger[0] : !map.value<@recent> -> i64
  packet.verdict %count : i64
}

// An address is not computed from a length from before the test that bounds it.
// CHECK-LABEL: ebpf.func @bound
// CHECK:           arith.shli
// CHECK:           arith.cmpi
// CHECK:           arith.shli
// CHECK:           packet.advance
ebpf.func @bound section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %x = arith.extui %queue : i32 to i64
  %two = arith.constant 2 : i64
  %unbounded = arith.shli %x, %two : i64
  %limit = arith.constant 15 : i64
  %large = arith.cmpi ugt, %x, %limit : i64
  cf.cond_br %large, ^bb1, ^bb2
^bb1:
  packet.verdict %unbounded : i64
^bb2:
  %bounded = arith.shli %x, %two : i64
  %next = packet.advance %data, %bounded : !packet.ptr, i64 -> !packet.ptr
  %fits = packet.guard %next[1], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %fits, ^bb3, ^bb1
^bb3:
  %first = packet.load %next[0] : !packet.ptr -> i64
  packet.verdict %first : i64
}

// Constants stay where they are made, and count by value.
// CHECK-LABEL: ebpf.func @constants
// CHECK:           %five = arith.constant 5 : i64
// CHECK-NEXT:      %sum = arith.addi %word, %five : i64
// CHECK-NEXT:      %again = arith.constant 5 : i64
// CHECK-NEXT:      %both = arith.xori %sum, %again : i64
// CHECK-NEXT:      %all = arith.muli %both, %sum : i64
ebpf.func @constants section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %word = arith.extui %queue : i32 to i64
  %five = arith.constant 5 : i64
  %sum = arith.addi %word, %five : i64
  %again = arith.constant 5 : i64
  %both = arith.xori %sum, %again : i64
  %same = arith.addi %again, %word : i64
  %all = arith.muli %both, %same : i64
  packet.verdict %all : i64
}

// Addresses that are only arguments are made for each call, not kept in a register over the first; for the same call, and
// for loads and stores, once is enough.
// CHECK-LABEL: ebpf.func @arguments
// CHECK:           %handle = ebpf.ld_sym @flows
// CHECK:           %key = ebpf.addi %fp, -8
// CHECK-NEXT:      %r0 = ebpf.call 2(%handle, %key, %key, %zero)
// CHECK-NEXT:      %handle_1 = ebpf.ld_sym @flows
// CHECK-NEXT:      %[[KEY:.*]] = ebpf.addi %fp, -8
// CHECK-NEXT:      %r0_1 = ebpf.call 2(%handle_1, %[[KEY]], %[[KEY]], %zero)
// CHECK:           %data = ebpf.ld_sym @".data"
// CHECK-NEXT:      %first = map.load %data[0]
// CHECK-NEXT:      ebpf.call 7
// CHECK-NEXT:      %second = map.load %data[4]
ebpf.func @arguments section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  %zero = arith.constant 0 : i64
  ebpf.st64 %fp[-8], 0 : !ebpf.fp
  %handle = ebpf.ld_sym @flows -> !map.handle<@flows>
  %key = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %key_1 = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %r0 = ebpf.call 2(%handle, %key, %key_1, %zero) : !map.handle<@flows>, !ebpf.fp, !ebpf.fp, i64 -> i64
  %handle_1 = ebpf.ld_sym @flows -> !map.handle<@flows>
  %key_2 = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %key_3 = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %r0_1 = ebpf.call 2(%handle_1, %key_2, %key_3, %zero) : !map.handle<@flows>, !ebpf.fp, !ebpf.fp, i64 -> i64
  %data = ebpf.ld_sym @".data" -> !map.value<@".data">
  %first = map.load %data[0] : !map.value<@".data"> -> i32
  %any = ebpf.call 7() -> i64
  %data_1 = ebpf.ld_sym @".data" -> !map.value<@".data">
  %second = map.load %data_1[4] : !map.value<@".data"> -> i32
  %both = arith.addi %first, %second : i32
  %word = arith.extui %both : i32 to i64
  packet.verdict %word : i64
}

// What a branch passes may be known by the way it goes.
// CHECK-LABEL: ebpf.func @passed
// CHECK:           %[[ONE:.*]] = arith.constant 1 : i64
// CHECK-NEXT:      %[[ZERO:.*]] = arith.constant 0 : i64
// CHECK-NEXT:      cf.cond_br %set, ^bb1(%[[ONE]], %other : i64, i64), ^bb1(%[[ZERO]], %other : i64, i64)
ebpf.func @passed section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %port = packet.ctx_load %ctx[12] : !packet.ctx -> i32
  %five = arith.constant 5 : i32
  %set = arith.cmpi eq, %queue, %five : i32
  %truth = arith.extui %set : i1 to i64
  %both = arith.cmpi eq, %port, %five : i32
  %other = arith.extui %both : i1 to i64
  cf.cond_br %set, ^bb1(%truth, %other : i64, i64), ^bb1(%truth, %other : i64, i64)
^bb1(%x: i64, %y: i64):
  %sum = arith.addi %x, %y : i64
  packet.verdict %sum : i64
}

// A sum with its operands exchanged is the same, but for one whose first operand may be an address in a stack frame:
// what the verifier has of `number + address` is no good for that.
// CHECK-LABEL: ebpf.func @exchanged
// CHECK:           ebpf.add %n, %p
// CHECK-NEXT:      %[[SECOND:.*]] = ebpf.add %p, %n
// CHECK-NEXT:      ebpf.stx64 %[[SECOND]][0]
// CHECK-NEXT:      ebpf.stx64 %[[SECOND]][8]
ebpf.func @exchanged section ".text" {
^bb0(%p: !ebpf.reg, %q: !ebpf.reg):
  %n = ebpf.ldx32 %q[0] : reg -> reg
  %first = ebpf.add %n, %p : reg, reg -> reg
  %second = ebpf.add %p, %n : reg, reg -> reg
  ebpf.stx64 %second[0], %n : reg, reg
  %third = ebpf.add %n, %p : reg, reg -> reg
  ebpf.stx64 %third[8], %n : reg, reg
  ebpf.exit(%first) : reg
}

// CHECK-LABEL: ebpf.func @exchanged_in_program
// CHECK:           %[[FIRST:.*]] = ebpf.add %n, %p
// CHECK-NEXT:      ebpf.stx64 %[[FIRST]][0]
ebpf.func @exchanged_in_program section "xdp" attributes {prog_type = "xdp"} {
^bb0(%p: !ebpf.reg):
  %n = ebpf.ldx32 %p[0] : reg -> reg
  %first = ebpf.add %n, %p : reg, reg -> reg
  %second = ebpf.add %p, %n : reg, reg -> reg
  ebpf.stx64 %second[0], %first : reg, reg
  ebpf.exit(%first) : reg
}
