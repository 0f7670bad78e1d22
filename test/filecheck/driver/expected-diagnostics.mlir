// Expectations in comments are checked: each must be met, and nothing else may come.
// RUN: fs-opt %s --split-input-file --verify-diagnostics

func.func @used_too_early() -> i32 {
  // expected-error@below {{used before its definition by 'arith.constant'}}
  %sum = arith.addi %one, %one : i32
  %one = arith.constant 1 : i32
  func.return %sum : i32
}

// -----

func.func @refused_by_the_parser() {
  "test.op"() : () -> i33x
  // expected-error@-1 {{type expected}}
  func.return
}

// -----

func.func @wrong_type() -> i32 {
  // expected-error@+1 {{does not verify}}
  "func.return"() : () -> ()
}

// -----

func.func @nothing_wrong() {
  func.return
}
