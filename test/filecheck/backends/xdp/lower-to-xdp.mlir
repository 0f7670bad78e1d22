// RUN: fs-opt %s -p lower-to-xdp --split-input-file | filecheck %s

// From packet operations to machine code, in one go.
// CHECK-LABEL: ebpf.func @prog
// CHECK-NEXT:  ^bb0(%[[CTX:.*]]: !ebpf.reg<r1>):
// CHECK:         %[[DATA:.*]] = ebpf.ldx32 %[[CTX]][0] : r1 -> [[D:r[0-9]]]
// CHECK-NEXT:    %[[END:.*]] = ebpf.ldx32 %[[CTX]][4] : r1 -> [[E:r[0-9]]]
// CHECK-NEXT:    %[[P:.*]] = ebpf.mov %[[DATA]] : [[D]] -> [[L:r[0-9]]]
// CHECK-NEXT:    %[[LIMIT:.*]] = ebpf.addi %[[P]], 14 : [[L]] -> [[L]]
// CHECK-NEXT:    %[[DROP:.*]] = ebpf.movi 1 -> r0
// CHECK-NEXT:    ebpf.jgt %[[LIMIT]], %[[END]], ^bb2(%[[DROP]] : r0), ^bb1 : [[L]], [[E]]
// CHECK-NEXT:  ^bb1:
// CHECK-NEXT:    ebpf.st8 %[[DATA]][0], 7 : [[D]]
// CHECK-NEXT:    %[[PASS:.*]] = ebpf.movi 2 -> r0
// CHECK-NEXT:    ebpf.fallthrough ^bb2(%[[PASS]] : r0)
// CHECK-NEXT:  ^bb2(%[[V:.*]]: !ebpf.reg<r0>):
// CHECK-NEXT:    ebpf.exit (%[[V]]) : r0
ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx : !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %ok = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  %drop = arith.constant 1 : i64
  %pass = arith.constant 2 : i64
  %seven = arith.constant 7 : i8
  cf.cond_br %ok, ^in, ^out(%drop : i64)
^in:
  packet.store %data[0], %seven : !packet.ptr, i8
  cf.br ^out(%pass : i64)
^out(%v : i64):
  packet.verdict %v : i64
}

// A function without any value is lowered, too.

// CHECK-LABEL: ebpf.func @endless
// CHECK-NOT: cf.br
// CHECK: ebpf.ja
ebpf.func @endless section ".text" {
  cf.br ^loop
^loop:
  cf.br ^loop
}
