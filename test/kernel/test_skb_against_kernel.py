"""The interpreter's socket buffer helpers against the kernel's: random calls on random frames.

A frame is IPv4, IPv6, VLAN or something else; behind it, a map holds what to call, and the program leaves the
result and what the context says afterwards in another map.
"""

from __future__ import annotations

import platform
import random
import struct
from collections.abc import Callable

from fsir.interp.engine import InterpProgram
from fsir.interp.helper_calls import call_of
from fsir.interp.helpers import helper_named
from fsir.interp.machine import Machine
from fsir.kernel import syscalls
from fsir.kernel.engine import KernelProgram
from fsir.kernel.interfaces import private_interfaces
from fsir.object.importer import import_object

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])
M32, M64 = 0xFFFFFFFF, (1 << 64) - 1
CALLS = struct.Struct("<IIIIQQQ")
STEPS = 3

SOURCE = """
struct call { __u32 op, a, b, c; __u64 flags, from, to; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, sizeof(struct call));
         __uint(max_entries, 3); } calls SEC(".maps");
struct state { __s64 answer; __u32 len, protocol, vlan_present, vlan_tci, vlan_proto, pkt_type; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, sizeof(struct state));
         __uint(max_entries, 3); } states SEC(".maps");

SEC("tc") int operate(struct __sk_buff *skb)
{
    for (__u32 i = 0; i < 3; i++) {
        __u32 key = i;
        struct call *c = bpf_map_lookup_elem(&calls, &key);
        struct state *s = bpf_map_lookup_elem(&states, &key);
        char room[16] = {};
        long answer = 0;
        if (!c || !s)
            return 0;
        switch (c->op) {
        case 0: answer = bpf_l3_csum_replace(skb, c->a, c->from, c->to, c->flags); break;
        case 1: answer = bpf_l4_csum_replace(skb, c->a, c->from, c->to, c->flags); break;
        case 2:
            __builtin_memset(room, c->b, sizeof(room));
            answer = bpf_skb_store_bytes(skb, c->a, room, sizeof(room), c->flags & 3);
            break;
        case 3:
            answer = bpf_skb_load_bytes(skb, c->a, room, sizeof(room));
            answer = answer * 1000003 + *(__u64 *)room + *(__u64 *)(room + 8);
            break;
        case 4:
            answer = bpf_skb_load_bytes_relative(skb, c->a, room, sizeof(room), c->b);
            answer = answer * 1000003 + *(__u64 *)room + *(__u64 *)(room + 8);
            break;
        case 5: answer = bpf_skb_change_tail(skb, c->a, 0); break;
        case 6: answer = bpf_skb_change_head(skb, c->a, 0); break;
        case 7: answer = bpf_skb_adjust_room(skb, (int)c->a, c->b, c->flags); break;
        case 8: answer = bpf_skb_vlan_push(skb, c->a, c->b); break;
        case 9: answer = bpf_skb_vlan_pop(skb); break;
        case 10: answer = bpf_skb_change_proto(skb, c->a, 0); break;
        case 11: answer = bpf_skb_change_type(skb, c->a); break;
        case 12: answer = bpf_skb_ecn_set_ce(skb); break;
        case 13: answer = bpf_csum_level(skb, c->b); break;
        case 14: answer = bpf_skb_pull_data(skb, c->a); break;
        case 15: answer = bpf_skb_set_tstamp(skb, c->from, c->b); break;
        }
        s->answer = answer;
        s->len = skb->len;
        s->protocol = skb->protocol;
        s->vlan_present = skb->vlan_present;
        s->vlan_tci = skb->vlan_tci;
        s->vlan_proto = skb->vlan_proto;
        s->pkt_type = skb->pkt_type;
    }
    return 0;
}
"""
FIELDS = ("len", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "pkt_type")
OFFSETS = (0, 1, 2, 10, 14, 16, 24, 34, 36, 40, 50, 60, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000)
ROOM_FLAGS = (0, 0, 0, 1, 2, 4, 6, 8, 10, 18, 26, 32, 64 | 2, 64 | 2 | 14 << 56, 2 | 4 << 56, 128, 256, 384, 512)
CSUM_FLAGS = (0, 2, 4, 2 | 16, 4 | 16, 4 | 32, 2 | 32 | 64, 3, 0x10, 0x100, 128 | 4)


def arguments(rng: random.Random, op: int) -> tuple[int, int, int, int, int, int]:
    """What a call is given: mostly sensible."""
    a, b, flags = rng.choice(OFFSETS), rng.getrandbits(8), rng.choice((0, 0, 1, 2))
    before, after = rng.choice((0, 0xFFFF, rng.getrandbits(32))), rng.choice((0, 0xFFFF, rng.getrandbits(32)))
    match op:
        case 0 | 1:
            flags = rng.choice(CSUM_FLAGS)
            before = rng.choice((0, before))
        case 4:
            b = rng.choice((0, 1, 1, 2))
        case 5:
            a = rng.choice((0, 13, 14, 20, 33, 34, 60, 100, 1500, 16064, 16065, 70000))
        case 6:
            a = rng.choice((0, 1, 4, 14, 20, 300, 16000, M32))
        case 7:
            a = rng.choice((0, 4, 20, 28, 40, 54, -4, -8, -20, -40, 4095, 4096, -4096)) & M32
            b, flags = rng.choice((0, 1, 1, 2)), rng.choice(ROOM_FLAGS)
        case 8:
            a, b = rng.choice((0x0081, 0xA888, 0, 0x0008)), rng.getrandbits(16)
        case 10:
            a = rng.choice((0x0008, 0xDD86, 0x0081))
        case 11:
            a = rng.choice((0, 1, 2, 3, 4, 5))
        case 13:
            b = rng.randrange(5)
        case 15:
            b = rng.randrange(4)
    return a, b, 0, flags, before, after


