"""Entries of maps.json: keys and values in memory byte order of a little-endian machine, as hex."""

import struct
from typing import Any, TypeAlias

from traffic.frames import address

Entry: TypeAlias = dict[str, Any]
Maps: TypeAlias = dict[str, list[Entry]]


def entry(key: bytes, value: bytes) -> Entry:
    return {"key": key.hex(), "value": value.hex()}


def device(key: int, ifindex: int) -> Entry:
    """An entry of a DEVMAP: the device is named, not its in-memory value."""
    return {"key": u32(key).hex(), "ifindex": ifindex}


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def be16(value: int) -> bytes:
    return struct.pack("!H", value)


def prefix(text: str) -> bytes:
    """An LPM trie key of "a.b.c.d/n": u32 prefix length, then the address."""
    addr, length = text.split("/")
    return u32(int(length)) + address(addr)
