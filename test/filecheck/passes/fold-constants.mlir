// RUN: fs-opt %s -p fold-constants,eliminate-dead-code | filecheck %s

map.decl @flows "hash" key 4 value 8 entries 16 flags 0
map.decl @".rodata" "array" key 4 value 8 entries 1 flags 0 {internal}

// Constants through arithmetic, through the edges that are taken, around a loop.
// CHECK-LABEL: ebpf.func @propagated
// CHECK-NEXT:    ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:      cf.br ^bb1
// CHECK-NEXT:    ^bb1:
// CHECK-NEXT:      cf.br ^bb2
// CHECK:           %[[SEVEN:.*]] = arith.constant 7 : i64
// CHECK-NEXT:      packet.verdict %[[SEVEN]] : i64
// CHECK-NEXT:    }
ebpf.func @propagated section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %three = arith.constant 3 : i64
  %four = ebpf.addi %three, 1 : i64 -> i64
  cf.br ^bb1(%three : i64)
^bb1(%x: i64):
  %zero = arith.constant 0 : i64
  %none = ebpf.div %four, %zero : i64, i64 -> i64
  %odd = arith.cmpi ne, %none, %zero : i64
  cf.cond_br %odd, ^bb1(%four : i64), ^bb2(%x : i64)
^bb2(%y: i64):
  %sum = arith.addi %y, %four : i64
  packet.verdict %sum : i64
}

// What bits are known decides comparisons and makes masks superfluous.
// CHECK-LABEL: ebpf.func @known_bits
// CHECK:           %[[BYTE:.*]] = packet.load
// CHECK-NEXT:      %[[WORD:.*]] = arith.extui %[[BYTE]] : i8 to i64
// CHECK-NEXT:      cf.br ^bb1
// CHECK-NEXT:    ^bb1:
// CHECK-NEXT:      packet.verdict %[[WORD]] : i64
ebpf.func @known_bits section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %byte = packet.load %data[0] : !packet.ptr -> i8
  %word = arith.extui %byte : i8 to i64
  %mask = arith.constant 65535 : i64
  %masked = arith.andi %word, %mask : i64
  %limit = arith.constant 300 : i64
  %large = arith.cmpi ugt, %masked, %limit : i64
  cf.cond_br %large, ^bb1, ^bb2
^bb1:
  packet.verdict %limit : i64
^bb2:
  packet.verdict %masked : i64
}

// ... but not for what an address is computed from: the verifier would not see the bound.
// CHECK-LABEL: ebpf.func @bounds_stay
// CHECK:           ebpf.be16
// CHECK:           arith.andi
// CHECK:           arith.cmpi ugt
// CHECK:           packet.advance
ebpf.func @bounds_stay section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %length = packet.load %data[2] : !packet.ptr -> i16
  %word = arith.extui %length : i16 to i64
  %host = ebpf.be16 %word : i64 -> i64
  %mask = arith.constant 65535 : i64
  %masked = arith.andi %host, %mask : i64
  %limit = arith.constant 65535 : i64
  %large = arith.cmpi ugt, %masked, %limit : i64
  cf.cond_br %large, ^bb1, ^bb2
^bb1:
  packet.verdict %limit : i64
^bb2:
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %payload = packet.advance %data, %masked : !packet.ptr, i64 -> !packet.ptr
  %fits = packet.guard %payload[1], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %fits, ^bb3, ^bb1
^bb3:
  %first = packet.load %payload[0] : !packet.ptr -> i8
  %verdict = arith.extui %first : i8 to i64
  packet.verdict %verdict : i64
}

// The two shifts by which machine code without 32-bit moves clears the upper half.
// CHECK-LABEL: ebpf.func @shift_pairs
// CHECK-NEXT:    ^bb0(%x: i64):
// CHECK-NEXT:      %[[LOW:.*]] = arith.trunci %x : i64 to i32
// CHECK-NEXT:      %[[EXT:.*]] = arith.extui %[[LOW]] : i32 to i64
// CHECK-NEXT:      %[[MASK:.*]] = arith.constant -16 : i64
// CHECK-NEXT:      %[[CLEARED:.*]] = arith.andi %x, %[[MASK]] : i64
// CHECK-NEXT:      arith.addi %[[EXT]], %[[CLEARED]] : i64
ebpf.func @shift_pairs section "xdp" {
^bb0(%x: i64):
  %half = arith.constant 32 : i64
  %up = arith.shli %x, %half : i64
  %low = arith.shrui %up, %half : i64
  %four = arith.constant 4 : i64
  %down = arith.shrui %x, %four : i64
  %cleared = arith.shli %down, %four : i64
  %sum = arith.addi %low, %cleared : i64
  ebpf.exit(%sum) : i64
}

