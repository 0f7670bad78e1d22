// A defect in a pass, or what it leaves behind, is an error that names the pass; the reproducer shows it again.
// RUN: not fs-opt %s --load-plugin %S/Inputs/plugin.py -p dce,crash -o %t.out --crash-reproducer %t.repro 2>&1 | filecheck %s --check-prefix CRASH
// RUN: not ls %t.out
// RUN: not fs-opt %t.repro --from mlir --load-plugin %S/Inputs/plugin.py --run-reproducer 2>&1 | filecheck %s --check-prefix AGAIN
// RUN: not fs-opt %s --load-plugin %S/Inputs/plugin.py -p break-ir 2>&1 | filecheck %s --check-prefix BREAK
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py -p break-ir --no-verify-each
// RUN: not fs-opt %s --load-plugin %S/Inputs/plugin.py -p crash --debug 2>&1 | filecheck %s --check-prefix DEBUG
// RUN: not fs-opt %s --run-reproducer 2>&1 | filecheck %s --check-prefix NOREPRO

// CRASH:      error: in pass 'crash': internal error: KeyError: 'missing' (plugin.py:{{[0-9]+}}, in apply)
// CRASH-NEXT: note: this is a defect of the tool, not of the input
// CRASH-NEXT: note: the input and the pipeline are in {{.*}}.repro
// AGAIN:      error: in pass 'crash': internal error: KeyError: 'missing'
// BREAK:      failing-passes.mlir:[[# @LINE + 6]]:3: error: invalid IR after pass 'break-ir': 'arith.addi' operand #0 {{.*}}used before its definition
// DEBUG:      Traceback
// NOREPRO:    error: this file has no pipeline and target in its head

func.func @f() -> i32 {
  %x = arith.constant 1 : i32
  %y = arith.addi %x, %x : i32
  func.return %y : i32
}
