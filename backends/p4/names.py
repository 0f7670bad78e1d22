"""Identifiers of the generated program: legal in P4, unique, close to what the source calls things."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LANGUAGE = """
abstract action actions apply bit bool const control default else entries enum error exit extern false header
header_union if in inout int key list match_kind type out package parser pragma priority return select set state string
struct switch table this transition true tuple typedef valueset varbit verify void
"""
_ARCHITECTURE = """
packet_in packet_out NoAction exact ternary lpm range optional selector standard_metadata_t counter direct_counter meter
direct_meter register action_profile action_selector random digest mark_to_drop hash verify_checksum update_checksum
clone resubmit recirculate truncate assert assume log_msg Parser VerifyChecksum Ingress Egress ComputeChecksum Deparser
V1Switch CounterType MeterType HashAlgorithm CloneType main
"""
_FRAME = """
packet hdr meta sm program drop transmit hand_over finish CPU_PORT XDP_ABORTED XDP_DROP XDP_PASS XDP_TX XDP_REDIRECT
headers_t metadata_t handoff_t handoff redirect_t redirect ifindex_of_port port_of_ifindex set_ifindex same_ifindex
set_port not_a_port NicParser NicVerifyChecksum Program NicIngress NicEgress NicComputeChecksum NicDeparser
"""
RESERVED = frozenset((_LANGUAGE + _ARCHITECTURE + _FRAME).split())


class Names:
    """Gives every wish a name of its own."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._counts = dict.fromkeys((*RESERVED, *taken), 1)

    def new(self, wish: str) -> str:
        """An identifier like `wish` that was not given before, and is not among those taken from the start."""
        base = identifier(wish)
        name, count = base, self._counts.get(base, 0)
        while name in self._counts:
            count += 1
            name = f"{base}_{count}"
        self._counts[base] = max(count, 1)
        self._counts[name] = 1
        return name


def identifier(wish: str) -> str:
    """`wish` with everything that cannot be in an identifier taken out."""
    name = re.sub(r"\W+", "_", wish, flags=re.ASCII).strip("_")
    return name if name and not name[0].isdigit() else f"v{name}"
