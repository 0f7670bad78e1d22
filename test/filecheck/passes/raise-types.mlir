// RUN: fs-opt %s -p raise-types | filecheck %s

map.decl @m "hash" key 4 value 8 entries 1 flags 0
map.decl @outer "array_of_maps" key 4 value 4 entries 1 flags 0 {inner = @m}
map.decl @sockets "sockmap" key 4 value 8 entries 1 flags 0
map.decl @other "hash" key 8 value 8 entries 1 flags 0
map.decl @".rodata" "array" key 4 value 8 entries 1 flags 0 {section = ".rodata", internal = unit}

// CHECK-LABEL: ebpf.func @kinds
// CHECK-NEXT:  ^entry(%ctx: !packet.ctx):
ebpf.func @kinds section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  // CHECK-NEXT: %fp = ebpf.frame -> !ebpf.fp
  %fp = ebpf.frame -> reg
  // CHECK-NEXT: ebpf.ldx32 %ctx[0] : !packet.ctx -> !packet.ptr
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  // CHECK-NEXT: ebpf.ldx32 %ctx[4] : !packet.ctx -> !packet.end_ptr
  %end = ebpf.ldx32 %ctx[4] : reg -> reg
  // CHECK-NEXT: ebpf.ldx32 %ctx[8] : !packet.ctx -> !packet.meta_ptr
  %meta = ebpf.ldx32 %ctx[8] : reg -> reg
  // CHECK-NEXT: ebpf.ldx32 %ctx[16] : !packet.ctx -> i64
  %queue = ebpf.ldx32 %ctx[16] : reg -> reg
  // CHECK-NEXT: ebpf.add %queue, %data : i64, !packet.ptr -> !packet.ptr
  %p = ebpf.add %queue, %data : reg, reg -> reg
  // CHECK-NEXT: ebpf.sub %end, %data : !packet.end_ptr, !packet.ptr -> i64
  %length = ebpf.sub %end, %data : reg, reg -> reg
  // The sum of two addresses is nothing known.
  // CHECK-NEXT: ebpf.add %p, %data : !packet.ptr, !packet.ptr -> reg
  %nonsense = ebpf.add %p, %data : reg, reg -> reg
  // CHECK-NEXT: ebpf.ld_sym @m -> !map.handle<@m>
  %m = ebpf.ld_sym @m -> reg
  // CHECK-NEXT: ebpf.ld_sym @".rodata" -> !map.value<@".rodata">
  %global = ebpf.ld_sym @".rodata" -> reg
  // CHECK-NEXT: ebpf.addi %fp, -4 : !ebpf.fp -> !ebpf.fp
  %key = ebpf.addi %fp, -4 : reg -> reg
  // CHECK-NEXT: ebpf.call 1(%m, %key) : !map.handle<@m>, !ebpf.fp -> !map.value<@m>
  %value = ebpf.call 1(%m, %key) : reg, reg -> reg
  // A lookup in a map of maps gives a map, one in a map of sockets neither that nor a value.
  %o = ebpf.ld_sym @outer -> reg
  // CHECK: ebpf.call 1(%o, %key) : !map.handle<@outer>, !ebpf.fp -> !map.handle<@outer::@inner>
  %inner = ebpf.call 1(%o, %key) : reg, reg -> reg
  // CHECK-NEXT: ebpf.call 1(%inner, %key) : !map.handle<@outer::@inner>, !ebpf.fp -> !map.value<@outer::@inner>
  %inside = ebpf.call 1(%inner, %key) : reg, reg -> reg
  %s = ebpf.ld_sym @sockets -> reg
  // CHECK: ebpf.call 1(%s, %key) : !map.handle<@sockets>, !ebpf.fp -> reg
  %socket = ebpf.call 1(%s, %key) : reg, reg -> reg
  // CHECK: ebpf.call 195(%m, %key, %queue) : !map.handle<@m>, !ebpf.fp, i64 -> !map.value<@m>
  %elsewhere = ebpf.call 195(%m, %key, %queue) : reg, reg, reg -> reg
  // A word from the stack may be anything, half a word is a scalar.
  // CHECK-NEXT: ebpf.ldx64 %fp[-8] : !ebpf.fp -> reg
  %spilled = ebpf.ldx64 %fp[-8] : reg -> reg
  // CHECK-NEXT: ebpf.ldx32 %fp[-8] : !ebpf.fp -> i64
  %half = ebpf.ldx32 %fp[-8] : reg -> reg
  ebpf.exit (%half) : reg
}

