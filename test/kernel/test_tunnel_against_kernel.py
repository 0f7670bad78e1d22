"""The interpreter's tunnel helpers against the kernel's: each packet holds the calls that the program makes."""

from __future__ import annotations

import random
from collections.abc import Callable

from fsir.interp.engine import InterpProgram
from fsir.kernel.engine import KernelProgram
from fsir.object.importer import import_object

SOURCE = """
struct call { __u8 op, size, flags, pad; __u8 bytes[64]; };
struct answer { __s64 result; __u8 bytes[64]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, sizeof(struct answer));
         __uint(max_entries, 4); } answers SEC(".maps");

SEC("tc") int operate(struct __sk_buff *skb)
{
    for (__u32 i = 0; i < 4; i++) {
        __u32 key = i;
        struct call c = {};
        struct answer *a = bpf_map_lookup_elem(&answers, &key);
        if (!a || bpf_skb_load_bytes(skb, 14 + i * sizeof(c), &c, sizeof(c)))
            return 0;
        __u32 size = c.size;
        if (size < 1 || size > 64)
            return 0;
        switch (c.op) {
        case 0: a->result = bpf_skb_set_tunnel_key(skb, (void *)c.bytes, size, c.flags); break;
        case 1: a->result = bpf_skb_get_tunnel_key(skb, (void *)c.bytes, size, c.flags); break;
        case 2: a->result = bpf_skb_set_tunnel_opt(skb, c.bytes, size); break;
        case 3: a->result = bpf_skb_get_tunnel_opt(skb, c.bytes, size); break;
        default: a->result = bpf_skb_get_xfrm_state(skb, 0, (void *)c.bytes, size, 0);
        }
        __builtin_memcpy(a->bytes, c.bytes, 64);
    }
    return 0;
}
"""


def call(rng: random.Random) -> bytes:
    """Mostly a call that can succeed."""
    key = bytearray(rng.randbytes(64))
    if rng.random() < 0.8:
        key[22:24] = bytes(2)  # tunnel_ext
    if rng.random() < 0.5:
        key[24:28] = bytes(4)  # tunnel_label
    size = rng.choice((44, 44, 44, 28, 24, 22, 8, 4, 12, 64, 45))
    flags = rng.choice((0, 1, 0, 1, 16, 17, rng.getrandbits(5), rng.getrandbits(8)))
    return bytes((rng.choice((0, 0, 0, 1, 1, 1, 2, 3, 4)), size, flags, 0)) + key


def test_tunnel_metadata(compile_c: Callable[..., bytes]) -> None:
    rng = random.Random(1)
    elf = compile_c(SOURCE)
    with KernelProgram(elf) as kernel, InterpProgram(import_object(elf, "t.o")) as interpreter:
        succeeded = 0
        for _ in range(400):
            packet = bytes(12) + b"\x12\x34" + b"".join(call(rng) for _ in range(4))
            assert kernel.run(packet).verdict == interpreter.run(packet).verdict
            found = interpreter.dump_maps()["answers"]
            assert found == kernel.dump_maps()["answers"], packet.hex()
            succeeded += sum(entry["value"].startswith("00" * 8) for entry in found)
        assert succeeded > 150  # so it was not all about errors
