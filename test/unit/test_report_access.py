"""What the report on accesses says: names as people know them."""

from __future__ import annotations

from collections import Counter

import pytest

from fsir.report.fields import whole_fields


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
