"""Damaged inputs, and what a command may do with one: give a result, or an error line and nothing else."""

from __future__ import annotations

import contextlib
import io
import random
import re
import resource
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10
"""CPU time that one command may take; far more than any needs."""
MEMORY = 2 << 30
"""How much address space a command may add to what the test process has."""

_ERROR = re.compile(r"^\S.*?: error: .+", re.MULTILINE)
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
_TOKEN = re.compile(r'"[^"\n]*"|[%@^!#]?[A-Za-z_.$][\w.$-]*|[%^]\d+|-?(?:0x[0-9a-fA-F]+|\d+)|->|::|\s+|.')


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    argv: tuple[str, ...]
    status: int
    stderr: str

    def complaint(self, output: Path | None = None) -> str | None:
        """What is wrong with how it ended; None if nothing is. `output` is the file that it should have written."""
        if "Traceback" in self.stderr or "internal error" in self.stderr:
            return self.stderr
        if self.status not in (0, 1):
            return f"exit status {self.status}: {self.stderr}"
        if self.status == 1 and not _ERROR.search(self.stderr):
            return f"no error line: {self.stderr!r}"
        if output is not None and output.exists() != (self.status == 0):
            return f"exit status {self.status}, and output {'there' if output.exists() else 'missing'}: {self.stderr}"
        return None


def attempt(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> Outcome:
    """Run the command `main` in this process; one that does not end becomes an internal error."""
    err = io.StringIO()
    with _limited(), contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = main(argv)
    return Outcome(tuple(argv), status, err.getvalue())


class _DoesNotEnd(BaseException):
    pass


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """The time and memory of one command."""

    def stop(*_: object) -> None:
        raise _DoesNotEnd(f"still running after {SECONDS} seconds of CPU time")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    old = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, old)


