// RUN: fs-opt %s -p lower-packet | filecheck %s

// A guard compares an address with the end; one that is there already is used again, and accesses keep their base.
// CHECK-LABEL: ebpf.func @guard
// CHECK-NEXT:  ^bb0(%[[CTX:.*]]: !packet.ctx):
// CHECK-NEXT:    %[[DATA:.*]] = ebpf.ldx32 %[[CTX]][0] : !packet.ctx -> !packet.ptr
// CHECK-NEXT:    %[[END:.*]] = ebpf.ldx32 %[[CTX]][4] : !packet.ctx -> !packet.end_ptr
// CHECK-NEXT:    %[[NEXT:.*]] = ebpf.addi %[[DATA]], 14 : !packet.ptr -> !packet.ptr
// CHECK-NEXT:    %[[A:.*]] = ebpf.cast %[[NEXT]] : !packet.ptr -> i64
// CHECK-NEXT:    %[[B:.*]] = ebpf.cast %[[END]] : !packet.end_ptr -> i64
// CHECK-NEXT:    %[[OK:.*]] = arith.cmpi ule, %[[A]], %[[B]] : i64
// CHECK:         cf.cond_br %[[OK]], ^in, ^out
// CHECK:         ebpf.ldx16 %[[DATA]][12] : !packet.ptr -> i16
// CHECK-NEXT:    ebpf.st8 %[[DATA]][0], 1 : !packet.ptr
// CHECK-NEXT:    ebpf.stx16 %[[NEXT]][-14], %{{.*}} : !packet.ptr, i16
// CHECK:         ebpf.exit (%{{.*}}) : i64
ebpf.func @guard section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %next = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %ok = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  %pass = arith.constant 2 : i64
  %one = arith.constant 1 : i8
  cf.cond_br %ok, ^in, ^out
^in:
  %proto = packet.load %data[12] : !packet.ptr -> i16
  packet.store %data[0], %one : !packet.ptr, i8
  packet.store %next[-14], %proto : !packet.ptr, i16
  cf.br ^out
^out:
  packet.verdict %pass : i64
}

// The context of a socket buffer has its fields elsewhere; variable offsets are added to the address.
// CHECK-LABEL: ebpf.func @skb
// CHECK:         ebpf.ldx32 %{{.*}}[76]
// CHECK:         ebpf.ldx32 %{{.*}}[140]
// CHECK:         ebpf.add %{{.*}}, %{{.*}} : !packet.ptr, i64 -> !packet.ptr
// CHECK:         ebpf.stx32 %{{.*}}[8], %{{.*}} : !packet.ctx, i32
ebpf.func @skb section "tc" attributes {prog_type = "sched_cls"} {
^bb0(%ctx : !packet.ctx, %x : i64):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %meta = packet.meta %ctx : !packet.ctx -> !packet.meta_ptr
  %p = packet.advance %data, %x : !packet.ptr, i64 -> !packet.ptr
  %mark = packet.ctx_load %ctx[8] : !packet.ctx -> i32
  packet.ctx_store %ctx[8], %mark : !packet.ctx, i32
  packet.verdict %x : i64
}

// CHECK-LABEL: ebpf.func @resize
// CHECK:         ebpf.call 44(%{{.*}}, %{{.*}}) : !packet.ctx, i64 -> i64
// CHECK:         ebpf.call 65(%{{.*}}, %{{.*}}) : !packet.ctx, i64 -> i64
// CHECK:         ebpf.call 54(%{{.*}}, %{{.*}}) : !packet.ctx, i64 -> i64
ebpf.func @resize section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %d = arith.constant -20 : i64
  %h = packet.adjust_head %ctx, %d : !packet.ctx, i64 -> i64
  %t = packet.adjust_tail %ctx, %d : !packet.ctx, i64 -> i64
  %m = packet.adjust_meta %ctx, %d : !packet.ctx, i64 -> i64
  packet.verdict %m : i64
}

