"""The interpreter's maps against the kernel's: the same random operations, the same answers and contents.

A packet is one operation on the map; the program writes what came of it back into the packet. The Python
`Operator` is the same program on the interpreter's run time.
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
from fsir.interp.mapfile import dump_maps
from fsir.kernel.engine import KernelProgram
from fsir.kernel.syscalls import possible_cpus

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])
LRU_BATCHES_SINCE = (6, 17)

LOOKUP, UPDATE, DELETE, STALE, PERCPU = range(5)
COMMAND = struct.Struct("<14xBxIQQ")
"""Operation, flags or CPU, key, value; the answers come back in place of key and value."""

KEYED = """
struct {
    __uint(type, %(type)s);
    __uint(key_size, 8);
    __uint(value_size, 8);
    __uint(max_entries, %(entries)d);
    __uint(map_flags, %(flags)d);
} m SEC(".maps");

struct command { char eth[14]; __u8 op; __u8 pad; __u32 flags; __u64 key; __u64 value; } __attribute__((packed));

SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct command *c = (void *)(long)ctx->data;
    if ((void *)(c + 1) > (void *)(long)ctx->data_end)
        return XDP_DROP;
    __u64 key = c->key, value = c->value, *found, answer = 0, seen = 0;
    switch (c->op) {
    case 0:
        found = bpf_map_lookup_elem(&m, &key);
        answer = found != 0;
        if (found) { seen = *found; *found += value; }
        break;
    case 1:
        answer = bpf_map_update_elem(&m, &key, &value, c->flags);
        break;
    case 2:
        answer = bpf_map_delete_elem(&m, &key);
        break;
    case 3:
        found = bpf_map_lookup_elem(&m, &key);
        if (found) {
            answer = bpf_map_update_elem(&m, &key, &value, 0);
            *found += 1;
            seen = *found;
        }
        break;
    case 4:
        found = bpf_map_lookup_percpu_elem(&m, &key, c->flags);
        answer = found != 0;
        if (found) seen = *found;
        break;
    }
    c->key = answer;
    c->value = seen;
    return XDP_PASS;
}
"""


class Operator:
    """The program above, on the interpreter's run time."""

    def __init__(self, spec: MapSpec, ncpu: int):
        self.machine = Machine(ncpu=ncpu)
        self.map = self.machine.add_map(spec).addr
        self.stack = self.machine.stack(0).base

    def call(self, name: str, *args: int) -> int:
        prototype = helper_named(name)
        assert prototype is not None
        return call_of(prototype.number)(self.machine, *(*args, 0, 0, 0, 0, 0)[:5])

    def run(self, packet: bytes) -> bytes:
        memory, key, value = self.machine.memory, self.stack, self.stack + 8
        op, flags, key_word, value_word = COMMAND.unpack(packet)
        self.machine.begin_packet(packet)
        memory.store64(key, key_word)
        memory.store64(value, value_word)
        answer = seen = 0
        if op == LOOKUP:
            found = self.call("map_lookup_elem", self.map, key)
            answer = int(found != 0)
            if found:
                seen = memory.load64(found)
                memory.store64(found, seen + value_word)
        elif op == UPDATE:
            answer = self.call("map_update_elem", self.map, key, value, flags)
        elif op == DELETE:
            answer = self.call("map_delete_elem", self.map, key)
        elif op == STALE:
            found = self.call("map_lookup_elem", self.map, key)
            if found:
                answer = self.call("map_update_elem", self.map, key, value, 0)
                memory.store64(found, memory.load64(found) + 1)
                seen = memory.load64(found)
        elif op == PERCPU:
            found = self.call("map_lookup_percpu_elem", self.map, key, flags)
            answer = int(found != 0)
            if found:
                seen = memory.load64(found)
        self.machine.end_packet()
        return packet[:20] + struct.pack("<QQ", answer, seen)


def commands(seed: int, count: int, keys: int, ops: tuple[int, ...], key_of: Callable[[int], int]) -> list[bytes]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        op = rng.choice(ops)
        flags = rng.choice((0, 0, 0, 0, 1, 2, 3, 8)) if op == UPDATE else rng.choice((0, 1, 2, 5000))
        # Skewed, so that some keys are in use all the time and some hardly ever.
        key = key_of(min(rng.randrange(keys), rng.randrange(keys)))
        made.append(COMMAND.pack(op, flags, key, rng.getrandbits(64)))
    return made


def prefix(number: int) -> int:
    """Keys of a trie: prefix lengths from 0 to 33 over few addresses, host bits left set."""
    address = bytes([10, number % 3, number % 7, number % 11])
    return number % 34 | int.from_bytes(address, "little") << 32


