"""Types of the `map` dialect: a map as helpers take it, and the address of a value.

Both say of which maps. A name is that of a declaration, or `@outer::@inner`: some map that is in the map of maps
`@outer`, whose declaration may say what such a map is like (`inner`). Where several are possible it is one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from xdsl.dialects.builtin import ArrayAttr, StringAttr, SymbolRefAttr
from xdsl.ir import Attribute
from xdsl.irdl import base, irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from fsir.dialects.ebpf.types import WordType

if TYPE_CHECKING:
    from fsir.dialects.map.decl import DeclOp

_INNER = "inner"
_SEPARATOR = "::"


def inner_name(name: str) -> str:
    """What the maps in a map of maps are called."""
    return f"{name}{_SEPARATOR}{_INNER}"


def outer_name(name: str) -> str | None:
    """The map of maps that some map is in; None for one that has a declaration of its own."""
    outer, separator, _ = name.partition(_SEPARATOR)
    return outer if separator else None


def described(declarations: Mapping[str, DeclOp], name: str) -> DeclOp | None:
    """The declaration that says what a map is like: its own, or that of the maps in a map of maps. None where the
    module says nothing."""
    outer = outer_name(name)
    if outer is None:
        return declarations.get(name)
    found = declarations.get(outer)
    return declarations.get(found.inner.root_reference.data) if found is not None and found.inner is not None else None


class MapsType(WordType):
    """Base of the types that name maps. Each declares the parameter itself: what a base declares is not compared."""

    maps: ArrayAttr[SymbolRefAttr]

    @property
    def names(self) -> tuple[str, ...]:
        """The maps that it may be, or be a value of: names of declarations, and of maps in these (`outer_name`)."""
        return tuple(_SEPARATOR.join(part.data for part in _parts(reference)) for reference in self.maps)

    @property
    def only(self) -> str | None:
        """The declared map that it surely is, or is a value of."""
        names = self.names
        return names[0] if len(names) == 1 and outer_name(names[0]) is None else None

    def joined(self, other: Self) -> Self:
        """The type of what is of either type."""
        return type(self)(*self.names, *other.names)

    def verify(self) -> None:
        if not self.maps or list(self.names) != sorted(set(self.names)):
            raise VerifyException("the maps of a type are one or more, each once, in the order of their names")
        if any([part.data for part in _parts(reference)][1:] not in ([], [_INNER]) for reference in self.maps):
            raise VerifyException(f"a map is @name, or @name::@{_INNER} for one that is in a map of maps")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        return [ArrayAttr(parser.parse_comma_separated_list(parser.Delimiter.ANGLE, parser.parse_attribute))]

    def print_parameters(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_list(self.maps, printer.print_attribute)


@irdl_attr_definition
class HandleType(MapsType):
    """A map itself, as helpers take it. One that was found in a map of maps is null before `map.hit`."""

    name = "map.handle"
    maps: ArrayAttr[SymbolRefAttr] = param_def(ArrayAttr.constr(base(SymbolRefAttr)))

    def __init__(self, *names: str) -> None:
        super().__init__(_references(names))


@irdl_attr_definition
class ValueType(MapsType):
    """The address of a value of a map (of a global-data section too), or null before `map.hit`. Where paths with values
    of several maps meet it is one of theirs: `!map.value<@a, @b>`, the names in order. What is found in a map that the
    module does not describe may be a kernel object instead, whose type only the kernel knows."""

    name = "map.value"
    maps: ArrayAttr[SymbolRefAttr] = param_def(ArrayAttr.constr(base(SymbolRefAttr)))

    def __init__(self, *names: str) -> None:
        super().__init__(_references(names))


def _references(names: Iterable[str]) -> ArrayAttr[SymbolRefAttr]:
    split = (name.split(_SEPARATOR) for name in sorted(set(names)))
    return ArrayAttr(SymbolRefAttr(root, nested) for root, *nested in split)


def _parts(reference: SymbolRefAttr) -> tuple[StringAttr, ...]:
    return (reference.root_reference, *reference.nested_references)
