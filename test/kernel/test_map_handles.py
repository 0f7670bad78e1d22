"""Maps that are not known by name, and what helpers do with maps: up and down again, in the kernel and interpreted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fsir.interp.packet_io import Packet, format_packets
from fsir.run.cli import main

SOURCE = """
struct inner { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); }
    in_a SEC(".maps"), in_b SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, __u32);
    __array(values, struct inner); } outer SEC(".maps") = { .values = { [0] = &in_a, [1] = &in_b } };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); }
    low SEC(".maps"), high SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 8); __type(value, __u64); } queue SEC(".maps");
struct locked { struct bpf_spin_lock lock; __u32 n; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct locked); }
    locks SEC(".maps");

static long each(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
    *sum += *value;
    *value += 1;
    if (*value > 9)
        bpf_map_delete_elem(map, key);
    return 0;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 14 > end)
        return XDP_DROP;
    unsigned char *p = data;
    __u32 which = p[0] & 3, key = p[1] & 7, zero = 0;
    __u64 fresh = 1, sum = 0;
    void *map = bpf_map_lookup_elem(&outer, &which);
    if (map) {
        __u64 *found = bpf_map_lookup_elem(map, &key);
        if (found)
            fresh = ++*found;
        else
            bpf_map_update_elem(map, &key, &fresh, BPF_ANY);
        if (p[2] & 1)
            bpf_map_delete_elem(map, &key);
        __u64 *direct = bpf_map_lookup_elem(&in_a, &key); /* what was changed by the handle */
        if (direct)
            fresh += *direct;
    }
    void *chosen = p[3] & 1 ? (void *)&low : (void *)&high;
    asm volatile("" : "+r"(chosen));
    __u64 *count = bpf_map_lookup_elem(chosen, &zero);
    if (count)
        *count += fresh;
    bpf_map_push_elem(&queue, &fresh, BPF_EXIST);
    if (p[4] & 1) {
        bpf_map_pop_elem(&queue, &fresh);
        p[5] = fresh;
    }
    struct locked *l = bpf_map_lookup_elem(&locks, &zero);
    if (l) {
        bpf_spin_lock(&l->lock);
        l->n += 1;
        bpf_spin_unlock(&l->lock);
        p[8] = l->n;
    }
    bpf_for_each_map_elem(&in_b, each, &sum, 0);
    p[9] = sum;
    return XDP_PASS;
}
"""


@pytest.fixture
def inputs(tmp_path: Path, compile_c: Callable[..., bytes]) -> list[str]:
    """The program, and a pcap, as arguments of fs-run."""
    elf, pcap = tmp_path / "prog.o", tmp_path / "in.pcap"
    elf.write_bytes(compile_c(SOURCE))
    chance = random.Random(1)
    pcap.write_bytes(format_packets([Packet(chance.randbytes(60), i) for i in range(200)]))
    return [str(elf), "--pcap", str(pcap)]


def test_the_interpreter_does_as_the_kernel(inputs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*inputs, "--compare-engine", "kernel"]) == 0, capsys.readouterr()
    assert main([*inputs, "--compare-pipeline", "raise,optimize"]) == 0, capsys.readouterr()


@pytest.mark.parametrize("pipeline", ["raise,lower-to-xdp", "raise,optimize,lower-to-xdp"])
def test_what_was_lowered_does_the_same(inputs: list[str], pipeline: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*inputs, "--engine", "kernel", "--compare-pipeline", pipeline]) == 0, capsys.readouterr()
