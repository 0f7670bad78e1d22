// RUN: fs-opt %s --split-input-file --verify-diagnostics

// Numbers are as wide as in the tables of an ELF file.

// expected-error@+1 {{type is 4294967296, must be an unsigned number of 32 bits}}
object.section "license" type 4294967296 flags 3 align 1 {data = "47504c00"}

// -----

// expected-error@+1 {{flags is -1, must be an unsigned number of 64 bits}}
object.section "license" type 1 flags -1 align 1 {data = "47504c00"}

// -----

// expected-error@+1 {{align is 18446744073709551616, must be an unsigned number of 64 bits}}
object.section "license" type 1 flags 3 align 18446744073709551616

// -----

// expected-error@+1 {{size is -4, must be an unsigned number of 64 bits}}
object.section ".bss" type 8 flags 3 align 8 {size = #builtin.int<-4>}

// -----

// expected-error@+1 {{info is 4294967296, must be an unsigned number of 32 bits}}
object.section ".symtab" type 2 flags 0 align 8 {info = #builtin.int<4294967296>}

// -----

// expected-error@+1 {{data is not hexadecimal}}
object.section "license" type 1 flags 3 align 1 {data = "GPL"}

// -----

// A relocation is a place, a type, a symbol and an addend.

// expected-error@+1 {{a relocation must be a dictionary with offset (#builtin.int), type (#builtin.int), symbol (#builtin.int), addend (#builtin.int)}}
object.section ".data" type 1 flags 3 align 8 {data = "0000000000000000", relocs = [{offset = #builtin.int<0>, type = #builtin.int<2>, symbol = #builtin.int<1>}]}

// -----

// expected-error@+1 {{symbol is -1, must be an unsigned number of 32 bits}}
object.section ".data" type 1 flags 3 align 8 {data = "0000000000000000", relocs = [{offset = #builtin.int<0>, type = #builtin.int<2>, symbol = #builtin.int<-1>, addend = #builtin.int<-8>}]}

// -----

// expected-error@+1 {{should be of base attribute string}}
object.section "license" type 1 flags 3 align 1 {data = #builtin.int<7>}

// -----

// expected-error@+1 {{section is 65536, must be an unsigned number of 16 bits}}
object.symbol "f" in 65536 value 0 size 4 bind 1 type 1

// -----

// expected-error@+1 {{bind is 16, must be an unsigned number of 4 bits}}
object.symbol "f" in 1 value 0 size 4 bind 16 type 1

// -----

// expected-error@+1 {{type is -1, must be an unsigned number of 4 bits}}
object.symbol "f" in 1 value 0 size 4 bind 1 type -1

// -----

// expected-error@+1 {{visibility is 256, must be an unsigned number of 8 bits}}
object.symbol "f" in 1 value 0 size 4 bind 1 type 1 {visibility = #builtin.int<256>}

// -----

// expected-error@+1 {{value is 18446744073709551616, must be an unsigned number of 64 bits}}
object.symbol "f" in 1 value 18446744073709551616 size 4 bind 1 type 1
