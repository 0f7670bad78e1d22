"""The format language of bpf_trace_printk and bpf_snprintf, a subset of the kernel's printf.

Pointers print as addresses of the interpreter's memory: the kernel hashes them, so they never agree anyway.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from fsir.interp.memory import Memory, MemoryFault

_SPEC = re.compile(rb"([0 +-]*)([1-9][0-9]*)?")
_INTEGER = re.compile(rb"(l{0,2})([iduxX])")
_LIMIT = 1024
_STOPS = frozenset(b" \t\n\v\f\r!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class FormatError(Exception):
    """A format that the kernel refuses with -EINVAL."""


def render(memory: Memory, text: bytes, args: Sequence[int]) -> bytes:
    """Fill the 64-bit `args` into the format `text` (without its NUL)."""
    if any(byte < 0x80 and not (32 <= byte < 127 or 9 <= byte <= 13) for byte in text):
        raise FormatError("control character")
    out = bytearray()
    position = used = 0
    while position < len(text):
        percent = text.find(b"%", position)
        if percent < 0:
            out += text[position:]
            break
        out += text[position:percent]
        position = percent + 1
        if text[position : position + 1] == b"%":
            out += b"%"
            position += 1
            continue
        if used >= len(args):
            raise FormatError("more conversions than arguments")
        spec = _SPEC.match(text, position)
        assert spec is not None
        flags = spec.group(1)
        filled, position, numeric = _convert(memory, text, spec.end(), args[used], flags)
        out += _pad(filled, flags, int(spec.group(2) or 0), numeric)
        used += 1
    return bytes(out)


def _convert(memory: Memory, text: bytes, at: int, value: int, flags: bytes) -> tuple[bytes, int, bool]:
    """The conversion at `at`: what it prints before padding, where it ends, and whether zeros may pad it."""
    kind = text[at : at + 1]
    if kind == b"p":
        return *_pointer(memory, text, at + 1, value), False
    if kind == b"s":
        return *_string(memory, text, at + 1, value), False
    if kind == b"c":
        return bytes([value & 0xFF]), at + 1, False
    integer = _INTEGER.match(text, at)
    if integer is None:
        raise FormatError("unknown conversion")
    bits = 64 if integer.group(1) else 32
    value &= (1 << bits) - 1
    letter = integer.group(2)
    if letter in (b"x", b"X"):
        return format(value, letter.decode()).encode(), integer.end(), True
    if letter == b"u":
        return str(value).encode(), integer.end(), True
    if value >> (bits - 1):
        return str(value - (1 << bits)).encode(), integer.end(), True
    sign = "+" if b"+" in flags else " " if b" " in flags else ""
    return f"{sign}{value}".encode(), integer.end(), True


def _string(memory: Memory, text: bytes, end: int, addr: int) -> tuple[bytes, int]:
    if text[end : end + 1] and text[end] not in _STOPS:
        raise FormatError("%s is followed by a letter")
    try:
        return memory.read_cstring(addr, _LIMIT), end
    except MemoryFault:
        return b"", end


def _pointer(memory: Memory, text: bytes, at: int, addr: int) -> tuple[bytes, int]:
    following = text[at : at + 1]
    if not following or following[0] in _STOPS:
        return b"%016x" % addr, at
    if text[at : at + 2] in (b"ks", b"us"):
        return _string(memory, text, at + 2, addr)
    if following in (b"K", b"x"):
        return b"%016x" % addr, at + 1
    if following in (b"s", b"S", b"B"):
        return memory.describe(addr).encode(), at + 1
    kind = text[at : at + 2]
    if kind in _ADDRESSES:
        size = 4 if kind.endswith(b"4") else 16
        try:
            content = memory.read_bytes(addr, size)
        except MemoryFault:
            content = bytes(size)
        return _ADDRESSES[kind](content).encode(), at + 2
    raise FormatError("unknown pointer conversion")


_ADDRESSES: dict[bytes, Callable[[bytes], str]] = {
    b"I4": lambda content: str(IPv4Address(content)),
    b"i4": lambda content: ".".join(f"{byte:03d}" for byte in content),
    b"I6": lambda content: content.hex(":", 2),
    b"i6": lambda content: content.hex(),
}


def _pad(filled: bytes, flags: bytes, width: int, numeric: bool) -> bytes:
    if b"-" in flags:
        return filled.ljust(width)
    if b"0" in flags and numeric:
        sign = filled[:1] if filled[:1] in (b"-", b"+", b" ") else b""
        return sign + filled[len(sign) :].rjust(width - len(sign), b"0")
    return filled.rjust(width)
