"""What the report on accesses says: names as people know them."""

from __future__ import annotations

from collections import Counter

import pytest
from codegen_helpers import parse

from fsir.dialects import map
from fsir.report.fields import in_packet_order, whole_fields
from fsir.report.keys import key_of


@pytest.mark.parametrize(
    ("counted", "shown"),
    [
        ({"ipv4.saddr": 2}, {"ipv4.saddr": 2}),
        ({"eth.h_proto[0]": 1, "eth.h_proto[1]": 1}, {"eth.h_proto": 1}),
        ({"eth.h_proto[0]": 1, "eth.h_proto": 1}, {"eth.h_proto[0]": 1, "eth.h_proto": 1}),
        ({"eth.h_dest[0:4]": 2, "eth.h_dest[4]": 2, "eth.h_dest[5]": 3}, {"eth.h_dest": 2, "eth.h_dest[5]": 1}),
        ({"eth.h_dest[0:4]": 1, "eth.h_dest[5]": 1}, {"eth.h_dest[0:4]": 1, "eth.h_dest[5]": 1}),
        ({"ipv6.saddr[0:8]": 1, "ipv6.saddr[8:16]": 1, "[4]:8": 1}, {"ipv6.saddr": 1, "[4]:8": 1}),
    ],
)
def test_fields_in_pieces(counted: dict[str, int], shown: dict[str, int]) -> None:
    assert whole_fields(Counter(counted)) == Counter(shown)


def test_order_is_that_of_the_packet() -> None:
    names = ["[4]:16", "udp.dest", "ipv4.daddr", "eth.h_proto", "ipv4.saddr[0:2]", "tcp.source+dest", "eth.h_dest"]
    assert list(in_packet_order(Counter(names))) == [
        *("eth.h_dest", "eth.h_proto", "ipv4.saddr[0:2]", "ipv4.daddr", "tcp.source+dest", "udp.dest", "[4]:16")
    ]


def test_constants_in_keys_are_unsigned_and_as_wide_as_their_part() -> None:
    module = parse("""
        map.decl @m "hash" key 8 value 4 entries 1 flags 0
        ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
        ^entry(%ctx : !packet.ctx):
          %all = arith.constant -1 : i64
          %port = arith.trunci %all : i64 to i16
          %low = arith.constant -2 : i16
          %read = packet.ctx_load %ctx[16] : !packet.ctx -> i32
          %flipped = arith.constant -4 : i32
          %sum = arith.addi %read, %flipped : i32
          %v = map.lookup @m(%port, %low, %sum) : i16, i16, i32 -> !map.value<@m>
          packet.verdict %all : i64
        }""")
    (lookup,) = [op for op in module.walk() if isinstance(op, map.LookupOp)]
    assert key_of(lookup) == ["65535", "65534", "of a context field"]
