// Every pass is followed by a check of dominance, which xDSL does not make.
// RUN: fs-opt %s --split-input-file --verify-diagnostics

func.func @one_path_only(%c : i1) -> i32 {
  cf.cond_br %c, ^left, ^join
^left:
  %x = arith.constant 1 : i32
  cf.br ^join
^join:
  // expected-error@below {{does not dominate this use: a path from the entry avoids its definition}}
  func.return %x : i32
}

// -----

func.func @unreachable_code_is_not_checked() {
  func.return
^dead:
  %y = arith.addi %x, %x : i32
  %x = arith.constant 1 : i32
  func.return
}