// Where an address meets a scalar, the kind is unknown, and both are cast to it.

// CHECK-LABEL: ebpf.func @meet
ebpf.func @meet section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  %one = ebpf.movi 1 -> reg
  // CHECK: %[[A:.*]] = ebpf.cast %one : i64 -> reg
  // CHECK-NEXT: %[[B:.*]] = ebpf.cast %data : !packet.ptr -> reg
  // CHECK-NEXT: ebpf.jeqi %ctx, 0, ^out(%[[A]] : reg), ^out(%[[B]] : reg) : !packet.ctx
  ebpf.jeqi %ctx, 0, ^out(%one : reg), ^out(%data : reg) : reg
// CHECK: ^out(%x: !ebpf.reg):
^out(%x : !ebpf.reg):
  ebpf.exit (%x) : reg
}

// Unless the scalar is a constant 0: then it is an address that may be null.

// CHECK-LABEL: ebpf.func @null
ebpf.func @null section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  %zero = ebpf.movi 0 -> reg
  // CHECK: %[[A:.*]] = ebpf.cast %zero : i64 -> !packet.ptr
  // CHECK-NEXT: ebpf.jeqi %ctx, 0, ^on(%[[A]] : !packet.ptr), ^on(%data : !packet.ptr) : !packet.ctx
  ebpf.jeqi %ctx, 0, ^on(%zero : reg), ^on(%data : reg) : reg
// CHECK: ^on(%x: !packet.ptr):
^on(%x : !ebpf.reg):
  // CHECK-NEXT: ebpf.addi %x, 4 : !packet.ptr -> !packet.ptr
  %y = ebpf.addi %x, 4 : reg -> reg
  // CHECK-NEXT: ebpf.jeqi %x, 0, ^out(%zero, %y : i64, !packet.ptr), ^out(%zero, %y : i64, !packet.ptr)
  ebpf.jeqi %x, 0, ^out(%zero, %y : reg, reg), ^out(%zero, %y : reg, reg) : reg
// Where nothing but 0 comes it is a scalar.
// CHECK: ^out(%n: i64, %z: !packet.ptr):
^out(%n : !ebpf.reg, %z : !ebpf.reg):
  // CHECK-NEXT: ebpf.addi %n, 1 : i64 -> i64
  %m = ebpf.addi %n, 1 : reg -> reg
  ebpf.exit (%m) : reg
}

// Where values of several maps meet it is one of theirs.

// CHECK-LABEL: ebpf.func @several
ebpf.func @several section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %fp = ebpf.frame -> reg
  %m = ebpf.ld_sym @m -> reg
  %value = ebpf.call 1(%m, %fp) : reg, reg -> reg
  %global = ebpf.ld_sym @".rodata" -> reg
  // CHECK: %[[A:.*]] = ebpf.cast %value : !map.value<@m> -> !map.value<@".rodata", @m>
  // CHECK-NEXT: %[[B:.*]] = ebpf.cast %global : !map.value<@".rodata"> -> !map.value<@".rodata", @m>
  ebpf.jeqi %ctx, 0, ^both(%value : reg), ^both(%global : reg) : reg
// CHECK: ^both(%x: !map.value<@".rodata", @m>):
^both(%x : !ebpf.reg):
  // CHECK-NEXT: ebpf.ldx64 %x[0] : !map.value<@".rodata", @m> -> i64
  %y = ebpf.ldx64 %x[0] : reg -> reg
  ebpf.exit (%y) : reg
}

// A loop's counter is a scalar because all that reaches it is.

// CHECK-LABEL: ebpf.func @loop
ebpf.func @loop section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !ebpf.reg):
  // CHECK: ebpf.ldx32 %ctx[76] : !packet.ctx -> !packet.ptr
  %data = ebpf.ldx32 %ctx[76] : reg -> reg
  %zero = ebpf.movi 0 -> reg
  ebpf.ja ^head(%zero, %data : reg, reg)
