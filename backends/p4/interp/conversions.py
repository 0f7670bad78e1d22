"""Which types convert to which, and small questions about types and symbols that the checkers share."""

from __future__ import annotations

from fsir.backends.p4.interp.symbols import Symbol
from fsir.backends.p4.interp.types import (
    BOOL,
    INTEGER,
    BitType,
    EnumType,
    ExternType,
    IntType,
    NewType,
    StructType,
    TupleType,
    Type,
    TypeVar,
    is_number,
    representation,
)


def members_of(type_: Type) -> list[Type] | None:
    """The element types of what a list expression can become."""
    if isinstance(type_, StructType) and type_.kind != "header_union":
        return list(type_.fields.values())
    if isinstance(type_, TupleType):
        return list(type_.elems)
    return None


def castable(source: Type, target: Type) -> bool:
    """Explicit casts of scalars (P4_16 section on casts)."""
    if isinstance(source, NewType):
        return source.base == target or castable(source.base, target)
    if isinstance(target, NewType):
        return target.base == source or source == INTEGER or castable(source, target.base)
    if isinstance(source, EnumType) or isinstance(target, EnumType):
        inner, outer = representation(source), representation(target)
        return (
            not isinstance(inner, EnumType)
            and not isinstance(outer, EnumType)
            and (inner == outer or source == INTEGER or castable(inner, outer))
        )
    if BOOL in (source, target):
        other = target if source == BOOL else source
        return other == BitType(1)
    if isinstance(source, BitType | IntType) and isinstance(target, BitType | IntType):
        return type(source) is type(target) or source.width == target.width
    if isinstance(source, BitType | IntType) and target == INTEGER:
        return True
    return source == INTEGER and is_number(target)


def describe(symbol: Symbol) -> str:
    """`a table`, `an action` … for messages."""
    names = {
        "Overloads": "a function",
        "TypeSym": "a type",
        "ExternSym": "an extern type",
        "BlockSym": "a parser or control",
        "PackageSym": "a package",
        "ActionSym": "an action",
        "TableSym": "a table",
        "InstanceSym": "an instance",
        "StateSym": "a parser state",
    }
    return names.get(type(symbol).__name__, "a value")


def substitute(type_: Type, bindings: dict[str, Type]) -> Type:
    """`type_` with type variables replaced."""
    if isinstance(type_, TypeVar):
        return bindings.get(type_.name, type_)
    if isinstance(type_, ExternType):
        return ExternType(type_.name, tuple(substitute(arg, bindings) for arg in type_.args))
    if isinstance(type_, TupleType):
        return TupleType(tuple(substitute(elem, bindings) for elem in type_.elems))
    return type_
