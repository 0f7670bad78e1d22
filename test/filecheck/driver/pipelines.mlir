// Both spellings of a pipeline run the same passes; anchors only group.
// RUN: fs-opt %s -p canonicalize,dce | filecheck %s
// RUN: fs-opt %s --pass-pipeline 'builtin.module(canonicalize, func.func(dce))' | filecheck %s
// RUN: fs-opt %s -p canonicalize -p dce | filecheck %s
// RUN: fs-opt %s -p 'builtin.module()' | filecheck %s --check-prefix NONE

// CHECK:       func.func @sum() -> i32 {
// CHECK-NEXT:    %[[SUM:.*]] = arith.constant 3 : i32
// CHECK-NEXT:    func.return %[[SUM]] : i32
// NONE:          arith.addi
func.func @sum() -> i32 {
  %one = arith.constant 1 : i32
  %two = arith.constant 2 : i32
  %sum = arith.addi %one, %two : i32
  func.return %sum : i32
}
