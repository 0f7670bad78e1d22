"""Frames of every chain of headers that `fsir.analysis.protocols` knows: where a search for packets begins."""

from __future__ import annotations

from functools import cache

from fsir.analysis.protocols import ALWAYS_FOLLOWED, HEADERS

DEPTH = 4
"""The most headers in a frame."""
PAYLOAD = bytes(range(1, 41))
SMALLEST = 14

_FILLED: dict[str, tuple[tuple[int, bytes], ...]] = {
    "eth": ((0, bytes.fromhex("020000000001020000000002")),),
    "ipv4": ((0, b"\x45"), (8, b"\x40"), (12, bytes.fromhex("0a0000020a000001"))),
    "ipv6": ((0, b"\x60"), (7, b"\x40"), (8, b"\xfd" + bytes(14) + b"\2\xfd" + bytes(14) + b"\1")),
    "tcp": ((0, bytes.fromhex("9c400050")), (12, b"\x50\x02")),
    "udp": ((0, bytes.fromhex("9c400035")),),
    "icmp": ((0, b"\x08"),),
    "icmpv6": ((0, b"\x80"),),
    "mpls": ((2, b"\x01\x40"),),
    "vxlan": ((0, b"\x08"),),
    "gtpu": ((0, b"\x30\xff"),),
}
"""What must stand in a header for programs to take it seriously: (offset, bytes)."""


@cache
def frames() -> tuple[bytes, ...]:
    """One frame for each chain of headers from Ethernet on that has no header three times, shorter ones first; then
    frames of nothing at all."""
    found: list[bytes] = []
    chains: list[tuple[str, ...]] = [("eth",)]
    for chain in chains:
        found.append(_frame(chain))
        if len(chain) < DEPTH:
            chains += [(*chain, name) for name in _following(chain[-1]) if chain.count(name) < _often(name)]
    return (*found, bytes(SMALLEST), bytes(64), bytes(1400))


def _often(name: str) -> int:
    return 2 if name in ("eth", "vlan", "ipv4", "ipv6") else 1


def _following(name: str) -> list[str]:
    if name in ALWAYS_FOLLOWED:
        return [ALWAYS_FOLLOWED[name]]
    return list(dict.fromkeys((HEADERS[name].following or {}).values()))


def _frame(chain: tuple[str, ...]) -> bytes:
    data = bytearray()
    lengths: list[tuple[int, int]] = []
    for name, after in zip(chain, (*chain[1:], ""), strict=True):
        header, start = HEADERS[name], len(data)
        data += bytes(header.length)
        for offset, content in _FILLED.get(name, ()):
            data[start + offset : start + offset + len(content)] = content
        if header.selector is not None and header.following is not None:
            offset, size = header.selector
            value = next((v for v, following in header.following.items() if following == after), None)
            if value is not None:
                data[start + offset : start + offset + size] = value.to_bytes(size, "big")
        length = {"ipv4": (2, 0), "ipv6": (4, 40), "udp": (4, 0)}.get(name)
        if length is not None:
            lengths.append((start + length[0], start + length[1]))
    data += PAYLOAD
    for at, start in lengths:
        data[at : at + 2] = (len(data) - start).to_bytes(2, "big")
    return with_checksum(bytes(data))


def with_checksum(frame: bytes) -> bytes:
    """The frame with the right checksum in the IPv4 header behind its Ethernet header, if it has one."""
    end = _IPV4 + 4 * (frame[_IPV4] & 15) if frame[12:14] == b"\x08\0" and len(frame) > _IPV4 else 0
    if not _IPV4 + 20 <= end <= len(frame):
        return frame
    head = frame[_IPV4 : _IPV4 + 10] + b"\0\0" + frame[_IPV4 + 12 : end]
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, len(head), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[: _IPV4 + 10] + (total ^ 0xFFFF).to_bytes(2, "big") + frame[_IPV4 + 12 :]


_IPV4 = 14
"""Where an IPv4 header begins that follows an Ethernet header."""