// CHECK: ^head(%i: i64, %p: !packet.ptr):
^head(%i : !ebpf.reg, %p : !ebpf.reg):
  %j = ebpf.addi %i, 1 : reg -> reg
  %q = ebpf.addi %p, 1 : reg -> reg
  ebpf.jlti %j, 10, ^head(%j, %q : reg, reg), ^out : reg
^out:
  ebpf.exit (%j) : reg
}

// A static function's arguments have the kind that all its callers pass; a global one may be called by anyone.

// CHECK-LABEL: ebpf.func @static
// CHECK-NEXT: ^entry(%a: !packet.ctx):
ebpf.func @static section ".text" attributes {bind = #builtin.int<0>} {
^entry(%a : !ebpf.reg):
  %r = ebpf.movi 0 -> reg
  ebpf.exit (%r) : reg
}
// CHECK-LABEL: ebpf.func @global
// CHECK-NEXT: ^entry(%a: !ebpf.reg):
ebpf.func @global section ".text" {
^entry(%a : !ebpf.reg):
  %r = ebpf.movi 0 -> reg
  ebpf.exit (%r) : reg
}
ebpf.func @calls section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  // CHECK: ebpf.call_local @static(%ctx) : !packet.ctx -> i64
  %r = ebpf.call_local @static(%ctx) : reg -> reg
  %s = ebpf.call_local @global(%ctx) : reg -> reg
  ebpf.exit (%s) : reg
}

// What a context field is depends on the program: `data` in one, `len` in the other, and either in what both call.

// CHECK-LABEL: ebpf.func @only_xdp
ebpf.func @only_xdp section ".text" attributes {bind = #builtin.int<0>} {
^entry(%ctx : !ebpf.reg):
  // CHECK: ebpf.ldx32 %ctx[0] : !packet.ctx -> !packet.ptr
  %r = ebpf.ldx32 %ctx[0] : reg -> reg
  ebpf.exit (%r) : reg
}
// CHECK-LABEL: ebpf.func @only_tc
ebpf.func @only_tc section ".text" attributes {bind = #builtin.int<0>} {
^entry(%ctx : !ebpf.reg):
  // CHECK: ebpf.ldx32 %ctx[0] : !packet.ctx -> i64
  %r = ebpf.ldx32 %ctx[0] : reg -> reg
  ebpf.exit (%r) : reg
}
// CHECK-LABEL: ebpf.func @both
ebpf.func @both section ".text" attributes {bind = #builtin.int<0>} {
^entry(%ctx : !ebpf.reg):
  // CHECK: ebpf.ldx32 %ctx[0] : !packet.ctx -> reg
  %r = ebpf.ldx32 %ctx[0] : reg -> reg
  ebpf.exit (%r) : reg
}
ebpf.func @calls_from_xdp section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %r = ebpf.call_local @only_xdp(%ctx) : reg -> reg
  %s = ebpf.call_local @both(%ctx) : reg -> reg
  ebpf.exit (%s) : reg
}
ebpf.func @calls_from_tc section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx : !ebpf.reg):
  %r = ebpf.call_local @only_tc(%ctx) : reg -> reg
  %s = ebpf.call_local @both(%ctx) : reg -> reg
  ebpf.exit (%s) : reg
}

// What a frame holds is known: a struct that one function fills, and another reads through its address.

// CHECK-LABEL: ebpf.func @fill
// CHECK-NEXT: ^entry(%ctx: !packet.ctx, %headers: !ebpf.fp):
ebpf.func @fill section ".text" attributes {bind = #builtin.int<0>} {
^entry(%ctx : !ebpf.reg, %headers : !ebpf.reg):
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  %end = ebpf.ldx32 %ctx[4] : reg -> reg
  ebpf.stx64 %headers[0], %data : reg, reg
  ebpf.stx64 %headers[8], %end : reg, reg
  %r = ebpf.movi 0 -> reg
  ebpf.exit (%r) : reg
}
// CHECK-LABEL: ebpf.func @read
ebpf.func @read section ".text" attributes {bind = #builtin.int<0>} {
^entry(%headers : !ebpf.reg):
  // CHECK: ebpf.ldx64 %headers[0] : !ebpf.fp -> !packet.ptr
  %p = ebpf.ldx64 %headers[0] : reg -> reg
  // CHECK-NEXT: ebpf.ldx64 %headers[8] : !ebpf.fp -> !packet.end_ptr
  %end = ebpf.ldx64 %headers[8] : reg -> reg
  %r = ebpf.movi 0 -> reg
  ebpf.exit (%r) : reg
}
ebpf.func @parses section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %fp = ebpf.frame -> reg
  %headers = ebpf.addi %fp, -16 : reg -> reg
  %r = ebpf.call_local @fill(%ctx, %headers) : reg, reg -> reg
  %s = ebpf.call_local @read(%headers) : reg -> reg
  ebpf.exit (%s) : reg
}

