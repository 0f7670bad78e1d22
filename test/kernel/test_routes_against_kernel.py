"""bpf_fib_lookup and bpf_check_mtu: interpreter and kernel answer the same from one table of routes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fsir.interp.packet_io import Packet, format_packets
from fsir.run.cli import main

ROUTES = {
    "interfaces": [
        {"ifindex": 2, "mac": "02:00:00:00:00:02", "mtu": 1400},
        {"ifindex": 3, "mac": "020000000003"},
        {"ifindex": 4, "forwarding": False},
    ],
    "routes": [
        {"prefix": "10.0.0.0/8", "ifindex": 2, "gateway": "192.0.2.1"},
        {"prefix": "10.1.0.0/16", "ifindex": 3},
        {"prefix": "10.1.2.0/24", "ifindex": 3, "gateway": "10.1.0.9", "mtu": 700, "metric": 5},
        {"prefix": "10.2.0.0/16", "ifindex": 2, "gateway": "2001:db8::1"},
        {"prefix": "172.16.0.0/12", "action": "blackhole"},
        {"prefix": "192.168.0.0/24", "action": "prohibit"},
        {"prefix": "192.168.1.0/24", "action": "unreachable"},
        {"prefix": "192.168.2.0/24", "action": "local"},
        {"prefix": "2001:db8:1::/48", "ifindex": 2, "gateway": "2001:db8::1"},
        {"prefix": "2001:db8:2::/48", "ifindex": 3, "metric": 7},
        {"prefix": "2001:db8:3::/48", "action": "blackhole"},
    ],
    "neighbours": [
        {"ifindex": 2, "address": "192.0.2.1", "mac": "02000000aa01"},
        {"ifindex": 2, "address": "2001:db8::1", "mac": "02000000aa02"},
        {"ifindex": 3, "address": "10.1.0.9", "mac": "02000000aa03"},
        {"ifindex": 3, "address": "10.1.3.4", "mac": "02000000aa04"},
        {"ifindex": 3, "address": "2001:db8:2::5", "mac": "02000000aa05"},
    ],
}
TARGETS4 = (
    *("10.9.9.9", "10.1.3.4", "10.1.3.5", "10.1.2.3", "10.2.0.1", "172.16.0.1", "192.168.0.1", "192.168.1.1"),
    *("192.168.2.1", "8.8.8.8", "127.0.0.1"),
)
TARGETS6 = ("2001:db8:1::1", "2001:db8:2::5", "2001:db8:2::6", "2001:db8:3::1", "2001:db8:4::1", "fe80::1", "ff02::1")

SOURCE = """
struct ask { __u32 ifindex, flags; __u16 total, mtu_length; __s32 delta; struct bpf_fib_lookup params; };
struct answer { __s64 results[2]; __u32 mtu, pad; struct bpf_fib_lookup params; };
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(value_size, sizeof(struct answer)); __uint(max_entries, 1000); }
    answers SEC(".maps");

SEC("%(section)s") int ask(struct %(ctx)s *ctx)
{
    struct ask ask = {};
    struct answer answer = {};
    if (%(load)s(ctx, 14, &ask, sizeof(ask)))
        return 0;
    answer.params = ask.params;
    answer.params.ifindex = ask.ifindex;
    answer.params.tot_len = ask.total;
    answer.results[0] = bpf_fib_lookup(ctx, &answer.params, sizeof(answer.params), ask.flags);
    answer.mtu = ask.mtu_length;
    answer.results[1] = bpf_check_mtu(ctx, ask.ifindex, &answer.mtu, ask.delta, 0);
    bpf_map_push_elem(&answers, &answer, 0);
    return 2;
}
"""
HOOKS = {
    "xdp": {"section": "xdp", "ctx": "xdp_md", "load": "bpf_xdp_load_bytes"},
    "tc": {"section": "tc", "ctx": "__sk_buff", "load": "bpf_skb_load_bytes"},
}


def question(rng: random.Random) -> bytes:
    """A frame that asks: flags direct, output, without neighbour."""
    from ipaddress import ip_address

    target = ip_address(rng.choice(TARGETS4 + TARGETS6))
    source = ip_address("192.0.2.77" if target.version == 4 else "2001:db8::77")
    flags = rng.choice((0, 0, 0, 4, 1 << 6))
    total = rng.choice((0, 100, 701, 1400, 1401, 1500))
    head = rng.choice((1, 2, 3, 4, 9)).to_bytes(4, "little") + flags.to_bytes(4, "little")
    head += total.to_bytes(2, "little") + rng.choice((0, 100, 1400, 1401)).to_bytes(2, "little")
    head += rng.choice((0, 0, 20, -20)).to_bytes(4, "little", signed=True)
    params = bytes([2 if target.version == 4 else 10, 17]) + bytes(14)
    params += source.packed.ljust(16, b"\0") + target.packed.ljust(16, b"\0") + bytes(16)
    return bytes(12) + b"\x12\x34" + head + params + bytes(rng.choice((0, 0, 1300, 1500)))


@pytest.mark.parametrize("hook", HOOKS)
def test_lookups(
    hook: str, tmp_path: Path, compile_c: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(hook)
    elf, pcap, routes = tmp_path / "ask.o", tmp_path / "in.pcap", tmp_path / "routes.json"
    elf.write_bytes(compile_c(SOURCE % HOOKS[hook]))
    pcap.write_bytes(format_packets([Packet(question(rng), index) for index in range(500)]))
    routes.write_text(json.dumps(ROUTES))
    arguments = [str(elf), "--pcap", str(pcap), "--routes", str(routes), "--compare-engine", "kernel", "--json"]
    status = main(arguments)
    output = capsys.readouterr()
    assert not output.err
    document = json.loads(output.out)
    assert status == 0, document["difference"]
    answers = [entry["value"][:16] for entry in document["left"]["maps"]["answers"]]
    assert len(answers) == 500 and len(set(answers)) >= 8


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "expected an object with interfaces, routes, neighbours; it is no object"),
        ("{", "is no JSON"),
        ('{"route": []}', "unknown: route"),
        ('{"routes": {}}', "routes must be a list"),
        ('{"routes": [{"ifindex": 1}]}', "routes[0]: prefix is missing"),
        ('{"routes": [{"prefix": "10.0.0.1/8", "ifindex": 1}]}', "routes[0]: 10.0.0.1/8 has host bits set"),
        ('{"routes": [{"prefix": "10.0.0.0/8", "ifindex": 0}]}', "routes[0]: 0 is no number from 1 on"),
        ('{"routes": [{"prefix": "10.0.0.0/8", "action": "x"}]}', "routes[0]: action is one of forward"),
        ('{"neighbours": [{"ifindex": 1, "address": "::1", "mac": "aa"}]}', "'aa' is no address of 6 bytes"),
        ('{"interfaces": [{"ifindex": 1, "speed": 1}]}', "expected an object with some of forwarding, ifindex"),
    ],
)
def test_what_is_wrong_with_a_file(
    document: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes, program = tmp_path / "routes.json", tmp_path / "p.mlir"
    routes.write_text(document)
    program.write_text("")
    assert main([str(program), "--hex", "00" * 60, "--routes", str(routes)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{routes}: error: ") and message in error
