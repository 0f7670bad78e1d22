// What passes report: at the operation, on stderr, and checkable.
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py -p 'count-ops{limit=1},give-up' --split-input-file --verify-diagnostics
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py -p 'count-ops{limit=1}' -o /dev/null 2>&1 | filecheck %s
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py -p 'count-ops{limit=1}' -o /dev/null --quiet 2> %t && not test -s %t
// RUN: not fs-opt %s --load-plugin %S/Inputs/plugin.py -p 'count-ops{limit=1 strict}' 2>&1 | filecheck %s --check-prefix STRICT
// RUN: not fs-opt %s --load-plugin %S/Inputs/plugin.py -p give-up --no-fallback 2>&1 | filecheck %s --check-prefix FALLBACK

// CHECK: remarks.mlir:[[# @LINE + 5]]:1: remark: 1 operations
// FALLBACK: remarks.mlir:[[# @LINE + 4]]:1: error: in pass 'give-up': kept as it is (--no-fallback forbids keeping the original)

// expected-remark@+2 {{1 operations}}
// expected-remark@below {{kept as it is}}
func.func @short() {
  func.return
}

// CHECK: remarks.mlir:[[# @LINE + 4]]:1: warning: 2 operations are more than 1
// STRICT: remarks.mlir:[[# @LINE + 3]]:1: error: in pass 'count-ops': 2 operations are more than 1

// expected-warning@below {{more than 1}}
func.func @long() {
  "test.op"() : () -> ()
  func.return
}
