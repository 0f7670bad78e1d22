"""The interpreter's helpers against the kernel's: the same random arguments, the same results and packets.

A packet says what to call and with what; the program writes the result into the packet. In Python the same
calls are made on the interpreter's run time.
"""

from __future__ import annotations

import platform
import random
import struct
from collections.abc import Callable

import pytest

from fsir.interp.helper_calls import call_of
from fsir.interp.helpers import helper_named
from fsir.interp.machine import Machine
from fsir.interp.map_base import MapSpec
from fsir.kernel.engine import KernelProgram

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])
M32, M64 = 0xFFFFFFFF, (1 << 64) - 1
COMMAND = struct.Struct("<14xBxIQQQ")
"""Operation, a 32-bit argument, three 64-bit ones; the result comes back in place of the last."""


class Caller:
    """Calls helpers by name on a machine of its own."""

    def __init__(self, hook: str = "xdp") -> None:
        assert hook in ("xdp", "skb")
        self.machine = Machine("xdp" if hook == "xdp" else "skb", kernel=(KERNEL[0], KERNEL[1]))
        self.memory = self.machine.memory
        self.room = self.machine.stack(0).base

    def call(self, name: str, *args: int) -> int:
        prototype = helper_named(name)
        assert prototype is not None
        return call_of(prototype.number)(self.machine, *(*(arg & M64 for arg in args), 0, 0, 0, 0, 0)[:5])

    def answer(self, result: int) -> None:
        """Put a result where the program does, if the packet is still long enough."""
        self.machine.packet.write(COMMAND.size - 8, (result & M64).to_bytes(8, "little"))


HEAD = """
struct command { char eth[14]; __u8 op; __u8 pad; __u32 a; __u64 b; __u64 c; __u64 answer; } __attribute__((packed));
"""

XDP = (
    HEAD
    + """
SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct command *c = (void *)(long)ctx->data;
    if ((void *)(c + 1) > (void *)(long)ctx->data_end)
        return XDP_DROP;
    long answer = 0;
    char room[64] = {};
    switch (c->op) {
    case 0: answer = bpf_xdp_adjust_head(ctx, c->a); break;
    case 1: answer = bpf_xdp_adjust_tail(ctx, c->a); break;
    case 2: answer = bpf_xdp_adjust_meta(ctx, c->a); break;
    case 3: answer = bpf_xdp_get_buff_len(ctx); break;
    case 4:
        answer = bpf_xdp_load_bytes(ctx, c->a, room, sizeof(room));
        if (!answer)
            answer = *(__u64 *)room ^ *(__u64 *)(room + 56);
        break;
    case 5:
        __builtin_memset(room, c->b, sizeof(room));
        answer = bpf_xdp_store_bytes(ctx, c->a, room, sizeof(room));
        break;
    case 6:
        answer = bpf_xdp_adjust_meta(ctx, -8);
        void *meta = (void *)(long)ctx->data_meta, *data = (void *)(long)ctx->data;
        if (!answer && meta + 8 <= data)
            *(__u64 *)meta = 0x1122334455667788;
        answer = bpf_xdp_adjust_head(ctx, -4);
        break;
    }
    c = (void *)(long)ctx->data;
    if ((void *)(c + 1) <= (void *)(long)ctx->data_end)
        c->answer = answer;
    return XDP_PASS;
}
"""
)


def xdp_command(rng: random.Random) -> bytes:
    op = rng.randrange(7)
    delta = rng.choice((0, 4, -4, 8, -8, 14, -14, 20, -20, 3, -3, 32, -32, 212, -212, 216, -216, -217, -220, -256, 30))
    tail = rng.choice((0, 1, -1, 20, -20, 100, -40, 3000, 3300, 3440, 3500, 4000, -200))
    argument = {0: delta, 1: tail, 2: delta}.get(op, rng.choice((0, 1, 2, 10, 30, 60, 80, 0xFFFF, 0x10000, M32)))
    head = COMMAND.pack(op, argument & M32, rng.getrandbits(64), rng.getrandbits(64), 0)
    return head + rng.randbytes(rng.choice((0, 1, 18, 60, 200)))


