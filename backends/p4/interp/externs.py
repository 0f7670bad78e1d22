"""The extern functions and objects of core.p4 and v1model: how a call is translated, and what it does.

`EXTERNS` gives for each a Python template over its parameters: `_self` is the object, `_width` the width of what is
written; the value of the template goes to the `out` or `inout` argument. `PACKED` parameters come as (bits, width).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fsir.backends.p4.interp.errors import ControlPlaneError, P4RuntimeError

DROP_PORT = 511

EXTERNS = {
    "verify": "verify(_check, _toSignal)",
    "packet_in.extract": "_hdr.extract(_self)",
    "packet_in.advance": "_self.advance(_sizeInBits)",
    "packet_in.length": "_self.length()",
    "packet_out.emit": "_hdr.emit(_self)",
    "counter.count": "_self.count(_index, RT.length)",
    "direct_counter.count": "None",  # a direct counter counts by itself when its table matches
    "meter.execute_meter": "_self.execute(_index)",
    "direct_meter.read": "_self.read()",
    "register.read": "_self.read(_index)",
    "register.write": "_self.write(_index, _value)",
    "random": "RT.draw(_lo, _hi)",
    "digest": "RT.digest(_receiver, _data)",
    "mark_to_drop": "RT.mark_to_drop(_standard_metadata)",
    "hash": "RT.hash(_algo, _base, _data, _max, _width)",
    "verify_checksum": "RT.verify_checksum(_condition, _data, _checksum, _algo, _width, False)",
    "update_checksum": "RT.update_checksum(_condition, _data, _checksum, _algo, _width, False)",
    "verify_checksum_with_payload": "RT.verify_checksum(_condition, _data, _checksum, _algo, _width, True)",
    "update_checksum_with_payload": "RT.update_checksum(_condition, _data, _checksum, _algo, _width, True)",
    "truncate": "RT.truncate(_length)",
    "assert": "RT.check(_check, 'assert')",
    "assume": "RT.check(_check, 'assume')",
    "log_msg": "RT.log_msg(_msg, None)",
}
PACKED = frozenset(
    f"{extern}.data"
    for extern in (
        "hash",
        "verify_checksum",
        "update_checksum",
        "verify_checksum_with_payload",
        "update_checksum_with_payload",
    )
)


# -- hash algorithms -----------------------------------------------------------------------------------------------


def csum16(data: bytes) -> int:
    """RFC 1071; an odd last byte counts as the high half of a word."""
    if len(data) & 1:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF  # the ones' complement sum, except for the two zeros
    if total == 0 and any(data):
        total = 0xFFFF
    return total ^ 0xFFFF


def crc16(data: bytes) -> int:
    """CRC-16/ARC, BMv2's crc16: polynomial 0x8005 reflected, initially 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def xor16(data: bytes) -> int:
    result = 0
    for position in range(0, len(data), 2):
        result ^= int.from_bytes(data[position : position + 2].ljust(2, b"\0"), "big")
    return result


def identity(data: bytes) -> int:
    """The first eight bytes as a number, as in BMv2."""
    return int.from_bytes(data[:8], "big")


# By the number of the member of HashAlgorithm.
ALGORITHMS: dict[int, tuple[str, Callable[[bytes], int] | None]] = {
    0: ("crc32", zlib.crc32),
    1: ("crc32_custom", None),
    2: ("crc16", crc16),
    3: ("crc16_custom", None),
    4: ("random", None),
    5: ("identity", identity),
    6: ("csum16", csum16),
    7: ("xor16", xor16),
}


def digest_of(algorithm: int, data: tuple[int, int], payload: bytes = b"") -> int:
    """The hash of `data`, padded with zero bits to whole bytes."""
    name, function = ALGORITHMS[algorithm]
    if function is None:
        raise P4RuntimeError(f"hash algorithm {name} is not modelled")
    value, width = data
    size = (width + 7) // 8
    return function((value << (size * 8 - width)).to_bytes(size, "big") + payload)


# -- objects -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Counter:
    """Packets and bytes per index (both are kept whatever the declared type); an index too large counts nothing."""

    name: str
    size: int
    packets: list[int] = field(init=False)
    bytes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.packets = [0] * self.size
        self.bytes = [0] * self.size

    def count(self, index: int, length: int) -> None:
        if index < self.size:
            self.packets[index] += 1
            self.bytes[index] += length


@dataclass(slots=True)
class Register:
    """An array of numbers. Reading beyond it gives `undefined`, writing beyond it does nothing."""

    name: str
    size: int
    undefined: int
    cells: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.cells = [0] * self.size

    def read(self, index: int) -> int:
        return self.cells[index] if index < self.size else self.undefined

    def write(self, index: int, value: int) -> None:
        if index < self.size:
            self.cells[index] = value


@dataclass(slots=True)
class Meter:
    """Always green (0): rates belong to the control plane and are not modelled."""

    name: str

    def execute(self, _index: int) -> int:
        return 0

    def read(self) -> int:
        return 0


class Runtime:
    """What extern functions see of the packet being processed, and what they record."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.length = 0
        self.payload = b""
        self.standard_metadata: Any = None
        self.truncated: int | None = None
        self.digests: list[tuple[int, Any]] = []
        self.log: list[str] = []

    def divisor(self, value: int) -> int:
        if value == 0:
            raise P4RuntimeError("division by zero")
        return value

    def draw(self, low: int, high: int) -> int:
        if low > high:
            raise P4RuntimeError(f"random: {low} is above {high}")
        return self.random.randint(low, high)

    def digest(self, receiver: int, data: Any) -> None:
        self.digests.append((receiver, data))

    def mark_to_drop(self, metadata: Any) -> None:
        metadata.f_egress_spec = DROP_PORT
        metadata.f_mcast_grp = 0

    def hash(self, algorithm: int, base: int, data: tuple[int, int], limit: int, width: int) -> int:
        result = base + digest_of(algorithm, data) % limit if limit else base
        return result & ((1 << width) - 1)

    def checksum(self, data: tuple[int, int], algorithm: int, width: int, payload: bool) -> int:
        return digest_of(algorithm, data, self.payload if payload else b"") & ((1 << width) - 1)

    def verify_checksum(
        self, condition: bool, data: tuple[int, int], checksum: int, algorithm: int, width: int, payload: bool
    ) -> None:
        if condition and self.checksum(data, algorithm, width, payload) != checksum:
            self.standard_metadata.f_checksum_error = 1

    def update_checksum(
        self, condition: bool, data: tuple[int, int], checksum: int, algorithm: int, width: int, payload: bool
    ) -> int:
        return self.checksum(data, algorithm, width, payload) if condition else checksum

    def truncate(self, length: int) -> None:
        self.truncated = length

    def check(self, condition: bool, what: str) -> None:
        if not condition:
            raise P4RuntimeError(f"{what} failed")

    def log_msg(self, message: str, data: tuple[Any, ...] | None) -> None:
        """`{}` in the message stands for the next value."""
        for value in data or ():
            message = message.replace("{}", str(value), 1)
        self.log.append(message)


def index_in(size: int, index: int, name: str) -> int:
    if not 0 <= index < size:
        raise ControlPlaneError(f"{name} has {size} elements: no index {index}")
    return index
