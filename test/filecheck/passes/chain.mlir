// RUN: fs-opt %s -p 'chain{at=bb3}' | filecheck %s
// RUN: fs-opt %s -p 'chain{at=bb3},lower-to-xdp' -t elf -o %t.o
// RUN: llvm-objdump -t -d %t.o | filecheck %s --check-prefix=OBJECT

// What lives where the program is cut goes to the next function in as few words as it fills: a byte of the packet, an
// address as its distance from the packet's start. A lookup is repeated, and what was proven of addresses proven again.

map.decl @stats "array" key 4 value 8 entries 2 flags 0

// CHECK: ebpf.func @prog section "xdp"
// CHECK: cf.cond_br %long, ^[[HEADER:bb[0-9]+]], ^
// CHECK: ^[[HEADER]]
// CHECK: %[[LOW:.*]] = arith.shli
// CHECK: %[[WORD:.*]] = arith.ori
// CHECK-NEXT: %[[VERDICT:.*]] = ebpf.call_local @prog_chain1(%ctx, %[[WORD]]) {via = "prog_chain1"} : !packet.ctx, i64 -> i64
// CHECK-NEXT: packet.verdict %[[VERDICT]]

// CHECK: ebpf.func @prog_chain1 section ".text" attributes {btf_func = #builtin.int<9>}
// CHECK-NEXT: ^bb0(%ctx: !packet.ctx, %{{.*}}: i64):
// CHECK: arith.constant 15 : i64
// CHECK-NEXT: arith.andi
// CHECK: map.lookup @stats
// CHECK: packet.advance
// CHECK: packet.guard %start{{.*}}[4], %
// CHECK: map.hit
// CHECK: packet.load %start{{.*}}[0]
// CHECK: ebpf.exit

// CHECK: object.section ".BTF" {{.*}}data = "{{.*}}70726f675f636861696e3100
// CHECK: object.section ".text" type 1 flags 6 align 8

// OBJECT: g     F xdp {{.*}} prog
// OBJECT: g     F .text {{.*}} prog_chain1
ebpf.func @prog section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %key = arith.constant 0 : i32
  %stats = map.lookup @stats(%key) : i32 -> !map.value<@stats>
  %drop = arith.constant 1 : i64
  %hit = map.hit %stats : !map.value<@stats> -> i1
  cf.cond_br %hit, ^look, ^out(%drop : i64)
^look:
  %some = packet.guard %data[15], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %some, ^header, ^out(%drop : i64)
^header:
  %size8 = packet.load %data[14] : !packet.ptr -> i8
  %size = arith.extui %size8 : i8 to i64
  %c15 = arith.constant 15 : i64
  %low = arith.andi %size, %c15 : i64
  %start = packet.advance %data, %low : !packet.ptr, i64 -> !packet.ptr
  %long = packet.guard %start[4], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %long, ^work, ^out(%drop : i64)
^work:
  %word = packet.load %start[0] : !packet.ptr -> i32
  %wide = arith.extui %word : i32 to i64
  map.store %stats[0], %wide : !map.value<@stats>, i64
  cf.br ^out(%low : i64)
^out(%verdict: i64):
  packet.verdict %verdict : i64
}
object.section "xdp" type 1 flags 6 align 8
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
object.section ".BTF" type 1 flags 0 align 4 {data = "9feb010018000000000000007000000070000000340000000100000000000001040000002000000105000000000000010400000020000000200000000200000408000000120000000200000000000000170000000200000020000000000000000000000203000000000000000100000d0100000027000000040000002b0000000100000c0500000000696e7400756e7369676e656420696e74006461746100646174615f656e64007864705f6d64006374780070726f670078647000"}
object.section ".BTF.ext" type 1 flags 0 align 4 {data = "9feb010020000000000000001400000014000000040000001800000000000000080000003000000001000000000000000600000010000000"}
