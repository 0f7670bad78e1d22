// The C of a part on AF_XDP: tables of maps and headers, then the program, with names and lines of the IR.
// RUN: fs-opt %s -t c | filecheck %s

map.decl @flows "hash" key 8 value 16 entries 64 flags 0
map.decl @hits "array" key 4 value 8 entries 2 flags 1024

placement.part @kernel on "xdp" {
  ebpf.func @count section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %none = arith.constant 0 : i16
    placement.handoff 3 to @user from %ctx carrying (%none) : !packet.ctx, i16
  }
}
placement.part @user on "af-xdp" {
  ebpf.func @count section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %l3 = placement.carried %ctx at 3[0] : !packet.ctx -> i16
    placement.accept %ctx at 3 : !packet.ctx
    %data = packet.data %ctx : !packet.ctx -> !packet.ptr
    %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
    %offset = arith.extui %l3 : i16 to i64
    %ip = packet.advance %data, %offset : !packet.ptr, i64 -> !packet.ptr
    %fits = packet.guard %ip[20], %end : !packet.ptr, !packet.end_ptr -> i1
    cf.cond_br %fits, ^lookup, ^drop
  ^lookup:
    %src = packet.load %ip[12] {field = "ipv4.saddr"} : !packet.ptr -> i32
    %proto = packet.load %ip[9] {field = "ipv4.protocol"} : !packet.ptr -> i8
    %zero = arith.constant 0 : i24
    %flow = map.lookup @flows(%src, %proto, %zero) : i32, i8, i24 -> !map.value<@flows>
    %hit = map.hit %flow : !map.value<@flows> -> i1
    cf.cond_br %hit, ^count, ^drop
  ^count:
    %one = arith.constant 1 : i64
    map.atomic "add" %flow[8], %one : !map.value<@flows>, i64
    %pass = arith.constant 2 : i32
    packet.verdict %pass : i32
  ^drop:
    %nay = arith.constant 1 : i32
    packet.verdict %nay : i32
  }
}
placement.edge 3 from @kernel to @user
  {fields = [{name = "l3", width = 16 : i64, kind = "offset"}], order = "commuting", transport = "metadata"}
placement.share @flows by "pinned" {parts = [@kernel, @user], consistency = "operations", reason = "whole values"}

// CHECK:       count, from {{.*}}: the part that runs in user space
// CHECK:       { .resume = 3, .size = 12, .in_frame = false }, /* carries 1 values */
// CHECK:       enum { FS_MAP_flows, FS_MAP_COUNT };
// CHECK:       [FS_MAP_flows] = { .name = "flows", .type = 1, .key_size = 8, .value_size = 16, .max_entries = 64,
// CHECK-SAME:    .shared = true, .written = true }, /* hash, pinned */
// CHECK-NOT:   .name = "hits"

// CHECK:       static uint64_t fn_count(struct fs_run *run, uint64_t ctx)
// CHECK:         uint16_t l3 = fs_carried(run, 3, 8, 2);
// CHECK:         fs_accept(run, 3);
// CHECK:         uint64_t data = run->data;
// CHECK:         ip = data + (uint64_t)l3;
// CHECK:         if (ip + 20 > end)
// CHECK-NEXT:      goto drop;
// CHECK:         uint32_t src = fs_proven_u32(run, ip + 12); /* ipv4.saddr */
// CHECK:         uint8_t proto = fs_proven_u8(run, ip + 9); /* ipv4.protocol */
// CHECK:         struct { uint32_t f0; uint8_t f1; uint32_t f2 : 24; } __attribute__((packed)) key = { src, proto, 0 };
// CHECK:         flow = fs_map_lookup(run, FS_MAP_flows, &key);
// CHECK:         if (flow == 0)
// CHECK-NEXT:      goto drop;
// CHECK:         fs_atomic_add64(run, fs_proven_at(run, flow + 8, 8, true), 1);
// CHECK:         return 2;
// CHECK:       drop:
// CHECK:         return 1;