// The word at the offset of `data`, read from what may be the context on some path, may be an address.

// CHECK-LABEL: ebpf.func @perhaps
ebpf.func @perhaps section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  ebpf.jeqi %ctx, 0, ^on(%ctx : reg), ^on(%data : reg) : reg
^on(%x : !ebpf.reg):
  // CHECK: ebpf.ldx32 %x[0] : reg -> reg
  %y = ebpf.ldx32 %x[0] : reg -> reg
  // CHECK-NEXT: ebpf.ldx32 %x[16] : reg -> i64
  %z = ebpf.ldx32 %x[16] : reg -> reg
  ebpf.exit (%z) : reg
}

// Where several maps meet it is one of them; a map that was looked for may be null.

// CHECK-LABEL: ebpf.func @chosen
ebpf.func @chosen section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %a = ebpf.ld_sym @m -> reg
  %b = ebpf.ld_sym @other -> reg
  %o = ebpf.ld_sym @outer -> reg
  %key = ebpf.frame -> reg
  // CHECK: ebpf.jeqi %ctx, 0, ^join({{.*}} : !map.handle<@m, @other>), ^join({{.*}} : !map.handle<@m, @other>)
  ebpf.jeqi %ctx, 0, ^join(%a : reg), ^join(%b : reg) : reg
// CHECK: ^join(%h: !map.handle<@m, @other>):
^join(%h : !ebpf.reg):
  // CHECK-NEXT: ebpf.call 1(%h, %key) : !map.handle<@m, @other>, !ebpf.fp -> !map.value<@m, @other>
  %v = ebpf.call 1(%h, %key) : reg, reg -> reg
  %none = ebpf.movi 0 -> reg
  %found = ebpf.call 1(%o, %key) : reg, reg -> reg
  ebpf.jeqi %ctx, 0, ^last(%none : reg), ^last(%found : reg) : reg
// CHECK: ^last(%i: !map.handle<@outer::@inner>):
^last(%i : !ebpf.reg):
  ebpf.end
}

// What is called with every element of a map is given the map, and the address of the element's value.

// CHECK-LABEL: ebpf.func @each
// CHECK-NEXT: ^entry(%map: !map.handle<@m>, %key: !ebpf.reg, %value: !map.value<@m>, %ctx: !ebpf.fp):
ebpf.func @each section ".text" attributes {bind = #builtin.int<0>} {
^entry(%map : !ebpf.reg, %key : !ebpf.reg, %value : !ebpf.reg, %ctx : !ebpf.reg):
  %r = ebpf.movi 0 -> reg
  ebpf.exit (%r) : reg
}
ebpf.func @iterates section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %m = ebpf.ld_sym @m -> reg
  %f = ebpf.ld_sym @each -> reg
  %fp = ebpf.frame -> reg
  %flags = ebpf.movi 0 -> reg
  %n = ebpf.call 164(%m, %f, %fp, %flags) : reg, reg, reg, reg -> reg
  ebpf.exit (%n) : reg
}

// What an address's register holds where a flag says that there is none does not count: it is not read. Where it is, on
// that way or before the flag is asked, or where the flag is not known, the kind is.

// CHECK-LABEL: ebpf.func @flag_and_address
ebpf.func @flag_and_address section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  %stale = ebpf.ldx32 %ctx[16] : reg -> reg
  %no = ebpf.movi 4 -> reg
  %yes = ebpf.movi 1 -> reg
  // CHECK: %[[UNDEF:.*]] = ebpf.undef -> reg
  // CHECK: %[[NONE:.*]] = ebpf.cast %[[UNDEF]] : reg -> !packet.ptr
  // CHECK: ebpf.jeqi %ctx, 0, ^join(%no, %[[NONE]], %{{.*}} : i64, !packet.ptr, reg), ^join(%yes, %data, %{{.*}} : i64, !packet.ptr, reg)
  ebpf.jeqi %ctx, 0, ^join(%no, %stale, %stale : reg, reg, reg), ^join(%yes, %data, %data : reg, reg, reg) : reg
