"""P4 types as the checker and the code generator see them. Equal types compare equal; named ones by identity."""

from __future__ import annotations

from dataclasses import dataclass, field


class Type:
    """Base of all types; `str()` is the P4 spelling used in error messages."""


@dataclass(frozen=True, slots=True)
class BitType(Type):
    """`bit<width>`: Python ints 0 … 2**width - 1."""

    width: int

    def __str__(self) -> str:
        return f"bit<{self.width}>"


@dataclass(frozen=True, slots=True)
class IntType(Type):
    """`int<width>`: Python ints, two's complement range."""

    width: int

    def __str__(self) -> str:
        return f"int<{self.width}>"


@dataclass(frozen=True, slots=True)
class VarbitType(Type):
    """`varbit<width>`: Python tuples (value, bits in use)."""

    width: int

    def __str__(self) -> str:
        return f"varbit<{self.width}>"


@dataclass(frozen=True, slots=True)
class AtomType(Type):
    """`bool`, `int` (compile-time integers of any size), `string`, `void`, `error`, `match_kind`; `_` is any set."""

    name: str

    def __str__(self) -> str:
        return self.name


BOOL = AtomType("bool")
INTEGER = AtomType("int")
STRING = AtomType("string")
VOID = AtomType("void")
ERROR = AtomType("error")
MATCH_KIND = AtomType("match_kind")
ANY = AtomType("_")


@dataclass(frozen=True, slots=True)
class TypeVar(Type):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False, slots=True)
class EnumType(Type):
    """An enum; `base` is the representation of a serializable one. Values are ints either way."""

    name: str
    base: BitType | IntType | None
    members: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False, slots=True)
class NewType(Type):
    """`type base name;`"""

    name: str
    base: Type

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False, slots=True)
class StructType(Type):
    """`kind` is struct, header or header_union."""

    name: str
    kind: str
    fields: dict[str, Type] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class StackType(Type):
    elem: StructType
    size: int

    def __str__(self) -> str:
        return f"{self.elem}[{self.size}]"


@dataclass(frozen=True, slots=True)
class TupleType(Type):
    """Tuples, and the type of a list expression before it is converted."""

    elems: tuple[Type, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elems))}>"


@dataclass(frozen=True, slots=True)
class RecordType(Type):
    """The type of `{x = 1, …}` before it is converted to a struct."""

    fields: tuple[tuple[str, Type], ...]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name} = {type_}" for name, type_ in self.fields) + "}"


@dataclass(frozen=True, slots=True)
class ExternType(Type):
    """An extern object type with its type arguments."""

    name: str
    args: tuple[Type, ...] = ()

    def __str__(self) -> str:
        return self.name + (f"<{', '.join(map(str, self.args))}>" if self.args else "")


@dataclass(frozen=True, slots=True)
class ApplyResult(Type):
    """What `table.apply()` gives: hit, miss, action_run."""

    table: str

    def __str__(self) -> str:
        return f"the result of {self.table}.apply()"


@dataclass(frozen=True, slots=True)
class ActionRun(Type):
    """`table.apply().action_run`."""

    table: str

    def __str__(self) -> str:
        return f"the actions of table {self.table}"


def is_number(type_: Type) -> bool:
    return isinstance(type_, BitType | IntType)


def by_reference(type_: Type) -> bool:
    """Types whose values are mutable Python objects: copied when assigned."""
    return isinstance(type_, StructType | StackType)


def representation(type_: Type) -> Type:
    """The type below `type` declarations and serializable enums."""
    while True:
        below = type_.base if isinstance(type_, NewType | EnumType) else None
        if below is None:
            return type_
        type_ = below


def width_of(type_: Type) -> int | None:
    """Bits on the wire of a type whose size is fixed, None for others. A header's validity has no bit."""
    low = representation(type_)
    if isinstance(low, BitType | IntType):
        return low.width
    if low == BOOL:
        return 1
    if isinstance(low, StructType) and low.kind != "header_union":
        return _sum(list(low.fields.values()))
    if isinstance(low, TupleType):
        return _sum(list(low.elems))
    return None


def _sum(types: list[Type]) -> int | None:
    total = 0
    for type_ in types:
        width = width_of(type_)
        if width is None:
            return None
        total += width
    return total


def holds_header(type_: Type) -> bool:
    """Whether a value of the type has a validity somewhere."""
    if isinstance(type_, StackType):
        return True
    if isinstance(type_, StructType):
        return type_.kind != "struct" or any(holds_header(field) for field in type_.fields.values())
    return False
