// RUN: fs-opt %s -p 'chain{at=bb1,bb2,bb3,bb4,bb5,bb6,bb7,bb8,bb9}' | filecheck %s
// RUN: fs-opt %s -p 'chain{at=bb1,bb2,bb3,bb4,bb5,bb6,bb7,bb8,bb9},lower-to-xdp' | fs-run - --hex ffffffffffffffffffffffffffffff --json | filecheck %s --check-prefix=RUNS

// More functions than calls can nest: the program calls them in turn, each if the one before it says so. What is next, and
// the words that it takes, are on the program's stack.

// CHECK: ebpf.func @straight section "xdp"
// CHECK: %[[STATE:.*]] = ebpf.addi %{{.*}}, -16 : !ebpf.fp -> !ebpf.fp
// CHECK: ebpf.stx64 %[[STATE]][0], %
// CHECK: ebpf.stx64 %[[STATE]][8], %
// CHECK: %[[FIRST:.*]] = ebpf.call_local @straight_chain1(%ctx, %[[STATE]])
// CHECK-NEXT: cf.br ^[[TEST:bb[0-9]+]]
// CHECK: ^[[TEST]]
// CHECK-NEXT: %[[NEXT:.*]] = ebpf.ldx64 %[[STATE]][0]
// CHECK-NEXT: %[[TWO:.*]] = arith.constant 2 : i64
// CHECK-NEXT: arith.cmpi eq, %[[NEXT]], %[[TWO]]
// CHECK-NEXT: cf.cond_br %{{.*}}, ^{{.*}}, ^{{.*}}(%[[FIRST]] : i64)
// CHECK: ebpf.call_local @straight_chain9(%ctx, %[[STATE]])

// CHECK: ebpf.func @straight_chain1 section ".text"
// CHECK-NEXT: ^bb0(%ctx: !packet.ctx, %state: !ebpf.reg):
// CHECK-NEXT: ebpf.jeqi %state, 0, ^{{.*}}, ^
// CHECK: ebpf.ldx64 %state[8]
// CHECK-NOT: ebpf.call_local
// CHECK: ebpf.stx64 %state[0], %
// CHECK: ebpf.stx64 %state[8], %
// CHECK: ebpf.exit

// CHECK: ebpf.func @straight_chain9 section ".text"
// CHECK: %verdict = arith.addi
// CHECK-NEXT: %[[NOTHING:.*]] = arith.constant 0 : i64
// CHECK-NEXT: ebpf.stx64 %state[0], %[[NOTHING]]
// CHECK-NEXT: ebpf.exit

// RUNS: "verdict": 2
ebpf.func @straight section "xdp" attributes {prog_type = "xdp", btf_func = #builtin.int<6>} {
^entry(%ctx: !packet.ctx):
  %time = ebpf.call 5() -> i64
  %mask = arith.constant 1 : i64
  %v0 = arith.andi %time, %mask : i64
  cf.br ^b1
^b1:
  %t1 = ebpf.call 5() -> i64
  %s1 = arith.addi %v0, %t1 : i64
  %m1 = arith.constant 1 : i64
  %v1 = arith.muli %s1, %m1 : i64
  cf.br ^b2
^b2:
  %t2 = ebpf.call 5() -> i64
  %s2 = arith.addi %v1, %t2 : i64
  %m2 = arith.constant 2 : i64
  %v2 = arith.muli %s2, %m2 : i64
  cf.br ^b3
^b3:
  %t3 = ebpf.call 5() -> i64
  %s3 = arith.addi %v2, %t3 : i64
  %m3 = arith.constant 3 : i64
  %v3 = arith.muli %s3, %m3 : i64
  cf.br ^b4
^b4:
  %t4 = ebpf.call 5() -> i64
  %s4 = arith.addi %v3, %t4 : i64
  %m4 = arith.constant 4 : i64
  %v4 = arith.muli %s4, %m4 : i64
  cf.br ^b5
^b5:
  %t5 = ebpf.call 5() -> i64
  %s5 = arith.addi %v4, %t5 : i64
  %m5 = arith.constant 5 : i64
  %v5 = arith.muli %s5, %m5 : i64
  cf.br ^b6
^b6:
  %t6 = ebpf.call 5() -> i64
  %s6 = arith.addi %v5, %t6 : i64
  %m6 = arith.constant 6 : i64
  %v6 = arith.muli %s6, %m6 : i64
  cf.br ^b7
^b7:
  %t7 = ebpf.call 5() -> i64
  %s7 = arith.addi %v6, %t7 : i64
  %m7 = arith.constant 7 : i64
  %v7 = arith.muli %s7, %m7 : i64
  cf.br ^b8
^b8:
  %t8 = ebpf.call 5() -> i64
  %s8 = arith.addi %v7, %t8 : i64
  %m8 = arith.constant 8 : i64
  %v8 = arith.muli %s8, %m8 : i64
  cf.br ^b9
^b9:
  %t9 = ebpf.call 5() -> i64
  %s9 = arith.addi %v8, %t9 : i64
  %m9 = arith.constant 9 : i64
  %v9 = arith.muli %s9, %m9 : i64
  %none = arith.constant 0 : i64
  %low = arith.andi %v9, %none : i64
  %pass = arith.constant 2 : i64
  %verdict = arith.addi %low, %pass : i64
  packet.verdict %verdict : i64
}
object.section ".BTF" type 1 flags 0 align 4 {data = "9feb010018000000000000007000000070000000340000000100000000000001040000002000000105000000000000010400000020000000200000000200000408000000120000000200000000000000170000000200000020000000000000000000000203000000000000000100000d0100000027000000040000002b0000000100000c0500000000696e7400756e7369676e656420696e74006461746100646174615f656e64007864705f6d64006374780070726f670078647000"}
object.section ".BTF.ext" type 1 flags 0 align 4 {data = "9feb010020000000000000001400000014000000040000001800000000000000080000003000000001000000000000000600000010000000"}
