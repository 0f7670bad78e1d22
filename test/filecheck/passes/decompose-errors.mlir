// RUN: fs-opt %s -p 'decompose{targets=xdp,af-xdp cut-at=bb1}' --split-input-file --verify-diagnostics

// Where a program cannot be cut, and why.

map.decl @m "array" key 4 value 8 entries 1 flags 0
ebpf.func @locked section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = arith.constant 0 : i32
  %v = map.lookup @m(%key) : i32 -> !map.value<@m>
  %r = ebpf.call 93(%v) : !map.value<@m> -> i64
  cf.br ^held
^held:
  // expected-error@+1 {{cut-at: the program cannot be cut here: a spin lock may be held}}
  %pass = arith.constant 2 : i64
  %s = ebpf.call 94(%v) : !map.value<@m> -> i64
  packet.verdict %pass : i64
}

// -----

map.decl @devices "devmap" key 4 value 4 entries 1 flags 0
ebpf.func @redirected section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i64
  %pass = arith.constant 2 : i64
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %first = arith.cmpi eq, %queue, %queue : i32
  cf.cond_br %first, ^there, ^here(%pass : i64)
^later:
  // expected-error@+1 {{the packet's way out may have been chosen already (redirect), which only the kernel knows}}
  %error = packet.adjust_tail %ctx, %queue : !packet.ctx, i32 -> i64
  packet.verdict %verdict : i64
^here(%verdict: i64):
  cf.cond_br %first, ^later, ^out
^out:
  packet.verdict %pass : i64
^there:
  %redirected = map.redirect @devices[%zero] flags %zero : i64, i64 -> i64
  cf.br ^here(%redirected : i64)
}

// -----

map.decl @flows "hash" key 4 value 8 entries 4 flags 0
ebpf.func @moved section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = arith.constant 0 : i32
  %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %error = map.delete @flows(%key) : i32 -> i64
  %known = map.hit %v : !map.value<@flows> -> i1
  cf.cond_br %known, ^old, ^new
^old:
  // expected-error@+1 {{an element of map 'flows' is held, which may be replaced or deleted meanwhile}}
  %n = map.load %v[0] : !map.value<@flows> -> i64
  packet.verdict %n : i64
^new:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// -----

map.decl @m "array" key 4 value 8 entries 4 flags 0
ebpf.func @either section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i32
  %one = arith.constant 1 : i32
  %a = map.lookup @m(%zero) : i32 -> !map.value<@m>
  %b = map.lookup @m(%one) : i32 -> !map.value<@m>
  %x = map.hit %a : !map.value<@m> -> i1
  cf.cond_br %x, ^use(%a : !map.value<@m>), ^use(%b : !map.value<@m>)
^load:
  // expected-error@+1 {{an address (%v) (of map 'm') depends on the path taken}}
  %n = map.load %v[0] : !map.value<@m> -> i64
  packet.verdict %n : i64
^use(%v: !map.value<@m>):
  %hit = map.hit %v : !map.value<@m> -> i1
  cf.cond_br %hit, ^load, ^out
^out:
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}

// -----

ebpf.func @loop section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i64
  cf.br ^inside(%zero : i64)
^inside(%i: i64):
  // Its entry is a place to cut at; the handoff carries what the loop starts with.
  %one = arith.constant 1 : i64
  %next = arith.addi %i, %one : i64
  %ten = arith.constant 10 : i64
  %more = arith.cmpi ult, %next, %ten : i64
  cf.cond_br %more, ^inside(%next : i64), ^done
^done:
  packet.verdict %next : i64
}

// -----

// No target can run both of what one block needs, at once.

map.decl @flows "cgroup_array" key 4 value 8 entries 4 flags 0
// expected-error@+1 {{'nowhere': there is no placement: xdp cannot run it}}
ebpf.func @nowhere section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %key = arith.constant 0 : i32
  cf.br ^here
^here:
  %score = ebpf.call_kfunc 0() {callee = @regex_match} -> i64
  %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %hit = map.hit %v : !map.value<@flows> -> i1
  cf.cond_br %hit, ^out, ^out
^out:
  packet.verdict %score : i64
}

// -----

// User space would take what the compiler wrote there for the kernel's answer.
// expected-error@+1 {{only the loader of a kernel program can answer what it asks of the kernel}}
ebpf.func @asks section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %pass = arith.constant 2 : i64
  cf.br ^there
^there:
  %exists = ebpf.movi 1 {core = {type = #builtin.int<1>, access = "0:1", kind = #builtin.int<2>}} -> i64
  %verdict = arith.addi %exists, %pass : i64
  packet.verdict %verdict : i64
}

// -----

ebpf.func @metadata section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %by = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %error = packet.adjust_meta %ctx, %by : !packet.ctx, i32 -> i64
  cf.br ^grown
^grown:
  // expected-error@+1 {{the program has put metadata of its own in front of the packet, and how much is not known}}
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
}