// A comparison of swapped bytes swaps the constant instead. (Not when the swapped word is used otherwise, too.)
// CHECK-LABEL: ebpf.func @byte_order
// CHECK:           %[[PROTO:.*]] = arith.extui
// CHECK:           %[[IPV4:.*]] = arith.constant 8 : i64
// CHECK-NEXT:      arith.cmpi eq, %[[PROTO]], %[[IPV4]] : i64
// CHECK:           %[[TWICE:.*]] = ebpf.be16
// CHECK-NEXT:      %[[PORT:.*]] = arith.constant 53 : i64
// CHECK-NEXT:      arith.cmpi eq, %[[TWICE]], %[[PORT]] : i64
// CHECK:           packet.verdict %[[TWICE]] : i64
ebpf.func @byte_order section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %field = packet.load %data[12] : !packet.ptr -> i16
  %proto = arith.extui %field : i16 to i64
  %host = ebpf.be16 %proto : i64 -> i64
  %ipv4 = arith.constant 2048 : i64
  %is_ipv4 = arith.cmpi eq, %host, %ipv4 : i64
  cf.cond_br %is_ipv4, ^bb1, ^bb2
^bb1:
  %port_field = packet.load %data[36] : !packet.ptr -> i16
  %port = arith.extui %port_field : i16 to i64
  %host_port = ebpf.be16 %port : i64 -> i64
  %dns = arith.constant 53 : i64
  %is_dns = arith.cmpi eq, %host_port, %dns : i64
  cf.cond_br %is_dns, ^bb2, ^bb3
^bb2:
  packet.verdict %ipv4 : i64
^bb3:
  packet.verdict %host_port : i64
}

// A 64-bit word swapped as 16 bits twice is not itself: the upper bits are gone.
// CHECK-LABEL: ebpf.func @swapped_twice
// CHECK:           ebpf.be16
// CHECK:           ebpf.be16
// CHECK:           ebpf.exit
ebpf.func @swapped_twice section "xdp" {
^bb0(%x: i64):
  %once = ebpf.be16 %x : i64 -> i64
  %twice = ebpf.be16 %once : i64 -> i64
  ebpf.exit(%twice) : i64
}

// Constants become immediates and known distances; nothing is folded through memory that a loader writes.
// CHECK-LABEL: ebpf.func @operands
// CHECK:           packet.offset %data[20]
// CHECK:           packet.load %data[22]
// CHECK:           ebpf.addi %fp, -8
// CHECK:           ebpf.st32 %fp[-4], 7
// CHECK:           map.load
// CHECK:           packet.verdict
ebpf.func @operands section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %fp = ebpf.frame -> !ebpf.fp
  %five = arith.constant 5 : i64
  %two = arith.constant 2 : i64
  %length = arith.shli %five, %two : i64
  %next = packet.advance %data, %length : !packet.ptr, i64 -> !packet.ptr
  %field = packet.load %next[2] : !packet.ptr -> i64
  %minus = arith.constant -8 : i64
  %slot = ebpf.add %fp, %minus : !ebpf.fp, i64 -> !ebpf.fp
  %seven = arith.constant 7 : i64
  ebpf.stx32 %fp[-4], %seven : !ebpf.fp, i64
  %unknown = ebpf.call 26(%ctx, %five, %slot, %length) : !packet.ctx, i64, !ebpf.fp, i64 -> i64
  %globals = ebpf.ld_sym @".rodata" -> !map.value<@".rodata">
  %there = map.hit %globals : !map.value<@".rodata"> -> i1
  cf.cond_br %there, ^bb1(%next : !packet.ptr), ^bb2
^bb1(%kept: !packet.ptr):
  packet.store %kept[0], %field : !packet.ptr, i64
  %flag = map.load %globals[0] : !map.value<@".rodata"> -> i64
  packet.verdict %flag : i64
^bb2:
  packet.verdict %five : i64
}

// A mask on a choice of constants goes even where an address may be made of the result: the kernel's verifier goes path by
// path, and sees the constants.
// CHECK-LABEL: ebpf.func @choice
// CHECK-NOT:     arith.andi
// CHECK:         ebpf.exit (%x) : i64
ebpf.func @choice section ".text" attributes {bind = #builtin.int<0>} {
^bb0(%a : i64, %b : i64):
  %zero = arith.constant 0 : i64
  %one = arith.constant 1 : i64
  %c = arith.cmpi eq, %a, %zero : i64
  cf.cond_br %c, ^end(%one : i64), ^next
^next:
  %d = arith.cmpi eq, %b, %one : i64
  cf.cond_br %d, ^end(%one : i64), ^end(%zero : i64)
^end(%x : i64):
  %r = arith.andi %x, %one : i64
  ebpf.exit (%r) : i64
}

