"""What `-t` can name.

A target is a function `emit(module: ModuleOp, options: EmitOptions) -> str | bytes | Mapping[str, bytes]`,
named here as "module:function" and imported when used. Text and bytes become the output file; a mapping
(relative path → contents) becomes the output directory, which the driver writes in one step. Errors are
raised (`fsir.driver.diagnostics.fail`, `ObjectError`), and then nothing is written.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fsir.driver.errors import UsageError
from fsir.driver.registry import did_you_mean

if TYPE_CHECKING:
    from xdsl.context import Context
    from xdsl.dialects.builtin import ModuleOp
    from xdsl.universe import Universe
    from xdsl.utils.target import Target

Artifact = str | bytes | Mapping[str, bytes]


@dataclass(frozen=True)
class TargetEntry:
    """`function` is "module:function"; `summary` is for the help; `options` are what `-t name{option=…}` takes;
    `suffix` is that of its files."""

    function: str
    summary: str
    options: tuple[str, ...] = ()
    suffix: str = ""


TARGETS: dict[str, TargetEntry] = {
    "mlir": TargetEntry("fsir.driver.emitters:emit_mlir", "the IR as text", suffix=".mlir"),
    "elf": TargetEntry("fsir.driver.emitters:emit_elf", "a BPF object for any loader", suffix=".o"),
    "c": TargetEntry(
        "fsir.backends.af_xdp.emit:emit_source", "C over libxdp for the AF_XDP part", ("part", "program"), ".c"
    ),
    "p4": TargetEntry("fsir.backends.p4.emit:emit", "P4_16 for the NIC part", suffix=".p4"),
    "report": TargetEntry(
        "fsir.report.emit:emit",
        "what is in it (kind=contents), or what it does (kind=access), as format=text or format=json",
        ("kind", "format"),
        ".txt",
    ),
    "svg": TargetEntry("fsir.picture.emit:emit", "a picture: the flow graph, coloured by where it runs", suffix=".svg"),
    "bundle": TargetEntry(
        "fsir.bundle.emit:emit",
        "a directory: every part, manifest.json, placement.mlir; library=FILE,… is linked",
        ("library",),
    ),
}


@dataclass(frozen=True)
class EmitOptions:
    """What a target may want to know besides the module."""

    input_name: str = "<input>"
    """The input as the user named it, for messages and comments."""
    parameters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The target's own options: `-t name{key=value,value}`."""
    print_op_generic: bool = False
    print_debuginfo: bool = False


def suffix_of(target: str) -> str:
    """The suffix of the files of the target `target`, which may have options; none for directories."""
    entry = TARGETS.get(target.partition("{")[0].strip())
    return ".out" if entry is None else entry.suffix


class TargetTable:
    """The project's targets, then those of `universes` (xDSL's and plugins')."""

    def __init__(self, ctx: Context, universes: Callable[[], Iterable[tuple[str, Universe]]] = tuple) -> None:
        self._ctx = ctx
        self._universes = universes

    def find(self, name: str, options: Iterable[str] = ()) -> Callable[[ModuleOp, EmitOptions], Artifact]:
        """The emitter of the target `name`. Raises `UsageError` with the targets, or the options, that there are."""
        if name in TARGETS:
            for option in options:
                if option not in TARGETS[name].options:
                    known = ", ".join(TARGETS[name].options) or "none"
                    raise UsageError(f"target '{name}' has no option '{option}'; it has: {known}")
            return _import(name, TARGETS[name].function)
        foreign = foreign_targets(self._universes())
        if name not in foreign:
            known = ", ".join(TARGETS)
            raise UsageError(f"unknown target '{name}'{did_you_mean(name, [*TARGETS, *foreign])}; there are: {known}")
        origin, load = foreign[name]
        try:
            cls = load()
        except ImportError as error:
            raise UsageError(f"the target '{name}' of {origin} does not load here: {error}") from error

        def emit(module: ModuleOp, options: EmitOptions) -> Artifact:
            from io import StringIO

            from xdsl.utils.arg_spec import ArgSpec

            output = StringIO()
            try:
                target = cls.from_spec(ArgSpec(name, dict(options.parameters)))
            except ValueError as error:
                raise UsageError(f"target '{name}': {error}") from error
            target.emit(self._ctx, module, output)
            return output.getvalue()

        return emit


def foreign_targets(universes: Iterable[tuple[str, Universe]]) -> dict[str, tuple[str, Callable[[], type[Target]]]]:
    """The targets of plugins and of xDSL by name: who brings each, and the function that imports it."""
    found: dict[str, tuple[str, Callable[[], type[Target]]]] = {}
    for origin, universe in universes:
        for name, load in universe.all_targets.items():
            if name not in TARGETS:
                found.setdefault(name, (origin, load))
    return found


def _import(name: str, function: str) -> Callable[[ModuleOp, EmitOptions], Artifact]:
    module_name, _, attribute = function.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise
        raise UsageError(f"the target '{name}' is not part of this installation ({module_name} is missing)") from error
    emit: Callable[[ModuleOp, EmitOptions], Artifact] = getattr(module, attribute)
    return emit
