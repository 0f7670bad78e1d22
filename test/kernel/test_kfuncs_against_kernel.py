"""The interpreter's dynptrs and kernel functions against the kernel's: each packet says what the program does."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable

import pytest

from fsir.interp.engine import InterpProgram
from fsir.interp.results import PacketResult, compare
from fsir.kernel.engine import KernelProgram
from fsir.object.importer import import_object

MINOR = tuple(int(part) for part in platform.release().split(".")[:2])

TYPES = """
struct answer { __s64 result[8]; __u8 bytes[16]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, sizeof(struct answer));
         __uint(max_entries, 1); } answers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, 64);
         __uint(max_entries, 1); } memory SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } ring SEC(".maps");
struct step { __u16 a, b, c, d; __u8 flags, size, bytes[6]; };
extern int bpf_dynptr_from_xdp(struct xdp_md *, __u64, struct bpf_dynptr *) __ksym;
extern int bpf_dynptr_from_skb(struct __sk_buff *, __u64, struct bpf_dynptr *) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *, __u32, void *, __u32) __ksym;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *, __u32, void *, __u32) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *, __u32, __u32) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr *, struct bpf_dynptr *) __ksym;
extern _Bool bpf_dynptr_is_null(const struct bpf_dynptr *) __ksym;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *) __ksym;
#define KEY ((__u32){0})
"""

BODY = """
    struct step s;
    struct bpf_dynptr copy;
    struct answer *a = bpf_map_lookup_elem(&answers, &KEY);
    if (!a || %(load)s)
        return 0;
    MAKE
    a->result[1] = bpf_dynptr_write(&p, s.a, s.bytes, s.size & 3, s.flags & 1 ? s.flags : 0);
    a->result[2] = bpf_dynptr_read(a->bytes, s.size & 15, &p, s.b, s.flags & 16);
    a->result[3] = bpf_dynptr_adjust(&p, s.c, s.d);
    a->result[4] = bpf_dynptr_size(&p) + bpf_dynptr_is_null(&p) * 65536 + bpf_dynptr_is_rdonly(&p) * 131072;
    a->result[5] = bpf_dynptr_clone(&p, &copy);
    __u8 room[8];
    __u8 *part = bpf_dynptr_slice(&copy, s.b, room, 8);
    a->result[6] = part ? part[0] + part[7] * 256 : -1;
    DATA
"""

PROGRAMS = {
    "xdp": """
