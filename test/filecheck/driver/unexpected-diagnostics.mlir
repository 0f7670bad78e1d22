// RUN: not fs-opt %s --split-input-file --verify-diagnostics 2>&1 | filecheck %s

// CHECK: unexpected-diagnostics.mlir:[[# @LINE + 2]]:3: error: unexpected error: 'arith.addi' operand #0 (%one)
func.func @unexpected() -> i32 {
  %sum = arith.addi %one, %one : i32
  %one = arith.constant 1 : i32
  func.return %sum : i32
}

// -----

// CHECK: error: expected error "never" was not produced on line
func.func @missing() {
  // expected-error@+1 {{never}}
  func.return
}

// -----

// CHECK: error: malformed expectation
func.func @malformed() {
  // expected-error: never
  func.return
}