// An address one byte short of the limit that is there already is compared instead: what is below the end is before it.
// CHECK-LABEL: ebpf.func @last_byte
// CHECK:         %[[NEXT:.*]] = ebpf.addi %[[DATA:.*]], 14 : !packet.ptr -> !packet.ptr
// CHECK-NEXT:    %[[A:.*]] = ebpf.cast %[[NEXT]] : !packet.ptr -> i64
// CHECK-NEXT:    %[[B:.*]] = ebpf.cast %[[END:.*]] : !packet.end_ptr -> i64
// CHECK-NEXT:    arith.cmpi ult, %[[A]], %[[B]] : i64
ebpf.func @last_byte section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %next = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %ok = packet.guard %data[15], %end : !packet.ptr, !packet.end_ptr -> i1
  %pass = arith.constant 2 : i64
  cf.cond_br %ok, ^in, ^out
^in:
  %byte = arith.constant 1 : i8
  packet.store %next[0], %byte : !packet.ptr, i8
  cf.br ^out
^out:
  packet.verdict %pass : i64
}

// From an address itself compared with the end the verifier concludes nothing: only where nothing reads that byte.
// CHECK-LABEL: ebpf.func @any_byte
// CHECK:         arith.cmpi ult
ebpf.func @any_byte section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %ok = packet.guard %data[1], %end : !packet.ptr, !packet.end_ptr -> i1
  %pass = arith.constant 2 : i64
  cf.cond_br %ok, ^in, ^out
^in:
  cf.br ^out
^out:
  packet.verdict %pass : i64
}

// CHECK-LABEL: ebpf.func @first_byte
// CHECK:         ebpf.addi %{{.*}}, 1 : !packet.ptr -> !packet.ptr
// CHECK:         arith.cmpi ule
ebpf.func @first_byte section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %ok = packet.guard %data[1], %end : !packet.ptr, !packet.end_ptr -> i1
  %pass = arith.constant 2 : i64
  cf.cond_br %ok, ^in, ^out
^in:
  %byte = packet.load %data[0] : !packet.ptr -> i8
  packet.store %data[0], %byte : !packet.ptr, i8
  cf.br ^out
^out:
  packet.verdict %pass : i64
}

// Nor where an address behind it may be the base itself, as in a loop's first turn.
// CHECK-LABEL: ebpf.func @maybe_first_byte
// CHECK:         %[[BASE:.*]] = ebpf.add
// CHECK-NEXT:    %[[NEXT:.*]] = ebpf.addi %[[BASE]], 1
// CHECK-NEXT:    %[[A:.*]] = ebpf.cast %[[NEXT]]
// CHECK:         arith.cmpi ule, %[[A]], %{{.*}}
ebpf.func @maybe_first_byte section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx, %x : i64, %i : i64):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %base = packet.advance %data, %x : !packet.ptr, i64 -> !packet.ptr
  %ok = packet.guard %base[1], %end : !packet.ptr, !packet.end_ptr -> i1
  %pass = arith.constant 2 : i64
  cf.cond_br %ok, ^in, ^out
^in:
  %p = packet.advance %base, %i : !packet.ptr, i64 -> !packet.ptr
  %byte = packet.load %p[0] : !packet.ptr -> i8
  %q = packet.offset %base[2] : !packet.ptr -> !packet.ptr
  packet.store %q[0], %byte : !packet.ptr, i8
  cf.br ^out
^out:
  packet.verdict %pass : i64
}

// That is enough where nothing behind it reads its own first byte.
// CHECK-LABEL: ebpf.func @later_byte
// CHECK:         %[[BASE:.*]] = ebpf.add
// CHECK-NEXT:    %[[A:.*]] = ebpf.cast %[[BASE]]
// CHECK:         arith.cmpi ult, %[[A]], %{{.*}}
ebpf.func @later_byte section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx, %x : i64, %i : i64):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %base = packet.advance %data, %x : !packet.ptr, i64 -> !packet.ptr
  %ok = packet.guard %base[1], %end : !packet.ptr, !packet.end_ptr -> i1
  %pass = arith.constant 2 : i64
  cf.cond_br %ok, ^in, ^out
^in:
  %p = packet.advance %base, %i : !packet.ptr, i64 -> !packet.ptr
  %more = packet.guard %p[2], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %more, ^read, ^out
^read:
  %byte = packet.load %p[1] : !packet.ptr -> i8
  packet.store %p[1], %byte : !packet.ptr, i8
  cf.br ^out
^out:
  packet.verdict %pass : i64
}