SEC("xdp") int operate(struct xdp_md *ctx) {
    struct bpf_dynptr p;
"""
    + BODY.replace("MAKE", "a->result[0] = bpf_dynptr_from_xdp(ctx, s.flags & 2, &p);").replace(
        "DATA", "part = bpf_dynptr_slice_rdwr(&p, s.a, room, 8); if (part) part[1] ^= 0x55; return 2; }"
    )
    % {"load": "bpf_xdp_load_bytes(ctx, 14, &s, sizeof(s))"},
    "tc": """
SEC("tc") int operate(struct __sk_buff *ctx) {
    struct bpf_dynptr p;
"""
    + BODY.replace("MAKE", "a->result[0] = bpf_dynptr_from_skb(ctx, s.flags & 2, &p);").replace(
        "DATA", "part = bpf_dynptr_slice_rdwr(&p, s.a, room, 8); if (part) part[1] ^= 0x55; return 0; }"
    )
    % {"load": "bpf_skb_load_bytes(ctx, 14, &s, sizeof(s))"},
    "memory": """
SEC("xdp") int operate(struct xdp_md *ctx) {
    struct bpf_dynptr p;
    __u8 *m = bpf_map_lookup_elem(&memory, &KEY);
    if (!m)
        return 0;
"""
    + BODY.replace("MAKE", "a->result[0] = bpf_dynptr_from_mem(m, 64, s.flags & 2, &p);").replace(
        "DATA", "part = bpf_dynptr_data(&p, s.a, 8); if (part) part[1] ^= 0x55; return 2; }"
    )
    % {"load": "bpf_xdp_load_bytes(ctx, 14, &s, sizeof(s))"},
    "ring": """
SEC("xdp") int operate(struct xdp_md *ctx) {
    struct bpf_dynptr p;
"""
    + BODY.replace("MAKE", "a->result[0] = bpf_ringbuf_reserve_dynptr(&ring, 40, s.flags & 2, &p);").replace(
        "DATA",
        "part = bpf_dynptr_data(&p, s.a, 8); if (part) part[1] ^= 0x55;"
        "if (s.flags & 4) bpf_ringbuf_discard_dynptr(&p, 0); else bpf_ringbuf_submit_dynptr(&p, 0);"
        "return 2; }",
    )
    % {"load": "bpf_xdp_load_bytes(ctx, 14, &s, sizeof(s))"},
}


def packet(rng: random.Random) -> bytes:
    """What to do: offsets mostly inside, flags mostly none."""
    offsets = b"".join(rng.choice((0, 1, 8, 20, 33, 40, 56, 60, 64, 65, 500)).to_bytes(2, "little") for _ in range(4))
    flags = rng.choice((0, 0, 0, 0, 0, 1, 2, 4, 4, 16))
    return bytes(12) + b"\x12\x34" + offsets + bytes([flags, rng.randrange(16)]) + rng.randbytes(30 + rng.randrange(30))


def agree(elf: bytes, packets: list[bytes]) -> None:
    with KernelProgram(elf) as kernel, InterpProgram(import_object(elf, "t.o")) as interpreter:
        hook = interpreter.machine.hook
        for index, frame in enumerate(packets):
            expected, found = kernel.run(frame), interpreter.run(frame)
            left = [PacketResult(index, expected.verdict, expected.data, expected.meta, hook)]
            right = [PacketResult(index, found.verdict, found.data, found.meta, hook)]
            difference = compare(left, right, kernel.dump_maps(), interpreter.dump_maps())
            assert difference is None, f"{difference} {frame.hex()}"


@pytest.mark.skipif(MINOR < (6, 5), reason="bpf_dynptr_size and its like are of 6.5")
@pytest.mark.parametrize("kind", PROGRAMS)
def test_dynptrs(kind: str, compile_c: Callable[..., bytes]) -> None:
    rng = random.Random(kind)
    agree(compile_c(TYPES + PROGRAMS[kind]), [packet(rng) for _ in range(300)])


LOOPS = """
struct bpf_iter_num { __u64 state; } __attribute__((aligned(8)));
extern int bpf_iter_num_new(struct bpf_iter_num *, int, int) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern int absent(void) __ksym __weak;
extern void bpf_preempt_disable(void) __ksym __weak;
__s64 sum, error, count, known;

SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct bpf_iter_num it;
    int range[2], *number;
    if (bpf_xdp_load_bytes(ctx, 14, range, sizeof(range)))
        return 0;
    error += bpf_iter_num_new(&it, range[0], range[1]);
    while ((number = bpf_iter_num_next(&it))) {
        sum += *number;
        count++;
    }
    bpf_iter_num_destroy(&it);
    bpf_rcu_read_lock();
    bpf_rcu_read_unlock();
    known += (&bpf_preempt_disable != 0) + 2 * (&absent != 0);
    return 2;
}
"""


@pytest.mark.skipif(MINOR < (6, 4), reason="bpf_iter_num is of 6.4")
def test_loops_and_what_there_is(compile_c: Callable[..., bytes]) -> None:
    ranges = ((0, 5), (3, 3), (-4, 2), (5, 0), (-(1 << 31), (1 << 31) - 1), (1 << 30, (1 << 30) + 3))
    packets = [bytes(14) + b"".join(n.to_bytes(4, "little", signed=True) for n in pair) for pair in ranges]
    agree(compile_c(LOOPS), packets)


CONNECTIONS = """
struct opts { __s32 netns_id, error; __u8 l4proto, dir; __u16 zone; __u8 zone_dir, reserved[3]; };
struct bpf_ct_opts { int some; };
struct nf_conn { int some; };
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *, struct bpf_sock_tuple *, __u32, struct bpf_ct_opts *, __u32)
    __ksym;
extern void bpf_ct_release(struct nf_conn *) __ksym;
__s64 errors[3], found;

SEC("xdp") int operate(struct xdp_md *ctx)
{
    struct { struct opts opts; __u8 tuple[36]; __u8 size; } s;
    if (bpf_xdp_load_bytes(ctx, 14, &s, sizeof(s)))
        return 0;
    for (int i = 0; i < 3; i++) {
        struct nf_conn *ct;
        if (i == 0)
            ct = bpf_xdp_ct_lookup(ctx, (void *)s.tuple, 12, (void *)&s.opts, 16);
        else if (i == 1)
            ct = bpf_xdp_ct_lookup(ctx, (void *)s.tuple, 36, (void *)&s.opts, 12);
        else
            ct = bpf_xdp_ct_lookup(ctx, (void *)s.tuple, 20, (void *)&s.opts, 16);
        errors[i] = s.opts.error;
        if (ct) {
            found++;
            bpf_ct_release(ct);
        }
    }
    return 2;
}
"""


@pytest.mark.skipif(MINOR < (6, 11), reason="the zone in bpf_ct_opts is of 6.11")
def test_looking_up_connections(compile_c: Callable[..., bytes]) -> None:
    rng = random.Random(5)
    packets = []
    for _ in range(200):
        namespace = rng.choice((-1, -1, -1, -2, 0, 77)).to_bytes(4, "little", signed=True)
        protocol = rng.choice((6, 17, 6, 17, 1, 0))
        rest = bytes(rng.choice((0, 0, 0, 0, 0, 0, 1)) for _ in range(6))
        packets.append(bytes(14) + namespace + bytes(4) + bytes([protocol, 0]) + rest + rng.randbytes(40))
    agree(compile_c(CONNECTIONS), packets)


def test_calls_of_kernel_functions_are_counted(compile_c: Callable[..., bytes]) -> None:
    with InterpProgram(import_object(compile_c(LOOPS), "t.o")) as program:
        outcome = program.run(bytes(14) + bytes(4) + b"\5\0\0\0" + bytes(8))
    assert outcome.helpers == {
        "xdp_load_bytes": 1,
        "iter_num_new": 1,
        "iter_num_next": 6,
        "iter_num_destroy": 1,
        "rcu_read_lock": 1,
        "rcu_read_unlock": 1,
    }


DRAIN = """
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
__s64 drained, sum, refused, limit;

static long take(struct bpf_dynptr *record, void *ctx)
{
    __u32 number = 0;
    refused += bpf_dynptr_read(&number, sizeof(number), record, 1, 0) != 0;
    sum = sum * 31 + number;
    return --limit == 0;
}

SEC("xdp") int operate(struct xdp_md *ctx)
{
    limit = 3;
    drained = drained * 100 + bpf_user_ringbuf_drain(&ring, take, 0, 0);
    return 2;
}
"""


@pytest.mark.skipif(MINOR < (6, 1), reason="rings that user space fills are of 6.1")
def test_records_of_user_space(compile_c: Callable[..., bytes]) -> None:
    elf = compile_c(DRAIN)
    records = [
        {"value": text} for text in ("0011223344", "00", "00" * 40, "0506070809", "ffffffffffffff", "0101010101")
    ]
    maps = {"ring": records}
    with KernelProgram(elf, maps=maps) as kernel, InterpProgram(import_object(elf, "t.o"), maps=maps) as interpreter:
        for left in (3, 0, 0):
            assert kernel.run(bytes(60)).verdict == interpreter.run(bytes(60)).verdict
            assert kernel.dump_maps() == interpreter.dump_maps()
            assert len(kernel.dump_maps()["ring"]) == left
