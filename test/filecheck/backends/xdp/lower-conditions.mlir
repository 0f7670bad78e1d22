// RUN: fs-opt %s -p lower-conditions | filecheck %s

// A selection is a branch to a block argument.
// CHECK-LABEL: ebpf.func @select
// CHECK:         %[[C:.*]] = arith.cmpi ult, %[[A:.*]], %[[B:.*]] : i64
// CHECK-NEXT:    cf.cond_br %[[C]], ^[[J:bb[0-9]+]](%[[A]] : i64), ^[[J]](%[[B]] : i64)
// CHECK-NEXT:  ^[[J]](%[[R:.*]]: i64):
// CHECK-NEXT:    ebpf.exit (%[[R]]) : i64
ebpf.func @select section "xdp" {
^bb0(%a : i64, %b : i64):
  %c = arith.cmpi ult, %a, %b : i64
  %r = arith.select %c, %a, %b : i64
  ebpf.exit(%r) : i64
}

// So is a comparison whose result is used as a value.
// CHECK-LABEL: ebpf.func @value
// CHECK:         cf.cond_br %{{.*}}, ^[[J:bb[0-9]+]](%{{.*}} : i1), ^[[J]](%{{.*}} : i1)
// CHECK-NEXT:  ^[[J]](%[[R:.*]]: i1):
// CHECK-NEXT:    arith.extui %[[R]] : i1 to i64
ebpf.func @value section "xdp" {
^bb0(%a : i64, %b : i64):
  %c = arith.cmpi ult, %a, %b : i64
  %r = arith.extui %c : i1 to i64
  ebpf.exit(%r) : i64
}

// Conjunction, disjunction and negation are branches on their parts.
// CHECK-LABEL: ebpf.func @parts
// CHECK:         cf.cond_br %[[C:.*]], ^[[SECOND:bb[0-9]+]], ^no
// CHECK-NEXT:  ^[[SECOND]]:
// CHECK-NEXT:    cf.cond_br %[[D:.*]], ^no, ^yes
ebpf.func @parts section "xdp" {
^bb0(%a : i64, %b : i64):
  %c = arith.cmpi ult, %a, %b : i64
  %d = arith.cmpi eq, %a, %b : i64
  %true = arith.constant true
  %n = arith.xori %d, %true : i1
  %e = arith.andi %c, %n : i1
  cf.cond_br %e, ^yes, ^no
^yes:
  ebpf.exit(%a) : i64
^no:
  ebpf.exit(%b) : i64
}
