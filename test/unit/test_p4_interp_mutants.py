"""Programs with a few tokens changed: an error at a place or a program that runs, never anything else."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from fsir.backends.p4.interp import P4Error, P4RuntimeError, Switch, load
from fsir.backends.p4.interp.lexer import tokenize

TEXTS = [path.read_text() for path in sorted((Path(__file__).parent / "p4").glob("*.p4"))]
INCLUDES = "#include <core.p4>\n#include <v1model.p4>\n"
OPERATORS = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "++", "==", "!=", "<", ">=", "&&", "||", "|+|", "|-|"]


def words(text: str) -> list[str]:
    found: list[str] = []
    for token in tokenize(text, "x").tokens[:-1]:
        if token.text == ">" and token.glued and found and found[-1] == ">":
            found[-1] = ">>"  # one shift, which must not be torn apart
        else:
            found.append(token.text)
    return found


def kind(word: str) -> str:
    if word in OPERATORS:
        return "operator"
    return "number" if word[0].isdigit() else "name" if word[0].isalpha() else word


def mutant(seed: int) -> str:
    rng = random.Random(seed)
    tokens = words(rng.choice(TEXTS))
    for _ in range(rng.choice([1, 1, 2, 3])):
        place = rng.randrange(len(tokens))
        if rng.random() < 0.2:
            tokens[place : place + rng.choice([0, 1])] = [rng.choice(tokens)]
            continue
        same = [word for word in tokens if kind(word) == kind(tokens[place])]
        tokens[place] = rng.choice(OPERATORS if kind(tokens[place]) == "operator" else same)
    return INCLUDES + " ".join(tokens)


@pytest.mark.parametrize("group", range(8))
def test_mutants(group: int) -> None:
    ran = 0
    for seed in range(group * 60, group * 60 + 60):
        try:
            program = load(mutant(seed), "m.p4")
        except P4Error as error:
            assert re.fullmatch(r"(m\.p4|<core\.p4>|<v1model\.p4>):\d+:\d+: error: [^\n]+", str(error))
            continue
        running = Switch(program, undefined=seed)
        rng = random.Random(seed)
        for size in (0, 14, 34, 60):
            try:
                running.process(rng.randbytes(size), rng.randrange(10))
            except P4RuntimeError:
                continue
            ran += 1
    assert ran > 20  # most mutants are refused, but the ones that run must be many enough to mean something
