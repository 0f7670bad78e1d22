"""Smaller programs with the same failure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from fuzz.generate import Program
from fuzz.prelude import HEAD


def shrink(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Take out lines and blocks, and simplify expressions, as long as `fails` holds."""
    lines = program.source.splitlines()
    kept = len(HEAD.splitlines()) if program.source.startswith(HEAD) else 0
    changed = True
    while changed:
        changed = False
        size = max(1, len(lines) // 2)
        while size:
            at = kept
            while at < len(lines):
                chunk = lines[at : at + size]
                if _balanced(chunk):
                    shorter = lines[:at] + lines[at + size :]
                    if fails(replace(program, source="\n".join(shorter) + "\n")):
                        lines, changed = shorter, True
                        continue
                at += 1 if size < 4 else size // 2
            size //= 2
        lines, unwrapped = _unwrap(program, lines, fails)
        lines, simplified = _simplify(program, lines, fails)
        changed |= unwrapped or simplified
    return replace(program, source="\n".join(lines) + "\n")


def _balanced(lines: list[str]) -> bool:
    depth = 0
    for line in lines:
        for character in line:
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth < 0:
                return False
    return depth == 0


def _unwrap(program: Program, lines: list[str], fails: Callable[[Program], bool]) -> tuple[list[str], bool]:
    """Take away a block's head and end, and keep what is in it; or take the block away."""
    changed = False
    for at in range(len(lines) - 1, -1, -1):
        if at >= len(lines) or not lines[at].endswith("{"):
            continue
        end = next((e for e in range(at + 1, len(lines) + 1) if _balanced(lines[at:e])), None)
        if end is None:
            continue
        for shorter in (lines[:at] + lines[end:], lines[:at] + lines[at + 1 : end - 1] + lines[end:]):
            if fails(replace(program, source="\n".join(shorter) + "\n")):
                lines, changed = shorter, True
                break
    return lines, changed


def _simplify(program: Program, lines: list[str], fails: Callable[[Program], bool]) -> tuple[list[str], bool]:
    """Replace parts of expressions by small ones."""
    changed = False
    for at, line in enumerate(lines):
        if line in HEAD:
            continue
        again = True
        while again:
            again = False
            for candidate in _simpler(lines[at]):
                attempt = [*lines[:at], candidate, *lines[at + 1 :]]
                if len(candidate) < len(lines[at]) and fails(replace(program, source="\n".join(attempt) + "\n")):
                    lines, changed, again = attempt, True, True
                    break
    return lines, changed


def _simpler(line: str) -> list[str]:
    found = []
    for match in _parentheses(line):
        start, end = match
        inner = line[start + 1 : end - 1]
        found += [line[:start] + new + line[end:] for new in ("1", "acc", inner)]
        for part in re.split(r" (?:[-+*/%&|^?:]|<<|>>|[<>=!]=|[<>]|&&|\|\|) ", inner):
            if part.count("(") == part.count(")"):
                found.append(line[:start] + part + line[end:])
    assigned = re.match(r"(\s*[\w *>\[\].()-]+ [-+^|&*]?= ).*;$", line)
    if assigned:
        found += [assigned[1] + "1;", assigned[1] + "acc;"]
    return found


def _parentheses(line: str) -> list[tuple[int, int]]:
    """The pairs of parentheses, the outer ones first."""
    stack, found = [], []
    for at, character in enumerate(line):
        if character == "(":
            stack.append(at)
        elif character == ")" and stack:
            found.append((stack.pop(), at + 1))
    return sorted(found, key=lambda pair: pair[0] - pair[1])
