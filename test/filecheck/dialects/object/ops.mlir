// RUN: %roundtrip

// CHECK: object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
// CHECK-NEXT: object.section ".data" type 1 flags 3 align 8 {
object.section ".data" type 1 flags 3 align 8 {data = "0000000000000000", relocs = [{offset = #builtin.int<0>, type = #builtin.int<2>, symbol = #builtin.int<1>, addend = #builtin.int<0>}]}
// CHECK-NEXT: object.symbol "_license" in 1 value 0 size 4 bind 1 type 1
object.symbol "_license" in 1 value 0 size 4 bind 1 type 1
