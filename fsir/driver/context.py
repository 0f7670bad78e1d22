"""A context that knows every dialect, imported when first used."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable

from xdsl.context import Context
from xdsl.ir import Dialect
from xdsl.universe import Universe

import fsir.dialects
from fsir.driver import plugins
from fsir.driver.registry import RegistryError


def make_context(extra: Iterable[tuple[str, Universe]] = (), allow_unregistered: bool = False) -> Context:
    """The project's dialects, those of `extra`, of installed plugins, and xDSL's; earlier ones win."""
    ctx = Context(allow_unregistered=allow_unregistered)
    factories = {name: _own(name) for name in own_dialects()}
    for _, universe in (*extra, *plugins.installed()):
        for name, factory in universe.all_dialects.items():
            factories.setdefault(name, factory)
    for name, factory in factories.items():
        ctx.register_dialect(name, factory)
    return ctx


def own_dialects() -> list[str]:
    """The names of the project's dialects: a module or package `fsir/dialects/NAME` each."""
    names = (info.name for info in pkgutil.iter_modules(fsir.dialects.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def _own(name: str) -> Callable[[], Dialect]:
    def load() -> Dialect:
        module = importlib.import_module(f"fsir.dialects.{name}")
        for value in vars(module).values():
            if isinstance(value, Dialect) and value.name == name:
                return value
        raise RegistryError(f"fsir.dialects.{name} holds no Dialect of the name '{name}'")

    return load
