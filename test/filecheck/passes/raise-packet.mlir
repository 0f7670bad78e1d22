// RUN: fs-opt %s -p raise-packet | filecheck %s

// CHECK-LABEL: ebpf.func @accesses
ebpf.func @accesses section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx):
  // CHECK: %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %data = ebpf.ldx32 %ctx[0] : !packet.ctx -> !packet.ptr
  // CHECK-NEXT: %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %end = ebpf.ldx32 %ctx[4] : !packet.ctx -> !packet.end_ptr
  // CHECK-NEXT: %[[Q:.*]] = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  // CHECK-NEXT: %queue = arith.extui %[[Q]] : i32 to i64
  %queue = ebpf.ldx32 %ctx[16] : !packet.ctx -> i64
  // An address at a constant distance is the base and an offset, for guard and access alike.
  // CHECK-NEXT: %l3 = packet.offset %data[14] : !packet.ptr -> !packet.ptr
  %l3 = ebpf.addi %data, 14 : !packet.ptr -> !packet.ptr
  %limit = ebpf.addi %l3, 20 : !packet.ptr -> !packet.ptr
  // CHECK: %[[G:.*]] = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  // CHECK-NEXT: cf.cond_br %[[G]], ^in, ^out
  ebpf.jgt %limit, %end, ^out, ^in : !packet.ptr, !packet.end_ptr
^in:
  // CHECK: %[[V:.*]] = packet.load %data[14] : !packet.ptr -> i8
  // CHECK-NEXT: %ihl = arith.extui %[[V]] : i8 to i64
  %ihl = ebpf.ldx8 %l3[0] : !packet.ptr -> i64
  // CHECK-NEXT: %l4 = packet.advance %l3, %ihl : !packet.ptr, i64 -> !packet.ptr
  %l4 = ebpf.add %l3, %ihl : !packet.ptr, i64 -> !packet.ptr
  // CHECK-NEXT: %[[P:.*]] = packet.load %l4[2] : !packet.ptr -> i16
  // CHECK-NEXT: arith.extsi %[[P]] : i16 to i64
  %port = ebpf.ldxs16 %l4[2] : !packet.ptr -> i64
  // CHECK-NEXT: %[[T:.*]] = arith.trunci %port : i64 to i32
  // CHECK-NEXT: packet.store %l4[4], %[[T]] : !packet.ptr, i32
  ebpf.stx32 %l4[4], %port : !packet.ptr, i64
  // CHECK-NEXT: %[[C:.*]] = arith.constant -1 : i16
  // CHECK-NEXT: packet.store %data[12], %[[C]] : !packet.ptr, i16
  ebpf.st16 %data[12], 65535 : !packet.ptr
  // CHECK-NEXT: packet.adjust_head %ctx, %ihl : !packet.ctx, i64 -> i64
  %rc = ebpf.call 44(%ctx, %ihl) : !packet.ctx, i64 -> i64
  // CHECK-NEXT: packet.verdict %rc : i64
  ebpf.exit (%rc) : i64
^out:
  ebpf.exit (%queue) : i64
}

// Every way of writing the comparison is the same guard; those that exclude equality ask for one byte more.

// CHECK-LABEL: ebpf.func @guards
ebpf.func @guards section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %p : !packet.ptr, %end : !packet.end_ptr):
  // CHECK: packet.guard %p[0], %end
  // CHECK-NEXT: cf.cond_br %{{.*}}, ^a, ^out
  ebpf.jle %p, %end, ^a, ^out : !packet.ptr, !packet.end_ptr
^a:
  // CHECK: packet.guard %p[0], %end
  // CHECK-NEXT: cf.cond_br %{{.*}}, ^b, ^out
  ebpf.jlt %end, %p, ^out, ^b : !packet.end_ptr, !packet.ptr
^b:
  // CHECK: packet.guard %p[1], %end
  // CHECK-NEXT: cf.cond_br %{{.*}}, ^c, ^out
  ebpf.jge %p, %end, ^out, ^c : !packet.ptr, !packet.end_ptr
