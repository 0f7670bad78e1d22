// RUN: fs-opt %s -p raise-scalars | filecheck %s

// CHECK-LABEL: ebpf.func @arithmetic
ebpf.func @arithmetic section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64, %y : i64):
  // CHECK: %a = arith.addi %x, %y : i64
  %a = ebpf.add %x, %y : i64, i64 -> i64
  // CHECK-NEXT: %[[C:.*]] = arith.constant -1 : i64
  // CHECK-NEXT: %b = arith.andi %a, %[[C]] : i64
  %b = ebpf.andi %a, -1 : i64 -> i64
  // A 32-bit operation is one on the low halves, which clears the high one.
  // CHECK-NEXT: %[[B:.*]] = arith.trunci %b : i64 to i32
  // CHECK-NEXT: %[[S:.*]] = arith.constant 3 : i32
  // CHECK-NEXT: %[[R:.*]] = arith.shli %[[B]], %[[S]] : i32
  // CHECK-NEXT: %c = arith.extui %[[R]] : i32 to i64
  %c = ebpf.lshi32 %b, 35 : i64 -> i64
  // CHECK-NEXT: %[[T:.*]] = arith.trunci %c : i64 to i8
  // CHECK-NEXT: %d = arith.extsi %[[T]] : i8 to i64
  %d = ebpf.movsx8 %c : i64 -> i64
  // CHECK-NEXT: %[[SEVEN:.*]] = arith.constant 7 : i64
  // CHECK-NEXT: %e = arith.divui %d, %[[SEVEN]] : i64
  %e = ebpf.divi %d, 7 : i64 -> i64
  // The machine masks shift amounts and divides by zero, arith does neither; byte order has no operation there.
  // CHECK-NEXT: %f = ebpf.lsh %e, %y
  %f = ebpf.lsh %e, %y : i64, i64 -> i64
  // CHECK-NEXT: %g = ebpf.div %f, %y
  %g = ebpf.div %f, %y : i64, i64 -> i64
  // CHECK-NEXT: %h = ebpf.modi %g, 0
  %h = ebpf.modi %g, 0 : i64 -> i64
  // CHECK-NEXT: %i = ebpf.be16 %h
  %i = ebpf.be16 %h : i64 -> i64
  ebpf.exit (%i) : i64
}

// CHECK-LABEL: ebpf.func @control
ebpf.func @control section "xdp" attributes {prog_type = "xdp"} {
^entry(%x : i64, %p : !ebpf.reg):
  // CHECK: %[[TEN:.*]] = arith.constant 10 : i64
  // CHECK-NEXT: %[[LESS:.*]] = arith.cmpi slt, %x, %[[TEN]] : i64
  // CHECK-NEXT: cf.cond_br %[[LESS]], ^a, ^out(%x : i64)
  ebpf.jslti %x, 10, ^a, ^out(%x : i64) : i64
^a:
  // CHECK: %[[M:.*]] = arith.constant 4 : i32
  // CHECK-NEXT: %[[BOTH:.*]] = arith.andi %{{.*}}, %[[M]] : i32
  // CHECK-NEXT: %[[NONE:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: arith.cmpi ne, %[[BOTH]], %[[NONE]] : i32
  ebpf.jseti32 %x, 4, ^b, ^out(%x : i64) : i64
^b:
  // A word of unknown kind is compared by the machine.
  // CHECK: ebpf.jeqi %p, 0, ^c, ^out(%x : i64) : reg
  ebpf.jeqi %p, 0, ^c, ^out(%x : i64) : reg
^c:
  // CHECK: cf.br ^out(%x : i64)
  ebpf.ja ^out(%x : i64)
^out(%v : i64):
  ebpf.exit (%v) : i64
}
