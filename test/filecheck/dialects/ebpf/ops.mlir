// RUN: %roundtrip

// Instructions in allocated form: what is written is what a disassembler shows, with the values named.

// CHECK-LABEL: ebpf.func @straight section "xdp" attributes {prog_type = "xdp"} {
ebpf.func @straight section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg<r1>):
  // CHECK: %fp = ebpf.frame -> r10
  %fp = ebpf.frame -> r10
  // CHECK-NEXT: %data = ebpf.ldx32 %ctx[0] : r1 -> r2
  %data = ebpf.ldx32 %ctx[0] : r1 -> r2
  // CHECK-NEXT: %a = ebpf.movi 7 -> r3
  %a = ebpf.movi 7 -> r3
  // CHECK-NEXT: %b = ebpf.add %a, %data : r3, r2 -> r3
  %b = ebpf.add %a, %data : r3, r2 -> r3
  // CHECK-NEXT: %c = ebpf.lshi32 %b, 4 : r3 -> r3
  %c = ebpf.lshi32 %b, 4 : r3 -> r3
  // CHECK-NEXT: %d = ebpf.be16 %c : r3 -> r3
  %d = ebpf.be16 %c : r3 -> r3
  // CHECK-NEXT: %e = ebpf.movsx8 %d : r3 -> r4
  %e = ebpf.movsx8 %d : r3 -> r4
  // CHECK-NEXT: %w = ebpf.lddw 81985529216486895 -> r5
  %w = ebpf.lddw 81985529216486895 -> r5
  // CHECK-NEXT: ebpf.stx64 %fp[-8], %w : r10, r5
  ebpf.stx64 %fp[-8], %w : r10, r5
  // CHECK-NEXT: ebpf.st16 %fp[-10], -1 : r10
  ebpf.st16 %fp[-10], -1 : r10
  // CHECK-NEXT: ebpf.atomic_add64 %fp[-8], %e : r10, r4
  ebpf.atomic_add64 %fp[-8], %e : r10, r4
  // CHECK-NEXT: %f = ebpf.atomic_fetch_or32 %fp[-8], %e : r10, r4 -> r4
  %f = ebpf.atomic_fetch_or32 %fp[-8], %e : r10, r4 -> r4
  // CHECK-NEXT: %s = ebpf.ldxs8 %fp[-8] : r10 -> r0
  %s = ebpf.ldxs8 %fp[-8] : r10 -> r0
  // CHECK-NEXT: %x = ebpf.atomic_cmpxchg64 %fp[-8], %s, %f : r10, r0, r4 -> r0
  %x = ebpf.atomic_cmpxchg64 %fp[-8], %s, %f : r10, r0, r4 -> r0
  // CHECK-NEXT: %q = ebpf.load_acq32 %fp[-8] : r10 -> r1
  %q = ebpf.load_acq32 %fp[-8] : r10 -> r1
  // CHECK-NEXT: ebpf.store_rel32 %fp[-4], %q : r10, r1
  ebpf.store_rel32 %fp[-4], %q : r10, r1
  // CHECK-NEXT: ebpf.exit (%x) : r0
  ebpf.exit (%x) : r0
}

// Jumps name both successors, the one that is fallen into last, and pass values to their arguments.

// CHECK-LABEL: ebpf.func @jumps
ebpf.func @jumps section "xdp" {
^entry(%ctx : !ebpf.reg<r1>):
  %zero = ebpf.movi 0 -> r0
  // CHECK: ebpf.jsgti32 %ctx, -1, ^out(%zero : r0), ^next : r1
  ebpf.jsgti32 %ctx, -1, ^out(%zero : r0), ^next : r1
^next:
  // CHECK: ebpf.jset %ctx, %zero, ^out(%zero : r0), ^out(%zero : r0) : r1, r0
  ebpf.jset %ctx, %zero, ^out(%zero : r0), ^out(%zero : r0) : r1, r0
^out(%r : !ebpf.reg<r0>):
  ebpf.exit (%r) : r0
}

// Calls: of a helper by number, of a function of the object, of a kernel function. `via` and `unused` keep what the
// object said beyond the meaning of the instruction.

// CHECK-LABEL: ebpf.func @calls
ebpf.func @calls section "tc" {
^entry(%ctx : !ebpf.reg<r1>):
  // CHECK: %m = ebpf.ld_sym @flows {via = "flows"} -> r1
  %m = ebpf.ld_sym @flows {via = "flows"} -> r1
  // CHECK-NEXT: %r = ebpf.call 1(%m) : r1 -> r0
  %r = ebpf.call 1(%m) : r1 -> r0
  // CHECK: %n = ebpf.call_local @jumps(%u) {via = "section"} : r1 -> r0
  %u = ebpf.undef -> r1
  %n = ebpf.call_local @jumps(%u) {via = "section"} : r1 -> r0
  // CHECK: ebpf.call_kfunc -1() {callee = @bpf_xdp_ct_lookup, via = "bpf_xdp_ct_lookup"} -> r0
  %k = ebpf.call_kfunc -1() {callee = @bpf_xdp_ct_lookup, via = "bpf_xdp_ct_lookup"} -> r0
  // CHECK: ebpf.movi 1 {unused = {src = #builtin.int<3>}} -> r2
  %j = ebpf.movi 1 {unused = {src = #builtin.int<3>}} -> r2
  // CHECK: ebpf.raw "ff00000000000000"
  ebpf.raw "ff00000000000000"
  // CHECK-NEXT: ebpf.end
  ebpf.end
}

// Without registers, before allocation and after raising: words of any kind.

// CHECK-LABEL: ebpf.func @virtual
ebpf.func @virtual section "xdp" {
^entry(%ctx : !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  // CHECK: %p = ebpf.addi %fp, -16 : !ebpf.fp -> !ebpf.fp
  %p = ebpf.addi %fp, -16 : !ebpf.fp -> !ebpf.fp
  // CHECK-NEXT: %o = ebpf.alloca 16 -> !ebpf.fp
  %o = ebpf.alloca 16 -> !ebpf.fp
  // CHECK-NEXT: %c = ebpf.cast %o : !ebpf.fp -> reg
  %c = ebpf.cast %o : !ebpf.fp -> reg
  // CHECK-NEXT: %i = ebpf.ldx64 %p[0] : !ebpf.fp -> i64
  %i = ebpf.ldx64 %p[0] : !ebpf.fp -> i64
  ebpf.exit (%i) : i64
}
