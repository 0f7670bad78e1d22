"""Programs run in the kernel and their maps come back, for every kind of map."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsir.kernel.contents import interfaces_in
from fsir.kernel.engine import LINEAR, KernelProgram, current_cpu, on_cpu
from fsir.kernel.errors import KernelError
from fsir.kernel.syscalls import possible_cpus
from fsir.kernel.uapi import ProgType, XdpVerdict

CompileC = Callable[..., bytes]

FRAME = bytes.fromhex("020000000001 020000000002 0800") + bytes(range(46))


def u32(value: int) -> str:
    return value.to_bytes(4, "little").hex()


def u64(value: int) -> str:
    return value.to_bytes(8, "little").hex()


def xdp(body: str) -> str:
    """An XDP program with `data` and `data_end` at hand, that passes by default."""
    return f"""
    SEC("xdp") int prog(struct xdp_md *ctx) {{
        void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
        if (data + 14 > data_end) return XDP_ABORTED;
        __u32 zero = 0, one = 1; (void)zero; (void)one;
        {body}
        return XDP_PASS;
    }}
    """


def bpf_map(name: str, kind: str, *, key: str = "__u32", value: str = "__u32", size: int = 4, more: str = "") -> str:
    return f"""
    struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __type(key, {key}); __type(value, {value});
             __uint(max_entries, {size}); {more} }} {name} SEC(".maps");
    """


@pytest.mark.parametrize("verdict", list(XdpVerdict))
def test_verdict(compile_c: CompileC, verdict: XdpVerdict) -> None:
    with KernelProgram(compile_c(xdp(f"return {int(verdict)};"))) as program:
        assert program.run(FRAME) == (verdict, FRAME, b"")


def test_frame_is_changed_grown_and_shrunk(compile_c: CompileC) -> None:
    grow = "if (bpf_xdp_adjust_head(ctx, -8)) return XDP_ABORTED; if (bpf_xdp_adjust_tail(ctx, -2)) return XDP_DROP;"
    with KernelProgram(compile_c(xdp("*(char *)data = 0xaa;" + grow))) as program:
        verdict, data, _ = program.run(FRAME)
    assert verdict == XdpVerdict.PASS
    assert data[8:] == b"\xaa" + FRAME[1:-2]


def test_metadata_in_and_out(compile_c: CompileC) -> None:
    body = """
        __u32 *meta = (void *)(long)ctx->data_meta;
        if ((void *)(meta + 1) > data) return XDP_DROP;
        __u32 seen = *meta;
        if (bpf_xdp_adjust_meta(ctx, -4)) return XDP_ABORTED;
        meta = (void *)(long)ctx->data_meta;
        data = (void *)(long)ctx->data;
        if ((void *)(meta + 2) > data) return XDP_ABORTED;
        meta[0] = seen + 1;
    """
    with KernelProgram(compile_c(xdp(body))) as program:
        assert program.run(FRAME, meta=bytes.fromhex("01000000")) == (
            XdpVerdict.PASS,
            FRAME,
            bytes.fromhex("02000000 01000000"),
        )
        assert program.run(FRAME).verdict == XdpVerdict.DROP


def test_frames_too_short_are_errors(compile_c: CompileC) -> None:
    with KernelProgram(compile_c(xdp(""))) as program:
        assert program.run(FRAME[:14]).data == FRAME[:14]
        with pytest.raises(KernelError, match="at least 14 bytes"):
            program.run(FRAME[:13])


def test_frames_longer_than_the_program_sees_are_errors(compile_c: CompileC) -> None:
    with KernelProgram(compile_c(xdp("return data_end - data;"))) as program:
        assert program.run(bytes(LINEAR)).verdict == LINEAR
        with pytest.raises(KernelError, match=r"a frame of 5000 bytes is more than the"):
            program.run(bytes(5000))
    with KernelProgram(compile_c(xdp("").replace('"xdp"', '"xdp.frags"'))) as program:
        assert program.run(bytes(5000)).data == bytes(5000)


@pytest.mark.parametrize(
    ("helper", "most", "step", "after"),
    [
        ("adjust_meta(ctx, -%d)", 216, 4, bytes(216) + FRAME),
        ("adjust_head(ctx, -%d)", 216, 1, bytes(216) + FRAME),
        ("adjust_head(ctx, %d)", len(FRAME) - 14, 1, FRAME[-14:]),
        ("adjust_tail(ctx, -%d)", len(FRAME) - 14, 1, FRAME[:14]),
        ("adjust_tail(ctx, %d)", LINEAR - len(FRAME), 1, FRAME.ljust(LINEAR, b"\0")),
    ],
)
def test_limits_of_a_test_run(compile_c: CompileC, helper: str, most: int, step: int, after: bytes) -> None:
    """The last amount that is granted, and the first that is not; what is gained is zero."""

    def run(amount: int) -> tuple[int, bytes]:
        with KernelProgram(compile_c(xdp(f"if (bpf_xdp_{helper % amount}) return XDP_DROP;"))) as program:
            outcome = program.run(FRAME)
        return outcome.verdict, outcome.meta + outcome.data

    assert run(most) == (XdpVerdict.PASS, after)
    assert run(most + step) == (XdpVerdict.DROP, FRAME)


def test_metadata_moves_with_the_head_and_leaves_its_bytes(compile_c: CompileC) -> None:
    with KernelProgram(compile_c(xdp("if (bpf_xdp_adjust_head(ctx, -20)) return XDP_DROP;"))) as program:
        assert program.run(FRAME, meta=b"abcdefgh") == (XdpVerdict.PASS, bytes(12) + b"abcdefgh" + FRAME, b"abcdefgh")
        assert len(program.run(FRAME, meta=bytes(216 - 20)).data) == len(FRAME) + 20
        assert program.run(FRAME, meta=bytes(216 - 16)).verdict == XdpVerdict.DROP
        with pytest.raises(KernelError):
            program.run(FRAME, meta=bytes(220))


def test_legacy_map_definitions(compile_c: CompileC) -> None:
    source = """
    struct bpf_map_def { unsigned type, key_size, value_size, max_entries, map_flags; };
    struct bpf_map_def SEC("maps") t = { BPF_MAP_TYPE_ARRAY, 4, 8, 2, 0 };
    """
    elf = compile_c(source + xdp("__u64 *v = bpf_map_lookup_elem(&t, &one); if (v) (*v)++;"))
    with KernelProgram(elf, maps={"t": [{"key": u32(1), "value": u64(6)}]}) as program:
        program.run(FRAME)
        assert program.dump_maps()["t"] == [{"key": u32(1), "value": u64(7)}]


def test_array_hash_and_internal_maps(compile_c: CompileC) -> None:
    source = bpf_map("seen", "HASH", key="__u16", value="__u64") + bpf_map("count", "ARRAY", value="__u64")
    body = """
        total++;
        __u16 proto = *(__u16 *)(data + 12);
        __u64 *value = bpf_map_lookup_elem(&seen, &proto), first = start;
        if (value) __sync_fetch_and_add(value, 1); else bpf_map_update_elem(&seen, &proto, &first, BPF_ANY);
        value = bpf_map_lookup_elem(&count, &one);
        if (value) *value += 2;
    """
    elf = compile_c("const volatile __u32 other = 7, start = 1; int total;" + source + xdp(body))
    with KernelProgram(
        elf,
        rodata={"start": bytes.fromhex("0a000000")},
        maps={
            "seen": [{"key": "86dd", "value": u64(5)}],
            ".bss": [{"key": u32(0), "value": u32(40)}],
        },
    ) as program:
        program.run(FRAME)
        program.run(FRAME)
        assert program.dump_maps() == {
            "seen": [{"key": "0800", "value": u64(11)}, {"key": "86dd", "value": u64(5)}],
            "count": [{"key": u32(1), "value": u64(4)}],
            ".bss": [{"key": u32(0), "value": u32(42)}],
            ".rodata": [{"key": u32(0), "value": u32(7) + u32(10)}],
        }


def test_per_cpu_values_belong_to_the_cpu_that_ran(compile_c: CompileC) -> None:
    source = bpf_map("hits", "PERCPU_ARRAY") + bpf_map("flows", "LRU_PERCPU_HASH", value="__u64")
    body = """
        __u32 *hit = bpf_map_lookup_elem(&hits, &one);
        if (hit) (*hit)++;
        __u64 *flow = bpf_map_lookup_elem(&flows, &one);
        if (flow) (*flow)++;
    """
    cpus = possible_cpus()
    start = [u64(10 + cpu) for cpu in range(cpus)]
    with KernelProgram(compile_c(source + xdp(body)), maps={"flows": [{"key": u32(1), "values": start}]}) as program:
        cpu = current_cpu()
        with on_cpu(cpu):
            program.run(FRAME)
        found = program.dump_maps()
    assert found["hits"] == [{"key": u32(1), "values": [u32(int(i == cpu)) for i in range(cpus)]}]
    assert found["flows"] == [{"key": u32(1), "values": [u64(10 + i + (i == cpu)) for i in range(cpus)]}]


def test_maps_are_set_between_runs(compile_c: CompileC) -> None:
    source = "int total = 1;" + bpf_map("t", "ARRAY")
    body = "__u32 *v = bpf_map_lookup_elem(&t, &one); if (v) total += *v;"
    with KernelProgram(compile_c(source + xdp(body)), cpu=0) as program:
        program.set_maps({"t": [{"key": u32(1), "value": u32(5)}], ".data": [{"key": u32(0), "value": u32(100)}]})
        program.run_all([FRAME, FRAME])
        assert program.dump_maps()[".data"] == [{"key": u32(0), "value": u32(110)}]
        with pytest.raises(KernelError, match=r"no map 'u'; there are: \.data, t"):
            program.set_maps({"u": []})


def test_interfaces_named_by_contents() -> None:
    ports = [{"key": u32(1), "ifindex": 7}]
    assert interfaces_in({"a": ports, "b": [{"key": u32(0), "map": [{"key": u32(0), "ifindex": 9}]}]}) == {7, 9}


def test_lpm_trie(compile_c: CompileC) -> None:
    source = "struct key { __u32 length; __u8 address[4]; };" + bpf_map(
        "routes", "LPM_TRIE", key="struct key", more="__uint(map_flags, BPF_F_NO_PREALLOC);"
    )
    body = "struct key k = {32, {10, 1, 2, 3}}; __u32 *hop = bpf_map_lookup_elem(&routes, &k); return hop ? *hop : 99;"
    routes = [{"key": u32(8) + "0a000000", "value": u32(8)}, {"key": u32(16) + "0a010000", "value": u32(16)}]
    with KernelProgram(compile_c(source + xdp(body)), maps={"routes": routes}) as program:
        assert program.run(FRAME).verdict == 16
        assert program.dump_maps()["routes"] == routes


@pytest.mark.parametrize("kind", ["QUEUE", "STACK"])
def test_queues_are_listed_oldest_first_and_keep_their_contents(compile_c: CompileC, kind: str) -> None:
    source = (
        f'struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __type(value, __u32); __uint(max_entries, 8); }} q SEC(".maps");'
    )
    body = "__u32 v = 7; bpf_map_push_elem(&q, &v, 0);"
    with KernelProgram(compile_c(source + xdp(body)), maps={"q": [{"value": u32(1)}, {"value": u32(2)}]}) as program:
        program.run(FRAME)
        expected = [{"value": u32(v)} for v in (1, 2, 7)]
        assert program.dump_maps()["q"] == expected
        assert program.dump_maps()["q"] == expected


def test_ring_buffer_and_perf_events(compile_c: CompileC) -> None:
    source = """
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); }
        perf SEC(".maps");
    """
    body = """
        void *gone = bpf_ringbuf_reserve(&ring, 16, 0);
        if (gone) bpf_ringbuf_discard(gone, 0);
        __u64 value = 5;
        if (bpf_ringbuf_output(&ring, &value, 6, 0)) return XDP_ABORTED;
        if (bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &one, 4)) return XDP_DROP;
    """
    with KernelProgram(compile_c(source + xdp(body))) as program:
        assert [program.run(FRAME).verdict for _ in range(3)] == [XdpVerdict.PASS] * 3
        found = program.dump_maps()
    assert found["ring"] == [{"value": "050000000000"}] * 3
    assert found["perf"] == [{"value": u32(1)}] * 3


def test_ring_buffer_refuses_when_full(compile_c: CompileC) -> None:
    source = 'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");'
    with KernelProgram(
        compile_c(source + xdp("__u64 v = 3; if (bpf_ringbuf_output(&ring, &v, 8, 0)) return XDP_DROP;"))
    ) as program:
        verdicts = [program.run(FRAME).verdict for _ in range(300)]
        kept = verdicts.count(XdpVerdict.PASS)
        assert program.dump_maps()["ring"] == [{"value": u64(3)}] * kept
    assert kept == 4096 // 16 - 1


def test_maps_of_maps(compile_c: CompileC) -> None:
    source = """
    struct inner { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u32); __uint(max_entries, 4); };
    struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __type(key, __u32); __uint(max_entries, 4);
             __array(values, struct inner); } outer SEC(".maps");
    """
    body = """
        void *inner = bpf_map_lookup_elem(&outer, &one);
        if (!inner) return XDP_DROP;
        __u32 *value = bpf_map_lookup_elem(inner, &one);
        if (value) (*value)++;
    """
    with KernelProgram(
        compile_c(source + xdp(body)), maps={"outer": [{"key": u32(1), "map": [{"key": u32(1), "value": u32(8)}]}]}
    ) as program:
        assert program.run(FRAME).verdict == XdpVerdict.PASS
        assert program.dump_maps()["outer"] == [{"key": u32(1), "map": [{"key": u32(1), "value": u32(9)}]}]


TAIL = """
SEC("xdp") int second(struct xdp_md *ctx) { return XDP_TX; }
"""


def test_program_arrays_are_filled_and_read_by_name(compile_c: CompileC) -> None:
    source = bpf_map("next", "PROG_ARRAY") + TAIL + xdp("bpf_tail_call(ctx, &next, 1);")
    entries = [{"key": u32(1), "program": "second"}]
    with KernelProgram(compile_c(source), "prog", maps={"next": entries}) as program:
        assert program.run(FRAME).verdict == XdpVerdict.TX
        assert program.dump_maps()["next"] == entries
    with KernelProgram(compile_c(source), "prog") as program:
        assert program.run(FRAME).verdict == XdpVerdict.PASS
    with pytest.raises(KernelError, match="no loaded program 'third'"):
        KernelProgram(compile_c(source), "prog", maps={"next": [{"key": u32(1), "program": "third"}]})


def test_program_arrays_initialised_in_the_object(compile_c: CompileC) -> None:
    source = """
    int second(struct xdp_md *ctx);
    struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(key_size, 4); __uint(max_entries, 2);
             __array(values, int(struct xdp_md *)); } next SEC(".maps") = { .values = { [1] = (void *)&second } };
    """
    with KernelProgram(compile_c(source + TAIL + xdp("bpf_tail_call(ctx, &next, 1);")), "prog") as program:
        assert program.run(FRAME).verdict == XdpVerdict.TX
        assert program.dump_maps()["next"] == [{"key": u32(1), "program": "second"}]


def test_device_cpu_and_socket_maps(compile_c: CompileC) -> None:
    source = (
        bpf_map("ports", "DEVMAP")
        + bpf_map("cpus", "CPUMAP", value="struct bpf_cpumap_val")
        + bpf_map("sockets", "XSKMAP")
    )
    body = """
        if (*(char *)data == 1) return bpf_redirect_map(&ports, *(char *)(data + 1), XDP_DROP);
        if (*(char *)data == 2) return bpf_redirect_map(&cpus, *(char *)(data + 1), XDP_DROP);
        return bpf_redirect_map(&sockets, *(char *)(data + 1), XDP_DROP);
    """
    contents = {
        "ports": [{"key": u32(1), "ifindex": 1}],
        "cpus": [{"key": u32(0), "qsize": 64}],
        "sockets": [{"key": u32(2), "socket": 5}],
    }
    with KernelProgram(compile_c(source + xdp(body)), maps=contents) as program:
        assert program.dump_maps() == contents
        hits = [program.run(bytes(head) + FRAME[2:]).verdict for head in ((1, 1), (2, 0), (3, 2))]
        misses = [program.run(bytes(head) + FRAME[2:]).verdict for head in ((1, 2), (2, 1), (3, 1))]
    assert hits == [XdpVerdict.REDIRECT] * 3
    assert misses == [XdpVerdict.DROP] * 3


def test_sizes_left_for_the_loader(compile_c: CompileC) -> None:
    elf = compile_c(bpf_map("t", "HASH", size=0) + xdp("bpf_map_update_elem(&t, &one, &one, 0);"))
    with pytest.raises(KernelError, match="map t has no size"):
        KernelProgram(elf)
    with KernelProgram(elf, map_sizes={"t": 3}) as program:
        program.run(FRAME)
        assert program.dump_maps()["t"] == [{"key": u32(1), "value": u32(1)}]


def test_one_program_of_several(compile_c: CompileC) -> None:
    elf = compile_c(TAIL + xdp(""))
    with pytest.raises(KernelError, match=r"2 programs, name one: second \(xdp\), prog \(xdp\)"):
        KernelProgram(elf)
    with pytest.raises(KernelError, match="no program called 'third'"):
        KernelProgram(elf, "third")
    with KernelProgram(elf, "second") as program:
        assert program.run(FRAME).verdict == XdpVerdict.TX


def test_type_given_for_a_section_that_says_none(compile_c: CompileC) -> None:
    elf = compile_c('SEC("from-netdev") int prog(struct xdp_md *ctx) { return XDP_DROP; }')
    with pytest.raises(KernelError, match="says no program type"):
        KernelProgram(elf)
    with KernelProgram(elf, prog_type=ProgType.XDP) as program:
        assert program.run(FRAME).verdict == XdpVerdict.DROP


def test_classifier(compile_c: CompileC) -> None:
    body = "skb->mark = 1; char b = 9; bpf_skb_store_bytes(skb, 0, &b, 1, 0); return skb->len;"
    with KernelProgram(compile_c(f'SEC("tc") int prog(struct __sk_buff *skb) {{ {body} }}')) as program:
        assert program.run(FRAME) == (len(FRAME), b"\x09" + FRAME[1:], b"")


def test_refusal_comes_with_the_verifier_log(compile_c: CompileC) -> None:
    with pytest.raises(KernelError, match="invalid access to packet") as refused:
        KernelProgram(compile_c(xdp("return *(char *)(data + 20);")))
    assert refused.value.errno and "invalid access to packet" in refused.value.log


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"key": "00", "value": u32(1)}], "'key' must be 4 bytes in hex"),
        ([{"key": u32(0)}], "'value' must be 4 bytes in hex"),
        ([{"key": u32(0), "value": "zz"}], "'value' must be 4 bytes in hex"),
        ([{"key": u32(9), "value": u32(1)}], "key 09000000"),
    ],
)
def test_wrong_map_contents_are_named(compile_c: CompileC, entries: list[dict[str, str]], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        KernelProgram(compile_c(bpf_map("t", "ARRAY") + xdp("bpf_map_lookup_elem(&t, &one);")), maps={"t": entries})


def test_pinned_maps_are_not_shared_with_earlier_loads(compile_c: CompileC) -> None:
    source = bpf_map("t", "ARRAY", more="__uint(pinning, LIBBPF_PIN_BY_NAME);")
    elf = compile_c(source + xdp("__u32 *v = bpf_map_lookup_elem(&t, &one); if (v) (*v)++;"))
    for _ in range(2):
        with KernelProgram(elf) as program:
            program.run(FRAME)
            assert program.dump_maps()["t"] == [{"key": u32(1), "value": u32(1)}]


@pytest.mark.parametrize("name", ["router", "firewall", "maglev"])
def test_examples_load_and_run(example: Callable[[str], bytes], name: str) -> None:
    with KernelProgram(example(name)) as program:
        assert program.facts.jited_bytes > 0
        assert {outcome.verdict for outcome in program.run_all([FRAME] * 2000)} <= set(XdpVerdict)
