// RUN: fs-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{function f has no blocks}}
ebpf.func @f section "xdp" {
}

// -----

// expected-error@+1 {{arguments are r1 to r5}}
ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r6>):
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{does not fit a machine register}}
  %b = ebpf.mov %a : r1 -> i128
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{expected 1 operand types but had 2}}
  %b = ebpf.add %a, %a : r1 -> r1
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{Operation ebpf.addd is not registered}}
  %b = ebpf.addd %a, %a : r1, r1 -> r1
  ebpf.end
}

// -----

// Operands of a branch are its own, and those of its successors.

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{operand count (1) does not match with the total size (2) specified in attribute}}
  "ebpf.jeqi"(%a) [^one, ^one] <{imm = #builtin.int<0>, operandSegmentSizes = array<i32: 1, 1, 0>}> : (!ebpf.reg<r1>) -> ()
^one:
  ebpf.end
}

// -----

// `unused` may name only fields that the instruction does not use.

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{unused names a field that add uses}}
  %b = ebpf.add %a, %a {unused = {src = #builtin.int<3>}} : r1, r1 -> r1
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{unused must be a dictionary with imm (#builtin.int)}}
  %b = ebpf.add %a, %a {unused = {imm = "three"}} : r1, r1 -> r1
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{unused names a field that lddw uses}}
  %m = ebpf.ld_sym @m {unused = {dst = #builtin.int<3>}} -> r1
  ebpf.end
}

// -----

// A CO-RE relocation has a type, an access string and a kind.

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{core must be a dictionary with type (#builtin.int), access (string), kind (#builtin.int)}}
  %b = ebpf.addi %a, 4 {core = {access = "0:1"}} : r1 -> r1
  ebpf.end
}

// -----

// What does not decode is eight bytes.

ebpf.func @f section "xdp" {
^entry:
  // expected-error@+1 {{bytes is 2 bytes, must be 8}}
  ebpf.raw "0102"
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry:
  // expected-error@+1 {{bytes is not hexadecimal}}
  ebpf.raw "no number at all"
  ebpf.end
}

// -----

ebpf.func @f section "xdp" {
^entry:
  // expected-error@+1 {{reloc_type is -1, must be an unsigned number of 32 bits}}
  ebpf.raw "0102030405060708" {reloc_type = #builtin.int<-1>}
  ebpf.end
}

// -----

// Each branch passes as many values as the block takes.

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{passes () to successor #0, whose block takes (!ebpf.reg<r1>)}}
  ebpf.ja ^next
^next(%b : !ebpf.reg<r1>):
  ebpf.end
}

// -----

// The operands of a branch are its own, and those of either way.

ebpf.func @f section "xdp" {
^entry(%a : !ebpf.reg<r1>):
  // expected-error@+1 {{operand count (1) does not match with the total size (2) specified in attribute 'operandSegmentSizes'}}
  "ebpf.jeqi"(%a)[^yes, ^no] <{imm = #builtin.int<0>, operandSegmentSizes = array<i32: 1, 1, 0>}> : (!ebpf.reg<r1>) -> ()
^no:
  ebpf.end
^yes:
  ebpf.end
}
