// RUN: fs-opt %s -p 'decompose{targets=xdp-5-15,af-xdp cut-at=bb1}' --split-input-file --verify-diagnostics

// What a cut cannot do: carry more than fits in front of the packet, move what only the kernel has, run on another hook.

ebpf.func @large section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %ok = packet.guard %data[40], %end : !packet.ptr, !packet.end_ptr -> i1
  %drop = arith.constant 1 : i64
  %a = ebpf.call 5() -> i64
  %b = ebpf.call 5() -> i64
  %c = ebpf.call 5() -> i64
  %d = ebpf.call 5() -> i64
  cf.br ^more
^more:
  // expected-error@+1 {{cut-at: the program cannot be cut here: 44 bytes would have to be carried; xdp-5-15 can send 32}}
  %x = arith.addi %a, %b : i64
  %y = arith.xori %c, %d : i64
  %z = arith.muli %x, %y : i64
  packet.verdict %z : i64
}

// -----

ebpf.func @own_metadata section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %by = arith.constant -24 : i32
  %error = packet.adjust_meta %ctx, %by : !packet.ctx, i32 -> i64
  cf.br ^more
^more:
  // expected-error@+1 {{the program cannot be cut here: 44 bytes would have to be carried; xdp-5-15 can send 32}}
  packet.verdict %error : i64
}

// -----

map.decl @jumps "prog_array" key 4 value 4 entries 4 flags 0
ebpf.func @tail_call section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %index = arith.constant 1 : i64
  cf.br ^jump
^jump:
  // expected-error@-5 {{bpf_tail_call (helper 12) cannot be called on AF_XDP: tail calls stay in the kernel}}
  %jumps = ebpf.ld_sym @jumps -> !map.handle<@jumps>
  %r = ebpf.call 12(%ctx, %jumps, %index) : !packet.ctx, !map.handle<@jumps>, i64 -> i64
  packet.verdict %r : i64
}

// -----

// expected-error@+1 {{there is no XDP program to place (others, and those of device and CPU maps, stay in the kernel)}}
ebpf.func @classifier section "tc" attributes {prog_type = "sched_cls"} {
^entry(%ctx: !packet.ctx):
  %ok = arith.constant 0 : i64
  ebpf.exit(%ok) : i64
}

// -----

// A cut that packets do not come to: the kernel cannot run what is in front of it.

ebpf.func @left_before section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %size = arith.constant 8 : i64
  %zero = arith.constant 0 : i64
  %pass = arith.constant 2 : i64
  %fp = ebpf.frame -> !ebpf.fp
  %to = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  %error = ebpf.call 4(%to, %size, %zero) : !ebpf.fp, i64, i64 -> i64
  cf.br ^here
^here:
  // expected-warning@+1 {{cut-at: no packet comes here on xdp-5-15, it is left before}}
  packet.verdict %pass : i64
}
