"""Time and chance are the same in interpreter and kernel, by the pass `freeze-environment`, which fs-run applies."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fsir.interp.environment import CLOCK_OF, RANDOM, Prandom, clock_words
from fsir.interp.packet_io import Packet, format_packets
from fsir.run.cli import main

SOURCE = """
__u64 times[5]; __u32 numbers[8], draws;
static __attribute__((noinline)) __u32 draw(__u32 limit) { return bpf_get_prandom_u32() % limit; }

SEC("xdp") int prog(struct xdp_md *ctx)
{
    times[0] = bpf_ktime_get_ns();
    times[1] = bpf_ktime_get_coarse_ns();
    times[2] = bpf_ktime_get_boot_ns();
    times[3] = bpf_ktime_get_tai_ns();
    times[4] = bpf_jiffies64();
    for (int i = 0; i < 3; i++)
        numbers[draws++ & 7] = bpf_get_prandom_u32();
    numbers[7] = draw(1000);
    return numbers[0] & 1 ? XDP_PASS : XDP_DROP;
}
"""
START, STEP = 1_700_000_000_123_456_789, 1_000_003


@pytest.fixture
def inputs(tmp_path: Path, compile_c: Callable[..., bytes]) -> list[str]:
    """The program, and a pcap of ten packets, as arguments of fs-run."""
    elf, pcap = tmp_path / "prog.o", tmp_path / "in.pcap"
    elf.write_bytes(compile_c(SOURCE))
    pcap.write_bytes(format_packets([Packet(bytes(60), START + STEP * i) for i in range(10)]))
    return [str(elf), "--pcap", str(pcap), "--seed", "7"]


PIPELINES = ("", "freeze-environment", "raise,lower-to-xdp", "raise,freeze-environment,optimize,lower-to-xdp")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_kernel_and_interpreter_see_the_same(pipeline: str, inputs: list[str]) -> None:
    assert main([*inputs, "--compare-engine", "kernel", *(["--compare-pipeline", pipeline] if pipeline else [])]) == 0


@pytest.mark.parametrize("engine", ["interp", "kernel"])
def test_they_are_the_pcaps_times_and_the_seeds_numbers(
    engine: str, inputs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*inputs, "--engine", engine, "--time-start", str(START + 5), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert ".data.frozen" not in document["maps"]
    (data,) = (bytes.fromhex(entry["value"]) for entry in document["maps"][".bss"])
    monotonic, boot, tai, jiffies = clock_words(START + 5 + 9 * STEP)
    assert struct.pack("<5Q", monotonic, monotonic, boot, tai, jiffies) in data
    sequence = Prandom(7)
    drawn = [sequence.next() for _ in range(4 * 10)]
    assert struct.pack("<I", drawn[-1] % 1000) in data
    assert struct.pack("<2I", *drawn[-3:-1]) in data


def test_the_kernels_own_time_on_request(inputs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*inputs, "--engine", "kernel", "--no-freeze", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["maps"][".bss"]
    assert struct.pack("<Q", START + 9 * STEP).hex() not in entry["value"]


def test_every_helper_that_depends_on_time_or_chance_is_known() -> None:
    from fsir.interp.helpers import HELPERS

    assert {h.name for h in HELPERS.values() if h.time or h.random} == {*CLOCK_OF, RANDOM}