# --- bytes -----------------------------------------------------------------------------------------------------------


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """`data` with a few bytes changed, numbers made extreme, or pieces removed, repeated or moved."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_BYTE_MUTATIONS)(rng, out)
    return bytes(out)


def _flip(rng: random.Random, out: bytearray) -> None:
    at = rng.randrange(len(out))
    out[at] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, out: bytearray) -> None:
    out[rng.randrange(len(out))] = rng.randrange(256)


def _set_number(rng: random.Random, out: bytearray) -> None:
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(0, max(len(out) - size, 1)) // size * size
    value = rng.choice(_INTERESTING) & ((1 << 8 * size) - 1)
    out[at : at + size] = value.to_bytes(size, "little")


def _near_number(rng: random.Random, out: bytearray) -> None:
    size = rng.choice((2, 4, 8))
    at = rng.randrange(0, max(len(out) - size, 1)) // size * size
    value = int.from_bytes(out[at : at + size], "little") + rng.choice((-8, -4, -1, 1, 4, 8, 64))
    out[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _piece(rng: random.Random, out: bytearray) -> slice:
    size = rng.choice((1, 4, 8, 16, 24, 64, 200))
    at = rng.randrange(len(out))
    return slice(at, min(at + size, len(out)))


def _cut(rng: random.Random, out: bytearray) -> None:
    piece = _piece(rng, out)
    if len(out) > piece.stop - piece.start:
        del out[piece]


def _repeat(rng: random.Random, out: bytearray) -> None:
    piece = _piece(rng, out)
    out[piece.stop : piece.stop] = out[piece]


def _overwrite(rng: random.Random, out: bytearray) -> None:
    source = out[_piece(rng, out)]
    at = rng.randrange(len(out))
    out[at : at + len(source)] = source


def _truncate(rng: random.Random, out: bytearray) -> None:
    if rng.randrange(4) == 0:
        del out[rng.randrange(1, len(out)) if len(out) > 1 else 1 :]


_BYTE_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _set_byte, _set_byte, _set_number, _set_number, _near_number, _near_number),
    *(_cut, _repeat, _overwrite, _truncate),
)


# --- objects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Header:
    """A section header, as far as mutations need it."""

    at: int
    type: int
    flags: int
    offset: int
    size: int


def section_headers(data: bytes) -> list[Header]:
    """The section headers of a little-endian ELF64 object."""
    (start,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    headers = []
    for number in range(count):
        at = start + 64 * number
        _, kind, flags, _, offset, size = struct.unpack_from("<IIQQQQ", data, at)
        headers.append(Header(at, kind, flags, offset, size))
    return headers


def mutated_object(rng: random.Random, data: bytes) -> bytes:
    """The object `data` damaged: anywhere, in one section, in the headers, or in single instructions."""
    kind = rng.randrange(8)
    headers = section_headers(data)
    if kind < 2:
        return mutated_bytes(rng, data)
    if kind == 2:
        at, size = rng.choice([(0, 64), *((h.at, 64) for h in headers)])
    elif kind < 5:
        held = [h for h in headers if h.size and h.type != 8]
        chosen = rng.choice(held)
        at, size = chosen.offset, chosen.size
    else:
        return _mutated_code(rng, data, headers)
    window = bytearray(data[at : at + size])
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice((_flip, _set_byte, _set_number, _near_number, _overwrite))(rng, window)
    return data[:at] + bytes(window[:size]) + data[at + size :]


def _mutated_code(rng: random.Random, data: bytes, headers: Sequence[Header]) -> bytes:
    """Instructions changed so that most of them still decode."""
    out = bytearray(data)
    places = [
        (h.offset, h.size)
        for h in headers
        if h.flags & 4 and h.type == 1 and h.size >= 8 and h.offset + h.size <= len(out)
    ]
    if not places:
        return mutated_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        offset, size = rng.choice(places)
        at = offset + 8 * rng.randrange(size // 8)
        other = offset + 8 * rng.randrange(size // 8)
        what = rng.randrange(9)
        if what == 0:
            out[at] = rng.randrange(256)
        elif what == 1:
            out[at + 1] = rng.randrange(11) | rng.randrange(11) << 4
        elif what == 2:
            struct.pack_into(
                "<h", out, at + 2, rng.choice((-1, 0, 1, 2, -8, 8, 512, -512, 0x7FFF, -0x8000, rng.randrange(-40, 40)))
            )
        elif what == 3:
            struct.pack_into("<I", out, at + 4, rng.choice(_INTERESTING) & 0xFFFFFFFF)
        elif what == 4:
            struct.pack_into("<i", out, at + 4, rng.randrange(-4, 220))
        elif what == 5:
            out[at : at + 8] = out[other : other + 8]
        elif what == 6:
            out[at : at + 8], out[other : other + 8] = out[other : other + 8], out[at : at + 8]
        elif what == 7:
            out[at : at + 8] = bytes((rng.choice(_OPCODES), *out[at + 1 : at + 8]))
        else:
            out[at : at + 8] = rng.choice(_PATTERNS)
    return bytes(out)


_OPCODES = (
    *(
        0x05,
        0x06,
        0x07,
        0x0F,
        0x15,
        0x1D,
        0x18,
        0x2F,
        0x37,
        0x3F,
        0x47,
        0x57,
        0x61,
        0x63,
        0x69,
        0x71,
        0x73,
        0x79,
        0x7B,
        0x81,
    ),
    *(0x85, 0x87, 0x8D, 0x95, 0x97, 0x9F, 0xA5, 0xB4, 0xB7, 0xBC, 0xBF, 0xC3, 0xC7, 0xCF, 0xD4, 0xD7, 0xDB, 0xDC, 0xE5),
)
_PATTERNS = tuple(
    bytes.fromhex(text)
    for text in (
        "b700000000000000 b701000000000000 bfa6000000000000 9500000000000000 0500ffff00000000 0500000000000000 "
        "85000000ffffffff 8500000001000000 8500000006000000 8510000000000000 8510000000000080 8520000001000000 "
        "7b1a000000000000 7b1af8ff00000000 79a0f8ff00000000 79a008fe00000000 1800000000000000 db1a f8ff01000000"
    )
    .replace("db1a f8ff", "db1af8ff")
    .split()
)


# --- text ------------------------------------------------------------------------------------------------------------


def mutated_text(rng: random.Random, text: str) -> str:
    """`text` with tokens removed, repeated, exchanged, or replaced by others of the same text or by extreme ones."""
    tokens = _TOKEN.findall(text)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        while tokens[at].isspace() and rng.randrange(8):
            at = rng.randrange(len(tokens))
        what = rng.randrange(8)
        if what == 0:
            del tokens[at]
        elif what == 1:
            tokens.insert(at, tokens[other])
        elif what == 2:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif what in (3, 4):
            tokens[at] = _similar(rng, tokens, at)
        elif what == 5:
            tokens[at] = rng.choice(_WORDS)
        elif what == 6:
            _mutate_lines(rng, tokens)
        else:
            tokens[at] = "".join(rng.choice(tokens[at] + '0x{}<>"\\\0é') for _ in tokens[at])
        if not tokens:
            return ""
    return "".join(tokens)


def _similar(rng: random.Random, tokens: Sequence[str], at: int) -> str:
    """Another token that begins like that one: a value for a value, a number for a number."""
    first = tokens[at][:1]
    alike = [
        t
        for t in tokens
        if t[:1] == first or (t[:1].isdigit() and first.isdigit()) or (t[:1].isalpha() and first.isalpha())
    ]
    return rng.choice(alike or [tokens[at]])


def _mutate_lines(rng: random.Random, tokens: list[str]) -> None:
    lines = "".join(tokens).splitlines(keepends=True)
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(3)
    if what == 0:
        del lines[a]
    elif what == 1:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines.insert(a, lines[b])
    tokens[:] = _TOKEN.findall("".join(lines)) or ["\n"]


_WORDS = (
    *(
        "-1",
        "0",
        "64",
        "4294967296",
        "18446744073709551615",
        "99999999999999999999999999",
        "1.5",
        "true",
        "i0",
        "i7",
        "i128",
    ),
    *(
        "!ebpf.reg",
        "!ebpf.reg<r11>",
        "!ebpf.reg<r3>",
        "!packet.ctx",
        "!packet.ptr",
        "!map.value<@nope>",
        "index",
        "f32",
        "i64",
        "i32",
    ),
    *(
        '""',
        '"xdp"',
        '"\\00"',
        "@nope",
        "%nope",
        "^nope",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "<",
        ">",
        "dense<1>",
        "unit",
        "()",
        "{a = 1}",
    ),
)
