// RUN: fs-opt %s -p optimize | filecheck %s

map.decl @count "percpu_array" key 4 value 8 entries 256 flags 0

// What clang makes of counting packets by protocol, with every header checked by itself, comes down to its essence.
// CHECK-LABEL: ebpf.func @count_protocols
// CHECK-NEXT:    ^bb0(%ctx: !packet.ctx):
// CHECK-NEXT:      %data = packet.data %ctx
// CHECK-NEXT:      %end = packet.end %ctx
// CHECK-NEXT:      %guard = packet.guard %data[34], %end
// CHECK-NEXT:      cf.cond_br %guard, ^bb1, ^bb{{.*}}
// CHECK-NEXT:    ^bb1:
// CHECK-NEXT:      %type = packet.load %data[12] {field = "eth.h_proto"} : !packet.ptr -> i16
// CHECK-NEXT:      %word = arith.extui %type : i16 to i64
// CHECK-NEXT:      %[[IPV4:.*]] = arith.constant 8 : i64
// CHECK-NEXT:      %is_ip = arith.cmpi eq, %word, %[[IPV4]] : i64
// CHECK-NEXT:      cf.cond_br %is_ip
// CHECK:           %protocol = packet.load %data[23] {field = "ipv4.protocol"} : !packet.ptr -> i8
// CHECK-NEXT:      %[[KEY:.*]] = arith.extui %protocol : i8 to i32
// CHECK-NEXT:      map.lookup @count(%[[KEY]])
ebpf.func @count_protocols section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i64
  %guard = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %guard, ^bb1(%pass : i64), ^bb6(%pass : i64)
^bb1(%verdict: i64):
  %type = packet.load %data[12] {field = "eth.h_proto"} : !packet.ptr -> i16
  %word = arith.extui %type : i16 to i64
  %host = ebpf.be16 %word : i64 -> i64
  %ipv4 = arith.constant 2048 : i64
  %is_ip = arith.cmpi eq, %host, %ipv4 : i64
  cf.cond_br %is_ip, ^bb2, ^bb6(%verdict : i64)
^bb2:
  %data_1 = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end_1 = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %guard_1 = packet.guard %data_1[24], %end_1 : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %guard_1, ^bb3, ^bb6(%verdict : i64)
^bb3:
  %protocol = packet.load %data_1[23] : !packet.ptr -> i8
  %key = arith.extui %protocol : i8 to i64
  %byte = arith.constant 255 : i64
  %masked = arith.andi %key, %byte : i64
  %narrow = arith.trunci %masked : i64 to i32
  %value = map.lookup @count(%narrow) : i32 -> !map.value<@count>
  %hit = map.hit %value : !map.value<@count> -> i1
  cf.cond_br %hit, ^bb4, ^bb5
^bb4:
  %one = arith.constant 1 : i64
  %old = map.load %value[0] : !map.value<@count> -> i64
  %new = arith.addi %one, %old : i64
  map.store %value[0], %new : !map.value<@count>, i64
  cf.br ^bb5
^bb5:
  cf.br ^bb6(%pass : i64)
^bb6(%result: i64):
  packet.verdict %result : i64
}
