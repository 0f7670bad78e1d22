"""Damaged text."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_TOKEN = re.compile(r'"[^"\n]*"|[%@^!#]?[A-Za-z_.$][\w.$-]*|[%^]\d+|-?(?:0x[0-9a-fA-F]+|\d+)|->|::|\s+|.')


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