// Where an address steps on, what comes after the step is relative to the new one, so that the old one is free.
// CHECK-LABEL: ebpf.func @step
// CHECK:         %next = ebpf.addi %p, 8 : !packet.ptr -> !packet.ptr
// CHECK:         ebpf.ldx8 %next[-4] : !packet.ptr -> i8
ebpf.func @step section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  cf.br ^loop(%data : !packet.ptr)
^loop(%p : !packet.ptr):
  %ok = packet.guard %p[8], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^in, ^out
^in:
  %next = packet.offset %p[8] : !packet.ptr -> !packet.ptr
  %byte = packet.load %p[4] : !packet.ptr -> i8
  %zero = arith.constant 0 : i8
  %last = arith.cmpi eq, %byte, %zero : i8
  cf.cond_br %last, ^out, ^loop(%next : !packet.ptr)
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// A guard up to the step, or of the byte there, compares the new address whatever its base is.
// CHECK-LABEL: ebpf.func @step_guarded
// CHECK:         %next = ebpf.addi %data, 54 : !packet.ptr -> !packet.ptr
// CHECK-NEXT:    %[[NEXT:.*]] = ebpf.cast %next : !packet.ptr -> i64
// CHECK-NEXT:    %[[END:.*]] = ebpf.cast %end : !packet.end_ptr -> i64
// CHECK-NEXT:    arith.cmpi ult, %[[NEXT]], %[[END]] : i64
ebpf.func @step_guarded section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %next = packet.offset %data[54] : !packet.ptr -> !packet.ptr
  %ok = packet.guard %data[55], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^on(%next : !packet.ptr), ^out
^on(%p : !packet.ptr):
  %more = packet.guard %p[8], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %more, ^in, ^out
^in:
  %byte = packet.load %p[7] : !packet.ptr -> i8
  %verdict = arith.extui %byte : i8 to i64
  packet.verdict %verdict : i64
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// Of a verdict, the kernel reads 32 bits: what is above them is not cleared.
// CHECK-LABEL: ebpf.func @verdict
// CHECK:         %r = ebpf.call 7() -> i64
// CHECK:         ebpf.exit (%r) : i64
ebpf.func @verdict section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %r = ebpf.call 7() -> i64
  %low = arith.trunci %r : i64 to i32
  %word = arith.extui %low : i32 to i64
  packet.verdict %word : i64
}

// A relocation goes with the instruction, whose offset is what the object says: no other base is taken.
// CHECK-LABEL: ebpf.func @relocated
// CHECK:         ebpf.ldx32 %ctx[0] {{.core = .*}} : !packet.ctx -> !packet.ptr
// CHECK:         %next = ebpf.addi %p, 8 : !packet.ptr -> !packet.ptr
// CHECK:         ebpf.ldx16 %p[4] {{.core = .*}} : !packet.ptr -> i16
// CHECK-NEXT:    ebpf.stx16 %p[2], %{{.*}} {{.core = .*}} : !packet.ptr, i16
ebpf.func @relocated section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  cf.br ^loop(%data : !packet.ptr)
^loop(%p : !packet.ptr):
  %ok = packet.guard %p[8], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^in, ^out
^in:
  %next = packet.offset %p[8] : !packet.ptr -> !packet.ptr
  %word = packet.load %p[4] {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr -> i16
  packet.store %p[2], %word {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr, i16
  %zero = arith.constant 0 : i16
  %last = arith.cmpi eq, %word, %zero : i16
  cf.cond_br %last, ^out, ^loop(%next : !packet.ptr)
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// A fetch is a legacy load again, whose result has no other bits.

// CHECK-LABEL: ebpf.func @fetches
ebpf.func @fetches section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !packet.ctx):
  // CHECK: %type = ebpf.ld_abs16 %ctx[12] : !packet.ctx -> i16
  %type = packet.fetch %ctx[12] : !packet.ctx -> i16
  %index = arith.extui %type : i16 to i64
  // CHECK: %byte = ebpf.ld_ind8 %ctx[%index + 14] : !packet.ctx, i64 -> i8
  %byte = packet.fetch_at %ctx[%index + 14] : !packet.ctx, i64 -> i8
  %wide = arith.extui %byte : i8 to i64
  packet.verdict %wide : i64
}
