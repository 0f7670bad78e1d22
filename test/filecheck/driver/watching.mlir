// RUN: fs-opt %s -p canonicalize,dce --print-ir-after-all --print-ir-before dce --timing -o /dev/null 2>&1 | filecheck %s

// CHECK:      // -----// IR Dump After canonicalize //----- //
// CHECK-NEXT: builtin.module {
// CHECK:      // -----// IR Dump Before dce //----- //
// CHECK:      // -----// IR Dump After dce //----- //
// CHECK:      seconds   share  what
// CHECK:      read
// CHECK:      canonicalize
// CHECK:      dce
// CHECK:      emit mlir
// CHECK:      (verify)
// CHECK:      total
func.func @f() {
  func.return
}