// The low half of a word of unknown kind, by shifts; not where the upper half is used, or the amounts differ.
// CHECK-LABEL: ebpf.func @halves
// CHECK:           %[[WORD:.*]] = ebpf.cast %a : reg -> i64
// CHECK-NEXT:      %[[LOW:.*]] = arith.trunci %[[WORD]] : i64 to i32
// CHECK-NEXT:      %{{.*}} = arith.extui %[[LOW]] : i32 to i64
// CHECK:           %high = ebpf.lshi %b, 32
// CHECK-NEXT:      %low = ebpf.rshi %high, 32
// CHECK:           %up = ebpf.lshi %b, 32
// CHECK-NEXT:      %down = ebpf.rshi %up, 31
ebpf.func @halves section ".text" attributes {bind = #builtin.int<0>} {
^bb0(%a : !ebpf.reg, %b : !ebpf.reg):
  %0 = ebpf.lshi %a, 32 : reg -> reg
  %1 = ebpf.rshi %0, 32 : reg -> reg
  %high = ebpf.lshi %b, 32 : reg -> reg
  %low = ebpf.rshi %high, 32 : reg -> reg
  %up = ebpf.lshi %b, 32 : reg -> reg
  %down = ebpf.rshi %up, 31 : reg -> reg
  %s = ebpf.add %1, %high : reg, reg -> reg
  %t = ebpf.add %s, %low : reg, reg -> reg
  %u = ebpf.add %t, %down : reg, reg -> reg
  ebpf.exit (%u) : reg
}

// Addresses in the frame at known distances are distances from the frame pointer.
// CHECK-LABEL: ebpf.func @frame
// CHECK:           ebpf.st32 %fp[-44], 7
// CHECK-NEXT:      ebpf.stx8 %fp[-40], %x
// CHECK-NEXT:      %word = ebpf.ldx32 %fp[-44]
// CHECK-NEXT:      %far = ebpf.addi %fp, -38
ebpf.func @frame section ".text" attributes {bind = #builtin.int<0>} {
^bb0(%x : i64):
  %fp = ebpf.frame -> !ebpf.fp
  %length = arith.constant 18 : i64
  %buffer = ebpf.addi %fp, -64 : !ebpf.fp -> !ebpf.fp
  %inner = ebpf.add %buffer, %length : !ebpf.fp, i64 -> !ebpf.fp
  ebpf.st32 %inner[2], 7 : !ebpf.fp
  ebpf.stx8 %inner[6], %x : !ebpf.fp, i64
  %word = ebpf.ldx32 %inner[2] : !ebpf.fp -> i64
  %far = ebpf.addi %inner, 8 : !ebpf.fp -> !ebpf.fp
  %r0 = ebpf.call 4(%far, %word, %buffer) : !ebpf.fp, i64, !ebpf.fp -> i64
  ebpf.exit (%r0) : i64
}

// What a comparison bounds stays what the address is computed from: of the word that it was made from, the verifier
// does not know that. What bounds nothing is looked through.
// CHECK-LABEL: ebpf.func @bounded
// CHECK:           %wide = arith.extsi %x : i32 to i64
// CHECK:           %low = arith.trunci %wide : i64 to i32
// CHECK-NEXT:      %by = arith.extui %low : i32 to i64
// CHECK-NEXT:      %moved = packet.advance %p, %by
// CHECK-LABEL: ebpf.func @free
// CHECK:           %[[BY:.*]] = arith.extui %x : i32 to i64
// CHECK-NEXT:      %moved = packet.advance %p, %[[BY]]
ebpf.func @bounded section ".text" attributes {bind = #builtin.int<0>} {
^bb0(%p: !packet.ptr, %x: i32):
  %wide = arith.extsi %x : i32 to i64
  %limit = arith.constant 765 : i64
  %large = arith.cmpi ugt, %wide, %limit : i64
  %none = arith.constant 0 : i64
  cf.cond_br %large, ^no, ^yes
^yes:
  %low = arith.trunci %wide : i64 to i32
  %by = arith.extui %low : i32 to i64
  %moved = packet.advance %p, %by : !packet.ptr, i64 -> !packet.ptr
  %byte = packet.load %moved[0] : !packet.ptr -> i8
  %result = arith.extui %byte : i8 to i64
  ebpf.exit (%result) : i64
^no:
  ebpf.exit (%none) : i64
}
ebpf.func @free section ".text" attributes {bind = #builtin.int<0>} {
^bb0(%p: !packet.ptr, %x: i32):
  %wide = arith.extsi %x : i32 to i64
  %low = arith.trunci %wide : i64 to i32
  %by = arith.extui %low : i32 to i64
  %moved = packet.advance %p, %by : !packet.ptr, i64 -> !packet.ptr
  %byte = packet.load %moved[0] : !packet.ptr -> i8
  %result = arith.extui %byte : i8 to i64
  ebpf.exit (%result) : i64
}
