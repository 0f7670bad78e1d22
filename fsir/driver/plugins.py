"""Dialects, passes and targets that others bring.

A plugin is a `xdsl.universe.Universe`. It comes from an installed package, by an entry point in the group
`frankenstack.plugins` (or `xdsl.universe`, where xDSL itself is one), or by `--load-plugin`, from a module or
a Python file that holds one or more universes in global variables.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from xdsl.universe import Universe

from fsir.driver.errors import UsageError

GROUPS = ("frankenstack.plugins", "xdsl.universe")


@cache
def installed() -> tuple[tuple[str, Universe], ...]:
    """The plugins of installed packages with their entry points' names, ours before xDSL's."""
    from importlib.metadata import entry_points

    found = []
    for group in GROUPS:
        for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
            try:
                universe = entry.load()
            except Exception as error:
                raise UsageError(
                    f"the installed plugin '{entry.name}' ({entry.value}) does not load: "
                    f"{type(error).__name__}: {error}; repair or uninstall it"
                ) from error
            if not isinstance(universe, Universe):
                raise UsageError(f"the installed plugin '{entry.name}' ({entry.value}) is no xdsl.universe.Universe")
            found.append((entry.name, universe))
    return tuple(found)


def load(module_or_file: str) -> tuple[tuple[str, Universe], ...]:
    """The plugins in a module (dotted name) or file (a path). Raises `UsageError` when there are none."""
    try:
        module = _import_file(Path(module_or_file)) if _is_file(module_or_file) else _import_name(module_or_file)
    except Exception as error:
        raise UsageError(f"cannot load plugin '{module_or_file}': {type(error).__name__}: {error}") from error
    universes = [value for value in vars(module).values() if isinstance(value, Universe)]
    if not universes:
        raise UsageError(
            f"plugin '{module_or_file}' holds no xdsl.universe.Universe; "
            "define one, such as PLUGIN = Universe(all_passes={'my-pass': lambda: MyPass})"
        )
    return tuple((module_or_file, universe) for universe in universes)


def _is_file(name: str) -> bool:
    return name.endswith(".py") or "/" in name


def _import_name(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as for `python -m`: modules of the working directory count
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fsir_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