PLAIN = (LOOKUP, UPDATE, UPDATE, UPDATE, DELETE, STALE)
CASES: dict[str, tuple[str, int, int, tuple[int, ...], int, Callable[[int], int]]] = {
    "hash": ("BPF_MAP_TYPE_HASH", 64, 0, PLAIN, 100, int),
    "hash, not preallocated": ("BPF_MAP_TYPE_HASH", 64, 1, PLAIN, 100, int),
    "percpu_hash": ("BPF_MAP_TYPE_PERCPU_HASH", 64, 0, (*PLAIN, PERCPU), 100, int),
    "array": ("BPF_MAP_TYPE_ARRAY", 64, 0, PLAIN, 70, int),
    "percpu_array": ("BPF_MAP_TYPE_PERCPU_ARRAY", 64, 0, (*PLAIN, PERCPU), 70, int),
    "lpm_trie": ("BPF_MAP_TYPE_LPM_TRIE", 40, 1, (LOOKUP, UPDATE, UPDATE, DELETE, STALE), 2000, prefix),
    "lru_hash, 1": ("BPF_MAP_TYPE_LRU_HASH", 1, 0, (LOOKUP, UPDATE, UPDATE, DELETE), 5, int),
    "lru_hash, 7": ("BPF_MAP_TYPE_LRU_HASH", 7, 0, (LOOKUP, LOOKUP, UPDATE, UPDATE, DELETE, STALE), 20, int),
    "lru_hash, 64": ("BPF_MAP_TYPE_LRU_HASH", 64, 0, (LOOKUP, LOOKUP, UPDATE, UPDATE, DELETE, STALE), 200, int),
    "lru_hash, 1000": ("BPF_MAP_TYPE_LRU_HASH", 1000, 0, (LOOKUP, LOOKUP, UPDATE, UPDATE, STALE), 2500, int),
    "lru_hash, no common order": ("BPF_MAP_TYPE_LRU_HASH", 65, 2, (LOOKUP, UPDATE, UPDATE, DELETE), 150, int),
    "lru_percpu_hash": ("BPF_MAP_TYPE_LRU_PERCPU_HASH", 64, 0, (*PLAIN, PERCPU), 200, int),
}


@pytest.mark.parametrize("name", CASES)
def test_random_operations_give_the_kernels_answers(name: str, compile_c: Callable[..., bytes]) -> None:
    type_name, entries, flags, ops, keys, key_of = CASES[name]
    if "LRU" in type_name and KERNEL < LRU_BATCHES_SINCE:
        pytest.skip(f"kernel {platform.release()} evicts in other batches than those since 6.17")
    source = KEYED % {"type": type_name, "entries": entries, "flags": flags}
    key_size = 8
    if type_name.endswith("ARRAY"):
        source = source.replace("key_size, 8", "key_size, 4")
        key_size = 4
    if (type_name.endswith(("_HASH", "_TRIE")) and "PERCPU" not in type_name) or type_name == "BPF_MAP_TYPE_ARRAY":
        source = source.replace("bpf_map_lookup_percpu_elem(&m, &key, c->flags)", "0")
    packets = commands(len(name), 6000, keys, ops, key_of)
    kind = type_name.removeprefix("BPF_MAP_TYPE_").lower()
    operator = Operator(MapSpec("m", kind, key_size, 8, entries, flags), possible_cpus())
    with KernelProgram(compile_c(source)) as program:
        outcomes = program.run_all(packets)
        contents = program.dump_maps()
    for number, (packet, outcome) in enumerate(zip(packets, outcomes, strict=True)):
        assert outcome.data.hex() == operator.run(packet).hex(), f"operation {number}: {COMMAND.unpack(packet)}"
    assert dump_maps(operator.machine)["m"] == contents["m"]


QUEUED = """
struct {
    __uint(type, %(type)s);
    __uint(value_size, 8);
    __uint(max_entries, 16);
    __uint(map_flags, %(flags)d);
} m SEC(".maps");

struct command { char eth[14]; __u8 op; __u8 pad; __u32 flags; __u64 key; __u64 value; } __attribute__((packed));

SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct command *c = (void *)(long)ctx->data;
    if ((void *)(c + 1) > (void *)(long)ctx->data_end)
        return XDP_DROP;
    __u64 value = c->value, answer = 0;
    switch (c->op) {
    case 0:
        answer = bpf_map_push_elem(&m, &value, c->flags);
        break;
    case 1:
        answer = bpf_map_peek_elem(&m, &value);
        break;
    case 2:
        answer = POP;
        break;
    }
    c->key = answer;
    c->value = value;
    return XDP_PASS;
}
"""