def test_packet_of_an_xdp_program(compile_c: Callable[..., bytes]) -> None:
    rng = random.Random(1)
    packets = [xdp_command(rng) for _ in range(4000)]
    with KernelProgram(compile_c(XDP)) as program:
        outcomes = program.run_all(packets)
    caller = Caller()
    for number, (packet, outcome) in enumerate(zip(packets, outcomes, strict=True)):
        ctx = caller.machine.begin_packet(packet)
        op, a, b, _, _ = COMMAND.unpack(packet[: COMMAND.size])
        if op <= 2:
            answer = caller.call(("xdp_adjust_head", "xdp_adjust_tail", "xdp_adjust_meta")[op], ctx, a)
        elif op == 3:
            answer = caller.call("xdp_get_buff_len", ctx)
        elif op == 4:
            answer = caller.call("xdp_load_bytes", ctx, a, caller.room, 64)
            if not answer:
                answer = caller.memory.load64(caller.room) ^ caller.memory.load64(caller.room + 56)
        elif op == 5:
            caller.memory.write_bytes(caller.room, bytes([b & 0xFF]) * 64)
            answer = caller.call("xdp_store_bytes", ctx, a, caller.room, 64)
        else:
            caller.call("xdp_adjust_meta", ctx, -8)
            meta, data = caller.memory.load32(ctx + 8), caller.memory.load32(ctx)
            if meta + 8 <= data:
                caller.memory.store64(meta, 0x1122334455667788)
            answer = caller.call("xdp_adjust_head", ctx, -4)
        caller.answer(answer)
        where = f"command {number}: op {op}, {a:#x}, length {len(packet)}"
        assert outcome.data.hex() == caller.machine.packet.packet.hex(), where
        assert outcome.meta.hex() == caller.machine.packet.metadata.hex(), where


VALUES = (
    HEAD
    + """
struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(key_size, 4); __uint(value_size, 4); __uint(max_entries, 4); }
    devices SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, 4); __uint(max_entries, 5); }
    array SEC(".maps");

static long stop_at(__u32 index, __u64 *limit) { return index >= *limit; }
static long count(void *map, __u32 *key, __u32 *value, __u64 *limit) { return *key >= *limit; }

SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct command *c = (void *)(long)ctx->data;
    if ((void *)(c + 1) > (void *)(long)ctx->data_end || (void *)(c + 1) + 64 > (void *)(long)ctx->data_end)
        return XDP_DROP;
    char *bytes = (void *)(c + 1), text[32], copy[64];
    __u64 answer = 0, limit = c->b;
    long number = 0;
    __u32 from = c->b & 63, to = c->c & 63;
    __builtin_memcpy(copy, bytes, 64);
    __builtin_memcpy(text, bytes, 32);
    switch (c->op) {
    case 0: answer = bpf_csum_diff((void *)copy, from, (void *)copy + 4, to > 56 ? 56 : to, c->a); break;
    case 1: answer = bpf_csum_diff(0, 0, (void *)copy, to, c->a); break;
    case 2: answer = bpf_csum_diff((void *)copy, from, 0, 0, c->a); break;
    case 3: answer = bpf_strtol(text, sizeof(text), c->b & 31, &number); answer ^= number; break;
    case 4: answer = bpf_strtoul(text, sizeof(text), c->b & 31, (void *)&number); answer ^= number; break;
    case 5: answer = bpf_strncmp(text, 1 + (c->b & 15), "1234567"); break;
    case 6: answer = bpf_redirect(c->a, c->b & 3); break;
    case 7: answer = bpf_redirect_map(&devices, c->a, c->b); break;
    case 8: answer = bpf_loop(c->a & 31, stop_at, &limit, c->c & 1); break;
    case 9: answer = bpf_for_each_map_elem(&array, count, &limit, c->c & 1); break;
    case 10: answer = bpf_loop(0x800001, stop_at, &limit, 0); break;
    case 11: answer = SNPRINTF; break;
    }
    c->answer = answer;
    __builtin_memcpy(bytes + 32, text, 32);
    return XDP_PASS;
}
"""
)