^c:
  // CHECK: packet.guard %p[1], %end
  // CHECK-NEXT: cf.cond_br %{{.*}}, ^d, ^out
  ebpf.jgt %end, %p, ^d, ^out : !packet.end_ptr, !packet.ptr
^d:
  // Equality is no guard, and neither is half a comparison.
  // CHECK: ebpf.jeq %p, %end
  ebpf.jeq %p, %end, ^out, ^e : !packet.ptr, !packet.end_ptr
^e:
  // CHECK: ebpf.jgt32 %p, %end
  ebpf.jgt32 %p, %end, ^out, ^out : !packet.ptr, !packet.end_ptr
^out:
  ebpf.end
}

// Metadata is bounded by the start of the packet.

// CHECK-LABEL: ebpf.func @metadata
ebpf.func @metadata section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %m : !packet.meta_ptr, %data : !packet.ptr):
  // CHECK: packet.guard %m[4], %data : !packet.meta_ptr, !packet.ptr -> i1
  %limit = ebpf.addi %m, 4 : !packet.meta_ptr -> !packet.meta_ptr
  ebpf.jgt %limit, %data, ^out, ^in : !packet.meta_ptr, !packet.ptr
^in:
  // CHECK: packet.load %m[0] : !packet.meta_ptr -> i32
  %x = ebpf.ldx32 %m[0] : !packet.meta_ptr -> i64
  ebpf.exit (%x) : i64
^out:
  ebpf.end
}

// A subprogram's exit is no verdict; a load through a word of unknown kind stays.

// CHECK-LABEL: ebpf.func @subprogram
ebpf.func @subprogram section ".text" {
^entry(%x : !ebpf.reg):
  // CHECK: ebpf.ldx32 %x[0] : reg -> i64
  %y = ebpf.ldx32 %x[0] : reg -> i64
  // CHECK-NEXT: ebpf.exit (%y) : i64
  ebpf.exit (%y) : i64
}

// An access whose offset the loader writes keeps its base and its relocation. (What is sign-extended stays: the loader
// may make it an access of another size.)

// CHECK-LABEL: ebpf.func @relocated
ebpf.func @relocated section "xdp" attributes {prog_type = "xdp"} {
^entry(%data : !packet.ptr):
  %l3 = ebpf.addi %data, 14 : !packet.ptr -> !packet.ptr
  // CHECK: packet.load %l3[9] {{.core = .type = .*, access = "0:2".*}} : !packet.ptr -> i8
  %protocol = ebpf.ldx8 %l3[9] {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr -> i64
  // CHECK: packet.store %l3[8], %{{.*}} {{.core = .*}} : !packet.ptr, i8
  ebpf.stx8 %l3[8], %protocol {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr, i64
  // CHECK-NEXT: ebpf.ldxs8 %l3[8]
  %signed = ebpf.ldxs8 %l3[8] {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr -> i64
  // CHECK-NEXT: ebpf.addi %l3, 4
  %moved = ebpf.addi %l3, 4 {core = {type = #builtin.int<1>, access = "0:2", kind = #builtin.int<0>}} : !packet.ptr -> !packet.ptr
  ebpf.exit (%signed) : i64
}

// What is left of socket filters in programs on socket buffers: a number in network order, or the end.

// CHECK-LABEL: ebpf.func @legacy
ebpf.func @legacy section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !packet.ctx):
  // CHECK: %[[T:.*]] = packet.fetch %ctx[12] : !packet.ctx -> i16
  // CHECK-NEXT: %type = arith.extui %[[T]] : i16 to i64
  %type = ebpf.ld_abs16 %ctx[12] : !packet.ctx -> i64
  // CHECK-NEXT: %[[B:.*]] = packet.fetch_at %ctx[%type + 14] : !packet.ctx, i64 -> i8
  // CHECK-NEXT: %byte = arith.extui %[[B]] : i8 to i64
  %byte = ebpf.ld_ind8 %ctx[%type + 14] : !packet.ctx, i64 -> i64
  ebpf.exit (%byte) : i64
}
