"""What the report on accesses says: names as people know them."""

from __future__ import annotations

from collections import Counter

import pytest

from fsir.report.fields import in_packet_order, whole_fields


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