FORMATS = ("%d|%u|%x|%X", "%ld %lu %lx", "%5d|%-5d|%05d|%+d", "%llx%%%i", "%3c|%c", "[%08x] % d", "%d", "none")
NUMBERS = [
    *(b"0", b"-1", b"123 ", b"0x1f", b"  -0x1F", b"017", b"0xg", b"-", b"", b"z", b"\t7\n", b"+5", b"1234567"),
    *(b"12345678", b"1234", b"ffff", b"08", b"9223372036854775807", b"9223372036854775808"),
    *(b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616"),
]


def value_command(rng: random.Random, op: int) -> bytes:
    a = rng.choice((0, 1, 2, 3, 4, 5, M32, 0xFFFF, 0xFFFF0000, rng.getrandbits(32)))
    b = rng.choice((0, 1, 2, 3, 4, 8, 10, 16, 24, 32, rng.getrandbits(64)))
    content = rng.choice((bytes(64), b"\xff" * 64, rng.randbytes(64), rng.randbytes(64), b"\xff\xff\0\0" * 16))
    if op in (3, 4, 5):
        content = rng.choice(NUMBERS).ljust(32, rng.choice((b"\0", b" ", b"x"))) + bytes(32)
    return COMMAND.pack(op, a, b, rng.choice((0, 1, 4, 20, rng.getrandbits(64))), 0) + content


def value_answer(caller: Caller, op: int, a: int, b: int, c: int, content: bytes, text: str) -> int:
    room, memory = caller.room, caller.memory
    source, out, number = room, room + 64, room + 128
    memory.write_bytes(source, content)
    memory.write_bytes(out, content[:32])
    memory.store64(number, 0)
    if op == 0:
        return caller.call("csum_diff", source, b & 63, source + 4, min(c & 63, 56), a)
    if op == 1:
        return caller.call("csum_diff", 0, 0, source, c & 63, a)
    if op == 2:
        return caller.call("csum_diff", source, b & 63, 0, 0, a)
    if op in (3, 4):
        answer = caller.call("strtol" if op == 3 else "strtoul", out, 32, b & 31, number)
        return answer ^ memory.load64(number)
    if op == 5:
        memory.write_bytes(source, b"1234567\0")
        return caller.call("strncmp", out, 1 + (b & 15), source)
    if op == 6:
        return caller.call("redirect", a, b & 3)
    if op == 7:
        return caller.call("redirect_map", caller.machine.maps["devices"].addr, a, b)
    if op in (8, 10):
        stop = caller.machine.function_address(lambda index, ctx: int(index >= memory.load64(ctx)), "stop_at")
        memory.store64(number, b)
        return caller.call("loop", a & 31 if op == 8 else 0x800001, stop, number, c & 1 if op == 8 else 0)
    if op == 9:
        memory.store64(number, b)
        visit = caller.machine.function_address(
            lambda m, key, value, ctx: int(memory.load32(key) >= memory.load64(ctx)), f"count {number}"
        )
        return caller.call("for_each_map_elem", caller.machine.maps["array"].addr, visit, number, c & 1)
    memory.write_bytes(source, text.encode() + b"\0")
    arguments = room + 192
    for index, value in enumerate((a, b, c, M64)):
        memory.store64(arguments + 8 * index, value)
    return caller.call("snprintf", out, 32, source, arguments, 32)


@pytest.mark.parametrize("text", FORMATS)
def test_helpers_on_values(text: str, compile_c: Callable[..., bytes]) -> None:
    """All of them with the first format, only bpf_snprintf with the others."""
    call = 'BPF_SNPRINTF(text, sizeof(text), "FORMAT", c->a, c->b, c->c, -1L)'
    source = "#include <bpf/bpf_tracing.h>\n" + VALUES.replace("SNPRINTF", call.replace("FORMAT", text), 1)
    rng = random.Random(text)
    ops = range(12) if text == FORMATS[0] else (11,)
    packets = [value_command(rng, op) for op in ops for _ in range(300)]
    devices = {"devices": [{"key": "01000000", "ifindex": 1}]}
    with KernelProgram(compile_c(source, "-Wno-format"), maps=devices) as program:
        outcomes = program.run_all(packets)
    caller = Caller()
    caller.machine.add_map(MapSpec("devices", "devmap", 4, 4, 4))
    caller.machine.add_map(MapSpec("array", "array", 4, 4, 5))
    caller.machine.maps["devices"].update(b"\1\0\0\0", b"\1\0\0\0", 0, 0)
    for number, (packet, outcome) in enumerate(zip(packets, outcomes, strict=True)):
        caller.machine.begin_packet(packet)
        op, a, b, c, _ = COMMAND.unpack(packet[: COMMAND.size])
        caller.answer(value_answer(caller, op, a, b, c, packet[COMMAND.size :], text))
        caller.machine.packet.write(COMMAND.size + 32, caller.memory.read_bytes(caller.room + 64, 32))
        where = f"command {number}: op {op}, {a:#x}, {b:#x}, {c:#x}, {packet[COMMAND.size :]!r}"
        assert outcome.data[30:].hex() == caller.machine.packet.packet[30:].hex(), where
