// Operations without a location have the place where they stand in the text.
// RUN: fs-opt %s --print-debuginfo | filecheck %s
// RUN: fs-opt %s --print-op-generic | filecheck %s --check-prefix GENERIC

func.func @f() {
  // CHECK: "test.op"() : () -> () loc("{{.*}}locations.mlir":[[# @LINE + 2]]:3)
  // GENERIC: "func.func"()
  "test.op"() : () -> ()
  // CHECK: "test.op"() : () -> () loc("prog.c":7:9)
  "test.op"() : () -> () loc("prog.c":7:9)
  // CHECK: "test.op"() : () -> () loc(unknown)
  "test.op"() : () -> () loc(unknown)
  func.return
}