@pytest.mark.parametrize("kind", ["queue", "stack", "bloom_filter"])
def test_queues_stacks_and_bloom_filters(kind: str, compile_c: Callable[..., bytes]) -> None:
    bloom = kind == "bloom_filter"
    flags = 1 << 6 if bloom else 0
    source = QUEUED % {"type": f"BPF_MAP_TYPE_{kind.upper()}", "flags": flags}
    source = source.replace("POP", "0" if bloom else "bpf_map_pop_elem(&m, &value)")
    operator = Operator(MapSpec("m", kind, 0, 8, 16, flags), possible_cpus())
    rng = random.Random(kind)
    packets = [
        COMMAND.pack(rng.choice((0, 0, 1, 2)), rng.choice((0, 0, 0, 2, 1, 4)), 0, rng.randrange(50))
        for _ in range(3000)
    ]
    if bloom:
        packets = [packet if packet[14] != 2 else packet[:14] + b"\1" + packet[15:] for packet in packets]
    with KernelProgram(compile_c(source)) as program:
        outcomes = program.run_all(packets)
    machine, value = operator.machine, operator.stack
    for number, (packet, outcome) in enumerate(zip(packets, outcomes, strict=True)):
        op, op_flags, _, word = COMMAND.unpack(packet)
        machine.memory.store64(value, word)
        args = (operator.map, value, op_flags if op == 0 else 0)
        answer = operator.call(("map_push_elem", "map_peek_elem", "map_pop_elem")[op], *args)
        expected = struct.pack("<QQ", answer, machine.memory.load64(value))
        assert outcome.data[20:].hex() == expected.hex(), f"operation {number}: {COMMAND.unpack(packet)}"


RING = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } m SEC(".maps");

struct command { char eth[14]; __u8 op; __u8 pad; __u32 flags; __u64 key; __u64 value; } __attribute__((packed));

SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct command *c = (void *)(long)ctx->data;
    if ((void *)(c + 1) > (void *)(long)ctx->data_end)
        return XDP_DROP;
    __u64 value = c->value, answer = 0, *room;
    switch (c->op) {
    case 0:
        answer = bpf_ringbuf_output(&m, &value, 8, c->flags);
        break;
    case 1:
        room = bpf_ringbuf_reserve(&m, 24, 0);
        answer = room != 0;
        if (room) { room[0] = room[1] = room[2] = value; bpf_ringbuf_submit(room, 0); }
        break;
    case 2:
        room = bpf_ringbuf_reserve(&m, 100, 0);
        answer = room != 0;
        if (room) { *room = value; bpf_ringbuf_discard(room, 0); }
        break;
    case 3:
        answer = bpf_ringbuf_query(&m, c->flags);
        break;
    }
    c->key = answer;
    return XDP_PASS;
}
"""


def test_ring_buffers_fill_up_alike(compile_c: Callable[..., bytes]) -> None:
    operator = Operator(MapSpec("m", "ringbuf", 0, 0, 4096), possible_cpus())
    rng = random.Random(5)
    packets = [
        COMMAND.pack(rng.choice((0, 0, 1, 2, 3)), rng.choice((0, 1, 2, 3, 4)), 0, rng.randrange(50)) for _ in range(400)
    ]
    with KernelProgram(compile_c(RING)) as program:
        outcomes = program.run_all(packets)
        contents = program.dump_maps()
    machine, value = operator.machine, operator.stack
    for number, (packet, outcome) in enumerate(zip(packets, outcomes, strict=True)):
        op, flags, _, word = COMMAND.unpack(packet)
        machine.memory.store64(value, word)
        if op == 0:
            answer = operator.call("ringbuf_output", operator.map, value, 8, flags)
        elif op == 3:
            answer = operator.call("ringbuf_query", operator.map, flags)
        else:
            room = operator.call("ringbuf_reserve", operator.map, 24 if op == 1 else 100, 0)
            answer = int(room != 0)
            for offset in (0, 8, 16) if room and op == 1 else ():
                machine.memory.store64(room + offset, word)
            if room:
                operator.call("ringbuf_submit" if op == 1 else "ringbuf_discard", room, 0)
        assert outcome.data[20:28].hex() == answer.to_bytes(8, "little").hex(), f"operation {number}: {op} {flags}"
    assert dump_maps(machine)["m"] == contents["m"]
