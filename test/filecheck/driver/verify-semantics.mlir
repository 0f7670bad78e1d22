// RUN: fs-opt %s -p raise,optimize,lower-to-xdp --verify-semantics -o /dev/null 2>&1 | filecheck %s --check-prefix SAME
// RUN: not fs-opt %s -p raise,loosen-guard --verify-semantics --load-plugin %S/Inputs/wrong_passes.py 2>&1 | filecheck %s --check-prefix GUARD
// RUN: not fs-opt %s -p raise,optimize,count-elsewhere,lower-to-xdp --verify-semantics --load-plugin %S/Inputs/wrong_passes.py 2>&1 | filecheck %s --check-prefix COUNT

// The program counts UDP packets to port 53, and drops those whose first byte of payload is 0x42. Packets are found for
// all of that; only the null check of the array's lookup has a side that none can take.

// SAME: note: dns: {{[0-9]+}} packets from {{[0-9]+}} states of the maps take 11 of 12 ways out of branches; 1 proven impossible, 0 open
// SAME-NOT: error

// GUARD: error: different behaviour after pass 'loosen-guard': dns differs on packet {{[0-9a-f]+}}{{.*}}: {{.*}}

// COUNT: error: different behaviour after pass 'count-elsewhere': dns differs on packet {{[0-9a-f]+}}: map counts, entries under key 00000000 differ: 01{{0+}} before and 000000000000000001{{0+}} after

map.decl @counts "array" key 4 value 16 entries 1 flags 0

ebpf.func @dns section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg<r1>):
  %data = ebpf.ldx32 %ctx[0] : r1 -> r2
  %end = ebpf.ldx32 %ctx[4] : r1 -> r3
  %p = ebpf.mov %data : r2 -> r4
  %after = ebpf.addi %p, 43 : r4 -> r4
  ebpf.jgt %after, %end, ^pass, ^type : r4, r3
^type:
  %proto = ebpf.ldx16 %data[12] : r2 -> r5
  ebpf.jnei %proto, 8, ^pass, ^ip : r5
^ip:
  %kind = ebpf.ldx8 %data[23] : r2 -> r5
  ebpf.jnei %kind, 17, ^pass, ^udp : r5
^udp:
  %port = ebpf.ldx16 %data[36] : r2 -> r5
  ebpf.jnei %port, 13568, ^pass, ^dns : r5
^dns:
  %first = ebpf.ldx8 %data[42] : r2 -> r6
  %fp = ebpf.frame -> r10
  ebpf.st32 %fp[-4], 0 : r10
  %m = ebpf.ld_sym @counts -> r1
  %k = ebpf.mov %fp : r10 -> r2
  %key = ebpf.addi %k, -4 : r2 -> r2
  %v = ebpf.call 1(%m, %key) : r1, r2 -> r0
  ebpf.jeqi %v, 0, ^pass, ^count : r0
^count:
  %one = ebpf.movi 1 -> r1
  ebpf.atomic_add64 %v[0], %one : r0, r1
  ebpf.jnei %first, 66, ^pass, ^drop : r6
^drop:
  %d = ebpf.movi 1 -> r0
  ebpf.exit (%d) : r0
^pass:
  %r = ebpf.movi 2 -> r0
  ebpf.exit (%r) : r0
}