// CHECK: ^join(%flag: i64, %address: !packet.ptr, %both: !ebpf.reg):
^join(%flag : !ebpf.reg, %address : !ebpf.reg, %both : !ebpf.reg):
  %bit = ebpf.andi %flag, 1 : reg -> reg
  ebpf.jeqi %bit, 0, ^out(%both : reg), ^use(%address, %both : reg, reg) : reg
^use(%p : !ebpf.reg, %q : !ebpf.reg):
  %x = ebpf.ldx8 %p[0] : reg -> reg
  %y = ebpf.ldx8 %q[1] : reg -> reg
  ebpf.ja ^out(%x : reg)
^out(%r : !ebpf.reg):
  ebpf.exit (%r) : reg
}

// CHECK-LABEL: ebpf.func @address_is_read
// CHECK-NOT:     ebpf.undef
ebpf.func @address_is_read section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  %end = ebpf.ldx32 %ctx[4] : reg -> reg
  %word = ebpf.ldx32 %ctx[16] : reg -> reg
  %no = ebpf.movi 0 -> reg
  ebpf.jeqi %ctx, 0, ^join(%no, %data, %data, %data : reg, reg, reg, reg), ^join(%word, %end, %end, %end : reg, reg, reg, reg) : reg
// CHECK: ^join(%flag: i64, %here: !ebpf.reg, %there: !ebpf.reg, %unknown: !ebpf.reg):
^join(%flag : !ebpf.reg, %here : !ebpf.reg, %there : !ebpf.reg, %unknown : !ebpf.reg):
  ebpf.jeqi %here, 7, ^ask, ^ask : reg
^ask:
  ebpf.jeqi %flag, 0, ^out, ^use : reg
^use:
  %y = ebpf.ldx8 %unknown[0] : reg -> reg
  ebpf.ja ^out
^out:
  %w = ebpf.ldx8 %there[0] : reg -> reg
  ebpf.exit (%w) : reg
}

// A use in the next round of a loop is one of the next round's value.

// CHECK-LABEL: ebpf.func @next_round
ebpf.func @next_round section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %stale = ebpf.ldx32 %ctx[16] : reg -> reg
  %no = ebpf.movi 0 -> reg
  // CHECK: ebpf.ja ^head(%no, %{{.*}} : i64, !packet.ptr)
  ebpf.ja ^head(%no, %stale : reg, reg)
// CHECK: ^head(%flag: i64, %address: !packet.ptr):
^head(%flag : !ebpf.reg, %address : !ebpf.reg):
  ebpf.jeqi %flag, 0, ^again, ^use : reg
^again:
  %b = ebpf.ldx32 %ctx[0] : reg -> reg
  %word = ebpf.ldx32 %ctx[16] : reg -> reg
  ebpf.ja ^head(%word, %b : reg, reg)
^use:
  %y = ebpf.ldx8 %address[0] : reg -> reg
  ebpf.exit (%y) : reg
}

// A cast to an unknown kind hides nothing: the word is what it was.

// CHECK-LABEL: ebpf.func @hidden
ebpf.func @hidden section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !packet.ctx, %word : !ebpf.reg):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  // CHECK-NOT: ebpf.cast %data
  %hidden = ebpf.cast %data : !packet.ptr -> reg
  // CHECK: ebpf.ldx8 %data[4] : !packet.ptr -> i64
  %b = ebpf.ldx8 %hidden[4] : reg -> reg
  // CHECK: %[[N:.*]] = ebpf.cast %word : reg -> i64
  %number = ebpf.cast %word : reg -> i64
  // CHECK: ebpf.cast %[[N]] : i64 -> reg
  %again = ebpf.cast %number : i64 -> reg
  %c = ebpf.ldx8 %again[0] : reg -> reg
  ebpf.exit (%c) : reg
}
