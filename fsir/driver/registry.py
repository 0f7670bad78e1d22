"""Which passes there are, without importing them.

A file is a pass: `passes/raise_maps.py` is the pass `raise-maps`, `backends/xdp/lower_to_xdp.py` the pass
`lower-to-xdp` (only `lower_*.py` in backends). The file defines one subclass of `ModulePass` with that `name`.
Files whose names begin with an underscore are not passes. Passes of plugins and of xDSL come after the
project's own, which win where a name is taken twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from xdsl.passes import ModulePass
from xdsl.utils.arg_spec import ArgSpec

from fsir.driver.errors import UsageError

if TYPE_CHECKING:
    from xdsl.universe import Universe

ROOT = Path(__file__).resolve().parent.parent


class RegistryError(Exception):
    """A file among the passes does not define the pass that its name promises: a defect of the project."""


@dataclass(frozen=True)
class PassEntry:
    """A pass that can be named on the command line."""

    name: str
    origin: str
    """Who brings it: "fsir", "xdsl", or the plugin's name."""
    load: Callable[[], type[ModulePass]]
    """Import its class."""


@cache
def own_passes() -> dict[str, PassEntry]:
    """The passes of this project by name."""
    files = [*sorted((ROOT / "passes").glob("*.py")), *sorted((ROOT / "backends").glob("*/lower_*.py"))]
    entries: dict[str, PassEntry] = {}
    for file in files:
        if file.name.startswith("_"):
            continue
        name = file.stem.replace("_", "-")
        module = ".".join(("fsir", *file.relative_to(ROOT).with_suffix("").parts))
        if name in entries:
            raise RegistryError(f"two files define the pass '{name}'; the second is {module}")
        entries[name] = PassEntry(name, "fsir", lambda name=name, module=module: _load(name, module))  # type: ignore[misc]
    return entries


def _load(name: str, module_name: str) -> type[ModulePass]:
    module = importlib.import_module(module_name)
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, ModulePass)
            and value.__module__ == module_name
            and getattr(value, "name", None) == name
        ):
            return value
    raise RegistryError(f"{module_name} defines no subclass of ModulePass with name = '{name}'")


def _reported(name: str, origin: str, load: Callable[[], type[ModulePass]]) -> Callable[[], type[ModulePass]]:
    """`load`, with what is missing for it as an error of the installation."""

    def loaded() -> type[ModulePass]:
        try:
            return load()
        except ImportError as error:
            raise UsageError(f"the pass '{name}' of {origin} does not load here: {error}") from error

    return loaded


class PassRegistry:
    """The project's passes, then those of `universes` (see `fsir.driver.plugins`), by name."""

    def __init__(self, universes: Callable[[], Iterable[tuple[str, Universe]]] = tuple) -> None:
        self._universes = universes
        self._entries: dict[str, PassEntry] | None = None

    def find(self, name: str) -> PassEntry:
        """The pass `name`. Raises `UsageError` with the most similar names when there is none."""
        own = own_passes()
        if name in own:
            return own[name]
        entries = self.all()
        if name in entries:
            return entries[name]
        raise UsageError(f"unknown pass '{name}'{did_you_mean(name, entries)}; --list-passes lists them")

    def all(self) -> dict[str, PassEntry]:
        """Every pass, the project's own first; imports the plugins but not the passes."""
        if self._entries is None:
            entries = dict(own_passes())
            for origin, universe in self._universes():
                for name, load in universe.all_passes.items():
                    entries.setdefault(name, PassEntry(name, origin, _reported(name, origin, load)))
            self._entries = entries
        return self._entries

    def build(self, spec: ArgSpec) -> ModulePass:
        """The pass that `spec` names, with its options. Raises `UsageError` for options that do not fit."""
        cls = self.find(spec.name).load()
        options = option_types(cls)
        parameters = dict(spec.normalize_parameter_names().parameters)
        for option, value in parameters.items():
            if option not in options:
                known = ", ".join(name.replace("_", "-") for name in options) or "none"
                similar = did_you_mean(option, options)
                raise UsageError(f"pass '{spec.name}' has no option '{option}'{similar}; it has: {known}")
            if not value and options[option] is bool:
                parameters[option] = (True,)
        try:
            return cls.from_spec(ArgSpec(spec.name, parameters))
        except ValueError as error:
            raise UsageError(f"pass '{spec.name}': {error}; see --help-pass {spec.name}") from error


def option_types(cls: type[ModulePass]) -> dict[str, Any]:
    """The options of a pass with their Python types, in order."""
    import dataclasses

    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """ ", did you mean …?" for the candidates that resemble `name`, "" without any."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(candidates), n=3, cutoff=0.6)
    return f", did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
