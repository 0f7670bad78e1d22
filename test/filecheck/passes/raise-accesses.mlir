// RUN: fs-opt %s -p raise-accesses | filecheck %s

map.decl @m "hash" key 8 value 4 entries 1 flags 0

// A global function without a prototype may have written the frame, so that the kind of what is loaded after it is not
// known. Once the look-up takes its key as a value, nothing else has the address of the key: the slot is a value, which
// is known to be a number, and what it is added to stays an address of the packet.

// CHECK-LABEL: ebpf.func @key
ebpf.func @key section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx : !ebpf.reg):
  %fp = ebpf.frame -> reg
  // CHECK: %data = packet.data %ctx
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  // CHECK: %[[X:.*]] = arith.extui %{{.*}} : i32 to i64
  %x = ebpf.ldx32 %ctx[16] : reg -> reg
  ebpf.stx64 %fp[-8], %x : reg, reg
  %m = ebpf.ld_sym @m -> reg
  %k = ebpf.addi %fp, -8 : reg -> reg
  // CHECK: map.lookup @m(%[[X]])
  %v = ebpf.call 1(%m, %k) : reg, reg -> reg
  %c = ebpf.call_local @replaceable(%x) : reg -> reg
  %again = ebpf.ldx64 %fp[-8] : reg -> reg
  // CHECK-NOT: ebpf.cast
  // CHECK: %[[P:.*]] = packet.advance %data, %[[X]]
  %p = ebpf.add %data, %again : reg, reg -> reg
  // CHECK: packet.load %[[P]][0] : !packet.ptr -> i8
  %b = ebpf.ldx8 %p[0] : reg -> reg
  ebpf.exit (%b) : reg
}

ebpf.func @replaceable section ".text" {
^entry(%x : !ebpf.reg):
  ebpf.exit (%x) : reg
}