def steps(rng: random.Random) -> list[int]:
    """What to call. Not skb_change_tail together with something that makes room: where the kernel has to
    reallocate it shows bytes from behind the end, or sees a transport header where a test run has none."""
    ops = [rng.randrange(len(NAMES)) for _ in range(STEPS)]
    return [14 if op == 5 and set(ops) & {6, 7, 8, 10} else op for op in ops]


def frame(rng: random.Random) -> bytes:
    """An Ethernet frame of some kind with a random payload."""
    # No broadcast address: that of the loopback interface, which test runs use, is zero.
    addresses = rng.choice((bytes(6), b"\x01\0\x5e\0\0\1", b"\x02" * 6)) + b"\x02\0\0\0\0\1"
    tag = struct.pack(">HH", rng.choice((0x8100, 0x88A8)), rng.getrandbits(16))
    tags = rng.choice((b"", b"", b"", tag, tag + tag))
    body = rng.randbytes(rng.choice((40, 60, 61, 200, 1000)))
    ecn = rng.randrange(4)
    ipv4 = struct.pack(">BBHHHBBH4s4s", 0x45, ecn, 20 + len(body), 1, 0, 64, 17, 0x1234, b"\n\0\0\1", b"\n\0\0\2")
    ipv6 = struct.pack(">IHBB16s16s", 6 << 28 | ecn << 20, len(body), 17, 64, b"\x20" * 16, b"\x20" * 16)
    kind = rng.choice((b"\x08\0" + ipv4, b"\x86\xdd" + ipv6, b"\x08\x06", b"\0\x20\xff\xff"))
    return addresses + tags + kind + body


NAMES = (
    "l3_csum_replace",
    "l4_csum_replace",
    "skb_store_bytes",
    "skb_load_bytes",
    "skb_load_bytes_relative",
    "skb_change_tail",
    "skb_change_head",
    "skb_adjust_room",
    "skb_vlan_push",
    "skb_vlan_pop",
    "skb_change_proto",
    "skb_change_type",
    "skb_ecn_set_ce",
    "csum_level",
    "skb_pull_data",
    "skb_set_tstamp",
)


def answer(machine: Machine, op: int, a: int, b: int, flags: int, before: int, after: int) -> int:
    memory, room, ctx = machine.memory, machine.stack(0).base, machine.ctx_addr
    args: tuple[int, ...]
    match op:
        case 0 | 1:
            args = (ctx, a, before, after, flags)
        case 2:
            memory.write_bytes(room, bytes([b & 0xFF]) * 16)
            args = (ctx, a, room, 16, flags & 3)
        case 3:
            args = (ctx, a, room, 16)
        case 4:
            args = (ctx, a, room, 16, b)
        case 7:
            args = (ctx, a, b, flags)
        case 13:
            args = (ctx, b)
        case 15:
            args = (ctx, before, b)
        case _:
            args = (ctx, a, b if op == 8 else 0)
    prototype = helper_named(NAMES[op])
    assert prototype is not None
    result = call_of(prototype.number)(machine, *(*args, 0, 0, 0, 0, 0)[:5])
    if op in (3, 4):
        result = result * 1000003 + memory.load64(room) + memory.load64(room + 8) & M64
    return result


def test_helpers_on_socket_buffers(compile_c: Callable[..., bytes]) -> None:
    rng = random.Random(3)
    machine = Machine("skb", kernel=(KERNEL[0], KERNEL[1]))
    with KernelProgram(compile_c(SOURCE)) as program:
        calls_fd, states_fd = program.map_fd("calls"), program.map_fd("states")
        for number in range(12000):
            packet = frame(rng)
            calls = [(op, *arguments(rng, op)) for op in steps(rng)]
            for index, call in enumerate(calls):
                syscalls.map_update(calls_fd, index.to_bytes(4, "little"), CALLS.pack(*call))
            outcome = program.run(packet)
            machine.begin_packet(packet)
            done = []
            for index, (op, a, b, _, flags, before, after) in enumerate(calls):
                expected = [answer(machine, op, a, b, flags, before, after)]
                expected += [machine.skb.get(field) for field in FIELDS]
                state = syscalls.map_lookup(states_fd, index.to_bytes(4, "little"), 32)
                assert state is not None
                done.append(f"{NAMES[op]}({a:#x}, {b:#x}, flags={flags:#x}, {before:#x}, {after:#x})")
                where = f"{number}: {', '.join(done)} on {packet.hex()}"
                assert dict(zip(FIELDS, struct.unpack("<Q6I", state)[1:], strict=True)) == dict(
                    zip(FIELDS, expected[1:], strict=True)
                ), where
                assert struct.unpack("<q6I", state)[0] & M64 == expected[0], where
            assert outcome.data.hex() == machine.packet.packet.hex(), where
            machine.end_packet()


INTERFACES = """
__u32 seen[2];
SEC("tc") int look(struct __sk_buff *skb) { seen[0] = skb->ifindex; seen[1] = skb->ingress_ifindex; return 0; }
"""


def test_the_interface_that_a_packet_came_by(compile_c: Callable[..., bytes]) -> None:
    elf, packet = compile_c(INTERFACES), bytes(60)
    with (
        private_interfaces({7: 1}),
        KernelProgram(elf) as kernel,
        InterpProgram(import_object(elf, "t.o")) as interpreter,
    ):
        for ifindex in (1, 7):
            for program in (kernel, interpreter):
                program.run(packet, ifindex=ifindex)
                assert program.dump_maps()[".bss"][0]["value"] == (bytes([ifindex, 0, 0, 0]) * 2).hex()
