"""`--list-passes`, `--list-targets` and `--help-pass`: what there is and how to call it.

Documentation lives in the pass: the class docstring (or, without one, the module's), the dataclass fields, the
`help` in a field's metadata. The example is the pass's own test, so that it cannot go stale.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from xdsl.passes import ModulePass
from xdsl.utils.hints import type_repr

from fsir.driver.pipeline_pass import PipelinePass
from fsir.driver.registry import PassEntry, PassRegistry, option_types
from fsir.driver.targets import TARGETS, foreign_targets

if TYPE_CHECKING:
    from xdsl.universe import Universe

TESTS = Path(__file__).resolve().parent.parent.parent / "test" / "filecheck"
EXAMPLE_LINES = 40


def list_passes(registry: PassRegistry, every: bool) -> str:
    """One line per pass: name and first sentence. xDSL's own are counted only, unless `every`."""
    entries = list(registry.all().values())
    shown = [entry for entry in entries if every or entry.origin != "xdsl"]
    rows = [(entry.name, _origin(entry) + summary(entry.load())) for entry in shown]
    hidden = len(entries) - len(shown)
    text = _table(rows)
    if hidden:
        text += f"\n{hidden} more come with xDSL: --list-passes=all\n"
    return text


def versions() -> str:
    """The versions of this program and of xDSL."""
    from importlib.metadata import version

    return f"fs-opt {version('frankenstack')} (xDSL {version('xdsl')})\n"


def list_targets(universes: Iterable[tuple[str, Universe]]) -> str:
    """One line per target, with its options. xDSL's own are counted only: they are not for packet programs."""
    rows = []
    for name, entry in TARGETS.items():
        options = f"{{{' '.join(f'{option}=…' for option in entry.options)}}}" if entry.options else ""
        rows.append((name + options, entry.summary))
    foreign = foreign_targets(universes)
    for name, (origin, load) in foreign.items():
        if origin != "xdsl":
            first = inspect.cleandoc(load().__doc__ or "").partition("\n")[0]
            rows.append((name, f"[{origin}] {first}".rstrip()))
    hidden = sum(origin == "xdsl" for origin, _ in foreign.values())
    return _table(rows) + (f"\n{hidden} more come with xDSL\n" if hidden else "")


def help_pass(registry: PassRegistry, name: str) -> str:
    """What the pass `name` does, its options, and an example."""
    entry = registry.find(name)
    cls = entry.load()
    parts = [f"{name}{_usage(cls)}", _documentation(cls)]
    if issubclass(cls, PipelinePass) and cls.passes:
        parts.append("Runs, in this order:\n" + "\n".join(f"  {part}" for part in cls.passes))
    options = _options(cls)
    parts.append("Options:\n" + _table(options).rstrip() if options else "No options.")
    if example := _example(name):
        parts.append(example)
    return "\n\n".join(parts) + "\n"


def summary(cls: type[ModulePass]) -> str:
    """The first sentence of the documentation, on one line."""
    paragraph = " ".join(_documentation(cls).split("\n\n", 1)[0].split())
    return paragraph.partition(". ")[0].removesuffix(".") + "." if paragraph else ""


def _documentation(cls: type[ModulePass]) -> str:
    own = cls.__dict__.get("__doc__") or ""
    # A dataclass without a docstring gets its signature for one.
    if own.startswith(f"{cls.__name__}("):
        own = ""
    return inspect.cleandoc(own or importlib.import_module(cls.__module__).__doc__ or "")


def _usage(cls: type[ModulePass]) -> str:
    names = [name.replace("_", "-") for name in option_types(cls)]
    return "{" + " ".join(f"{name}=…" for name in names) + "}" if names else ""


def _options(cls: type[ModulePass]) -> list[tuple[str, str]]:
    types = option_types(cls)
    rows = []
    for field in dataclasses.fields(cls):
        if field.name not in types:
            continue
        text = type_repr(types[field.name])
        if field.default is not dataclasses.MISSING:
            text += f", default {_literal(field.default)}"
        elif field.default_factory is not dataclasses.MISSING:
            text += f", default {_literal(field.default_factory())}"
        else:
            text += ", required"
        if help := field.metadata.get("help"):
            text += f": {help}"
        rows.append((field.name.replace("_", "-"), text))
    return rows


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(name: str) -> str:
    """The beginning of the pass's test, in a checkout."""
    file = next(iter(sorted(TESTS.rglob(f"{name}.mlir"))), None)
    if file is None:
        return ""
    lines = file.read_text().split("// -----", 1)[0].strip().splitlines()
    kept = lines[:EXAMPLE_LINES] + (["…"] if len(lines) > EXAMPLE_LINES else [])
    shown = file.relative_to(TESTS.parent.parent)
    return f"Example ({shown}):\n\n" + "\n".join(f"  {line}".rstrip() for line in kept)


def _origin(entry: PassEntry) -> str:
    return "" if entry.origin == "fsir" else f"[{entry.origin}] "


def _table(rows: list[tuple[str, str]]) -> str:
    """Two columns: in colour and wrapped on a terminal, else one line per row."""
    width = max((len(name) for name, _ in rows), default=0)
    if not sys.stdout.isatty():
        return "".join(f"  {name:<{width}}  {text}".rstrip() + "\n" for name, text in rows)
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row(f"  [bold cyan]{name}[/]", text.replace("[", r"\["))
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()
