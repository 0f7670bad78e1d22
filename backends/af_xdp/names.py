"""Names in the C file: readable where the IR has names, never a keyword, never twice."""

from __future__ import annotations

import re

from xdsl.ir import Operation, SSAValue

_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false
main run linux unix asm typeof alloca errno stdin stdout stderr
"""
_RESERVED = frozenset(_KEYWORDS.split())
_NUMBERED = re.compile(r"\d+$")


def identifier(text: str, fallback: str = "v") -> str:
    """The closest C identifier that is nobody else's: not a keyword, not of the runtime (`fs_…`, upper case)."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_")
    name = re.sub(r"__+", "_", name)
    if not name or name[0].isdigit():
        name = f"{fallback}{name}" if not name or _NUMBERED.match(name) else f"{fallback}_{name}"
    if name in _RESERVED or name.startswith(("fs_", "fn_")) or name.isupper() or name.endswith("_t"):
        name += "_"
    return name


class Names:
    """Unique names within one scope."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """`hint`, or it with a number that makes it unique."""
        name = identifier(hint)
        stem = name if not name[-1].isdigit() else f"{name}_"
        while name in self._taken:
            self._next[stem] = self._next.get(stem, 1) + 1
            name = f"{stem}{self._next[stem]}"
        self._taken.add(name)
        return name


def hint_of(value: SSAValue) -> str:
    """What to call a value: its own name, the field it was read from, or `v`."""
    if value.name_hint:
        return value.name_hint
    owner = value.owner
    field = owner.properties.get("field") if isinstance(owner, Operation) else None
    if field is not None:
        return str(getattr(field, "data", "v"))
    return "v" if isinstance(owner, Operation) else "arg"
