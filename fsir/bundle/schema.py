"""Whether data is what a schema says, by the part of JSON Schema that `manifest.schema.json` uses.

Not a general validator: a schema with other keywords is an error (`UnknownKeyword`), which the tests would show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_FOR_READERS = frozenset({"$schema", "title", "description"})

Schema = Mapping[str, Any]


class UnknownKeyword(Exception):
    """The schema says something that is not checked here."""


def problem(value: object, schema: Schema, where: str = "") -> str | None:
    """What is wrong with `value`, and where in it (`.parts[0].level`); None if nothing is."""
    for keyword, wanted in schema.items():
        if keyword in _FOR_READERS:
            continue
        if keyword not in _KEYWORDS:
            raise UnknownKeyword(keyword)
        if found := _KEYWORDS[keyword](value, wanted, schema, where):
            return found
    return None


def _type(value: object, wanted: str | list[str], schema: Schema, where: str) -> str | None:
    names = [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)):
            return None
    return f"{where or 'the whole'} is no {' or '.join(names)}"


def _enum(value: object, wanted: list[object], schema: Schema, where: str) -> str | None:
    return None if value in wanted else f"{where} is {json.dumps(value)}, not one of {json.dumps(wanted)}"


def _const(value: object, wanted: object, schema: Schema, where: str) -> str | None:
    return _enum(value, [wanted], schema, where)


def _minimum(value: object, wanted: float, schema: Schema, where: str) -> str | None:
    return f"{where} is below {wanted}" if isinstance(value, int | float) and value < wanted else None


def _required(value: object, wanted: list[str], schema: Schema, where: str) -> str | None:
    missing = [name for name in wanted if name not in value] if isinstance(value, dict) else []
    return f"{where}.{missing[0]} is missing" if missing else None


def _properties(value: object, wanted: Mapping[str, Schema], schema: Schema, where: str) -> str | None:
    given = value if isinstance(value, dict) else {}
    return _first(problem(given[name], inner, f"{where}.{name}") for name, inner in wanted.items() if name in given)


def _additional(value: object, wanted: bool | Schema, schema: Schema, where: str) -> str | None:
    others = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else set()
    if isinstance(wanted, bool):
        return f"{where}.{min(others)} is unknown" if others and not wanted else None
    assert isinstance(value, dict) or not others
    return _first(problem(value[name], wanted, f"{where}.{name}") for name in sorted(others))  # type: ignore[index]


def _items(value: object, wanted: Schema, schema: Schema, where: str) -> str | None:
    items = value if isinstance(value, list) else []
    return _first(problem(item, wanted, f"{where}[{index}]") for index, item in enumerate(items))


def _first(problems: Any) -> str | None:
    return next((found for found in problems if found is not None), None)


_KEYWORDS: dict[str, Callable[[object, Any, Schema, str], str | None]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _minimum,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
}
