"""Each thing that a verifier refuses has a test that shows it: every message of the code is expected somewhere, and of
every operation something is refused.

A message of a dialect has to be expected in the dialect's own `invalid.mlir`; those of checks that dialects share, in
that of each dialect that uses the check. Messages of the other verifiers may be expected in any test.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIALECTS = ("ebpf", "packet", "map", "object", "placement")
RAISED = ("VerifyException", "InvalidOperation")
SHARED = ROOT / "fsir/dialects/_records.py"
OTHERS = sorted((ROOT / "fsir/analysis").glob("verify*.py"))


def messages(tree: ast.AST) -> Iterator[str]:
    """The longest fixed piece of each message that is raised."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        name = node.exc.func
        if not isinstance(name, ast.Name) or name.id not in RAISED:
            continue
        text = node.exc.args[-1]
        parts = text.values if isinstance(text, ast.JoinedStr) else [text]
        fixed = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if fixed:
            yield max((piece.strip(" ;:,'()@") for piece in fixed), key=len)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def files_of(dialect: str) -> list[Path]:
    folder = ROOT / "fsir/dialects" / dialect
    return sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def rules(dialect: str) -> set[str]:
    """What the dialect's verifiers say, checks from other files of theirs included."""
    shared = {f.name: f for f in parsed(SHARED).body if isinstance(f, ast.FunctionDef)}
    found: set[str] = set()
    for path in files_of(dialect):
        found |= set(messages(parsed(path)))
        called = calls(parsed(path))
        for name in called & shared.keys():
            found |= {message for used in with_used(name, shared) for message in messages(shared[used])}
    return found


def with_used(name: str, functions: dict[str, ast.FunctionDef]) -> set[str]:
    """A function, and those of `functions` that it calls."""
    called = calls(functions[name]) & functions.keys() - {name}
    return {name}.union(*(with_used(other, functions) for other in called))


def calls(tree: ast.AST) -> set[str]:
    return {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_message_of_a_dialect_is_expected(dialect: str) -> None:
    text = (ROOT / "test/filecheck/dialects" / dialect / "invalid.mlir").read_text()
    expected = re.findall(r"expected-error(?:@[+-]?\d+)? \{\{(.*?)\}\}", text)
    wanted = rules(dialect)
    assert expected
    assert [message for message in wanted if not any(message in said for said in expected)] == []


def test_every_message_of_the_other_verifiers_is_expected() -> None:
    tests = [path for kind in ("*.py", "*.mlir") for path in (ROOT / "test").rglob(kind) if path != Path(__file__)]
    texts = [path.read_text().replace("\\", "") for path in tests]
    wanted = {message for path in OTHERS for message in messages(parsed(path))}
    assert len(wanted) > 10
    assert [message for message in wanted if not any(message in text for text in texts)] == []


def written(dialect: str) -> set[str]:
    """The operations of a dialect that have a class of their own; those that are made from tables are all alike."""
    classes = [
        node
        for path in files_of(dialect)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Op")
    ]
    assigned = [node for each in classes for node in each.body if isinstance(node, ast.Assign)]
    values = [
        n.value.value for n in assigned if ast.unparse(n.targets[0]) == "name" and isinstance(n.value, ast.Constant)
    ]
    return {str(value) for value in values if str(value).startswith(f"{dialect}.")}


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "ebpf"])
def test_every_operation_has_something_refused(dialect: str) -> None:
    """(The instructions of `ebpf` are made from the table of the ISA.)"""
    lines = (ROOT / "test/filecheck/dialects" / dialect / "invalid.mlir").read_text().splitlines()
    refused = [line.split() for above, line in pairwise(lines) if "expected-error@+1" in above]
    names = sorted(written(dialect))
    assert len(names) > 1
    assert [name for name in names if not any(name in words for words in refused)] == []
