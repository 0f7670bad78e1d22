"""Types of the `ebpf` dialect, and the short spelling in which the dialect prints them.

`!ebpf.reg` is a 64-bit machine word that no register has been chosen for; `!ebpf.reg<r6>` is one in r6.  After
`raise-types` words carry a kind instead: `i64` for scalars, `!ebpf.fp` for addresses of the stack frame, the pointer
types of the `packet` and `map` dialects for theirs.  Every `ebpf` operation works on words of any kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from xdsl.backend.register_type import RegisterType
from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

_NAMES = tuple(f"r{n}" for n in range(11))
REG_COUNT = 11
FRAME_POINTER = 10


@irdl_attr_definition
class RegType(RegisterType):
    """A machine register: `!ebpf.reg` before allocation, `!ebpf.reg<r0>` … `!ebpf.reg<r10>` after."""

    name = "ebpf.reg"

    @classmethod
    def index_by_name(cls) -> dict[str, int]:
        return {name: index for index, name in enumerate(_NAMES)}

    @classmethod
    def infinite_register_prefix(cls) -> str:
        return "j"


class WordType(ParametrizedAttribute, TypeAttribute):
    """Base of the types that fit a machine word and are not plain integers: addresses of one kind or another."""


@irdl_attr_definition
class FramePointerType(WordType):
    """An address within the stack frame of the function."""

    name = "ebpf.fp"


UNALLOCATED = RegType.unallocated()
_REGS = tuple(RegType.from_name(name) for name in _NAMES)


def reg(index: int) -> RegType:
    """The allocated register type of r`index`."""
    return _REGS[index]


def reg_index(type_: Attribute) -> int | None:
    """The register number of an allocated type, else None."""
    if isinstance(type_, RegType) and type_.is_allocated:
        return _index(type_)
    return None


@cache
def _index(type_: RegType) -> int:
    return _NAMES.index(type_.register_name.data)


def set_type(value: SSAValue, type_: Attribute) -> None:
    """Change the type of a value in place. (xDSL's own way makes a new value and rewrites every use: raising and
    allocation change the type of every value of a function, and nothing else about it.)"""
    value._type = type_


def is_word(type_: Attribute) -> bool:
    """Whether a value of this type occupies one machine register."""
    return isinstance(type_, RegType | WordType) or (isinstance(type_, IntegerType) and type_.width.data <= 64)


def check_words(types: Iterable[Attribute]) -> None:
    """Raise VerifyException unless all types are machine words."""
    for type_ in types:
        if not is_word(type_):
            raise VerifyException(f"{type_} does not fit a machine register")


def print_type(printer: Printer, type_: Attribute) -> None:
    """`r3`, `reg`, or the full spelling of any other type."""
    if isinstance(type_, RegType):
        printer.print_string(type_.register_name.data or "reg")
    else:
        printer.print_attribute(type_)


def parse_type(parser: Parser) -> Attribute:
    """Inverse of `print_type`."""
    word = parser.parse_optional_keyword_in(("reg", *_NAMES))
    if word is None:
        return parser.parse_type()
    return UNALLOCATED if word == "reg" else RegType.from_name(word)


def print_types(printer: Printer, types: Sequence[Attribute]) -> None:
    """A comma-separated list of types."""
    printer.print_list(types, lambda type_: print_type(printer, type_))


def parse_types(parser: Parser) -> list[Attribute]:
    """Inverse of `print_types`, for one type or more."""
    types = [parse_type(parser)]
    while parser.parse_optional_punctuation(","):
        types.append(parse_type(parser))
    return types
