"""Names of protocol fields: every header that is reached by a check on the one before."""

from __future__ import annotations

from itertools import pairwise

import pytest
from codegen_helpers import parse

from fsir.analysis.protocols import HEADERS, field_name
from fsir.dialects import packet
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline

CHAINS = [
    (["eth", "arp"], 8, 6, "arp.sha"),
    (["eth", "vlan", "vlan", "ipv4"], 12, 4, "ipv4.saddr"),
    (["eth", "ipv4", "icmp"], 0, 1, "icmp.type"),
    (["eth", "ipv4", "tcp"], 4, 4, "tcp.seq"),
    (["eth", "ipv4", "gre", "ipv6"], 7, 1, "ipv6.hop_limit"),
    (["eth", "ipv4", "ipv4"], 8, 1, "ipv4.ttl"),
    (["eth", "ipv4", "ipv6"], 6, 1, "ipv6.nexthdr"),
    (["eth", "ipv4", "udp", "vxlan", "eth"], 0, 4, "eth.h_dest[0:4]"),
    (["eth", "ipv4", "udp", "geneve", "eth", "ipv4"], 16, 4, "ipv4.daddr"),
    (["eth", "ipv4", "udp", "gtpu"], 4, 4, "gtpu.teid"),
    (["eth", "ipv6", "icmpv6"], 2, 2, "icmpv6.cksum"),
    (["eth", "ipv6", "srh"], 3, 1, "srh.segments_left"),
    (["eth", "ipv6", "frag", "udp"], 2, 2, "udp.dest"),
    (["eth", "ipv6", "hopopts", "dstopts", "tcp"], 0, 2, "tcp.source"),
    (["eth", "ipv6", "ah"], 4, 4, "ah.spi"),
    (["eth", "mpls"], 0, 4, "mpls.entry"),
    (["eth", "ipv4", "sctp"], 4, 4, "sctp.vtag"),
]
"""Headers in order, an access in the last one (offset, bytes), and its name."""

HOOKS = [("xdp", 0, 4), ("sched_cls", 76, 80)]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook[0])
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(chain[0]))
def test_names_follow_checks(chain: tuple[list[str], int, int, str], hook: tuple[str, int, int]) -> None:
    """Raised from machine code that compares each header's type field as it was read from the packet."""
    names, offset, size, expected = chain
    kind, data, end = hook
    lines = [f"%d = ebpf.ldx32 %ctx[{data}] : reg -> reg", f"%e = ebpf.ldx32 %ctx[{end}] : reg -> reg"]
    lines += ["%g = ebpf.addi %d, 200 : reg -> reg", "ebpf.jgt %g, %e, ^out, ^b0 : reg, reg"]
    start = 0
    for i, (name, after) in enumerate(pairwise(names)):
        header = HEADERS[name]
        lines.append(f"^b{i}:")
        if header.selector is not None and header.following is not None:
            at, width = header.selector
            value = next(v for v, following in header.following.items() if following == after)
            number = int.from_bytes(value.to_bytes(width, "big"), "little")
            lines.append(f"%t{i} = ebpf.ldx{8 * width} %d[{start + at}] : reg -> reg")
            lines.append(f"ebpf.jnei %t{i}, {number}, ^out, ^b{i + 1} : reg")
        else:
            lines.append(f"ebpf.ja ^b{i + 1}")
        start += header.length
    lines.append(f"^b{len(names) - 1}:")
    lines.append(f"%x = ebpf.ldx{8 * size} %d[{start + offset}] : reg -> reg" if size in (1, 2, 4, 8) else "")
    if size == 6:
        lines[-1] = f"%x = ebpf.ldx32 %d[{start + offset}] : reg -> reg"
        expected += "[0:4]"
    lines += ["ebpf.exit (%x) : reg", "^out:", "%n = ebpf.movi 0 -> reg", "ebpf.exit (%n) : reg"]
    head = f'ebpf.func @f section "{kind}" attributes {{prog_type = "{kind}"}} {{\n^entry(%ctx : !ebpf.reg):\n'
    module = parse(head + "\n".join(lines) + "\n}")
    run_pipeline(make_context(), module, "raise-types,raise-packet,raise-scalars,name-fields")
    last = [op for op in module.walk() if isinstance(op, packet.LoadOp)][-1]
    assert last.field is not None
    assert last.field.data == expected


def test_fields_lie_within_their_headers_and_apart() -> None:
    for name, header in HEADERS.items():
        covered = [byte for (at, size) in header.fields for byte in range(at, at + size)]
        assert len(covered) == len(set(covered)), name
        assert max(covered) < header.length, name
        assert set(header.following.values() if header.following else ()) <= HEADERS.keys(), name


def test_names_of_parts_and_of_several() -> None:
    assert field_name("ipv6", 12, 4) == "ipv6.saddr[4:8]"
    assert field_name("eth", 13, 1) == "eth.h_proto[1]"
    assert field_name("udp", 0, 4) == "udp.source+dest"
    assert field_name("ipv4", 10, 4) is None
