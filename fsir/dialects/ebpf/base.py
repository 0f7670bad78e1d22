"""What the operations of the `ebpf` dialect have in common: their row of the ISA table and their textual form.

The textual form of every instruction is

    %r = ebpf.NAME body attr-dict : operand types -> result types

where the body follows the class's `FORMAT`, a tuple of tokens that drives printer and parser alike:

    "%"      the next operand                "*"     the remaining operands, in parentheses
    "*name"  a group of operands, in parentheses; the integer property `name_count` holds how many
    "#name"  an integer property             "@name" a symbol reference (or string) property
    "!name"  the symbol name that the operation defines
    "^"      the next successor, with its operands
    anything else is punctuation, printed as it stands
"""

from __future__ import annotations

import struct
from abc import ABCMeta
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, islice
from typing import ClassVar, Self, cast

from xdsl.dialects.builtin import (
    DenseArrayBase,
    DictionaryAttr,
    IntAttr,
    IntegerType,
    StringAttr,
    SymbolRefAttr,
    i32,
)
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.irdl import IRDLOperation
from xdsl.parser import Parser, UnresolvedOperand
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from fsir import isa
from fsir.dialects._records import check_record
from fsir.dialects.ebpf.types import check_words, parse_type, parse_types, print_type, print_types

SEGMENTS = "operandSegmentSizes"


@lru_cache(maxsize=65536)
def int_attr(value: int) -> IntAttr:
    """An integer attribute; equal values share one object, as most immediates of a program are the same few."""
    return IntAttr(value)


@lru_cache(maxsize=4096)
def segments(*sizes: int) -> DenseArrayBase:
    """The operand segment sizes property."""
    return DenseArrayBase.from_list(i32, sizes)


@lru_cache(maxsize=65536)
def segment_bounds(sizes: bytes, successors: int) -> tuple[int, ...]:
    """Where the operands passed to each successor begin, and where the last of them end, by segment sizes."""
    values = struct.unpack(f"<{len(sizes) // 4}i", sizes)
    fixed = len(values) - successors
    return (*accumulate(values[fixed:], initial=sum(values[:fixed])),)


class _PlainClass(ABCMeta):
    """Metaclass of classes that others are never registered with: `isinstance` asks the bases of an object's class, and
    nothing else. It is asked some hundred times per instruction, and takes a quarter of ABCMeta's time."""

    __instancecheck__ = type.__instancecheck__


class EbpfOp(IRDLOperation, metaclass=_PlainClass):
    """Base of every operation of the dialect that takes and gives machine words."""

    FORMAT: ClassVar[tuple[str, ...]] = ()
    FIXED: ClassVar[Mapping[str, Attribute]] = {}
    """Properties that all operations of the class have, and that are not written."""

    def verify_(self) -> None:
        check_words(operand.type for operand in self.operands)
        check_words(result.type for result in self.results)

    def int_prop(self, name: str) -> int:
        """The value of an integer property; 0 when the operation has none of that name."""
        attr = self.properties.get(name)
        return cast(IntAttr, attr).data if attr is not None else 0

    def symbol_prop(self, name: str) -> str:
        """The name in a symbol reference property."""
        return cast(SymbolRefAttr, self.properties[name]).root_reference.data

    def fixed_operands(self) -> Sequence[SSAValue]:
        """The operands that are not passed to a successor."""
        return self.operands

    def print(self, printer: Printer) -> None:
        operands = iter(self.fixed_operands())
        successors = iter(range(len(self.successors)))
        if self.FORMAT:
            printer.print_string(" ")
        for token in self.FORMAT:
            self._print_token(printer, token, operands, successors)
        shown = {token[1:] + "_count" * (token[0] == "*") for token in self.FORMAT} | {SEGMENTS, *self.FIXED}
        _print_extras(printer, {k: v for k, v in self.properties.items() if k not in shown} | self.attributes)
        if fixed := self.fixed_operands():
            printer.print_string(" : ")
            print_types(printer, [operand.type for operand in fixed])
        if self.results:
            printer.print_string(" -> ")
            print_types(printer, [result.type for result in self.results])

    def _print_token(
        self, printer: Printer, token: str, operands: Iterator[SSAValue], successors: Iterator[int]
    ) -> None:
        if token == "%":
            printer.print_operand(next(operands))
        elif token[0] == "*":
            group = islice(operands, self.int_prop(f"{token[1:]}_count")) if token != "*" else operands
            with printer.in_parens():
                printer.print_list(group, printer.print_operand)
        elif token == "^":
            index = next(successors)
            assert isinstance(self, BranchOp)
            print_successor(printer, self.successors[index], self.successor_operands(index))
        elif token[0] == "#":
            printer.print_string(str(self.int_prop(token[1:])))
        elif token[0] == "@":
            printer.print_attribute(self.properties[token[1:]])
        elif token[0] == "!":
            printer.print_symbol_name(cast(StringAttr, self.properties[token[1:]]).data)
        else:
            printer.print_string(token)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        unresolved: list[UnresolvedOperand] = []
        properties: dict[str, Attribute] = dict(cls.FIXED)
        successors: list[Block] = []
        passed: list[list[SSAValue]] = []
        pos = parser.pos
        for token in cls.FORMAT:
            if token == "%":
                unresolved.append(parser.parse_unresolved_operand())
            elif token[0] == "*":
                group = _parse_parenthesised(parser)
                unresolved += group
                if token != "*":
                    properties[f"{token[1:]}_count"] = int_attr(len(group))
            elif token == "^":
                block, values = parse_successor(parser)
                successors.append(block)
                passed.append(values)
            elif token[0] == "#":
                properties[token[1:]] = int_attr(parser.parse_integer())
            elif token[0] == "@":
                properties[token[1:]] = parser.parse_attribute()
            elif token[0] == "!":
                properties[token[1:]] = parser.parse_symbol_name()
            elif token.strip().isalpha():
                parser.parse_keyword(token.strip())
            elif token.strip():
                parser.parse_punctuation(token.strip())  # type: ignore[arg-type]
        extras = parser.parse_optional_attr_dict()
        known = cls.get_irdl_definition().properties
        properties |= {name: extras.pop(name) for name in list(extras) if name in known}
        types = parse_types(parser) if unresolved and parser.parse_optional_punctuation(":") else []
        operands = list(parser.resolve_operands(unresolved, types, pos))
        results = parse_types(parser) if parser.parse_optional_punctuation("->") else []
        if len(successors) > 1:
            properties[SEGMENTS] = segments(*[1] * len(operands), *map(len, passed))
        operands += [value for values in passed for value in values]
        return cls.create(
            operands=operands,
            result_types=results,
            properties=properties,
            attributes=extras,
            successors=successors,
        )


class BranchOp(EbpfOp):
    """A terminator with successors, each of which takes operands.

    With one successor every operand is passed to it; with two, the first operands are the instruction's own.
    """

    def _bounds(self) -> Sequence[int]:
        count = len(self.successors)
        if count < 2:
            return (0, len(self.operands))
        sizes = cast("DenseArrayBase[IntegerType]", self.properties[SEGMENTS])
        return segment_bounds(sizes.data.data, count)

    def fixed_operands(self) -> Sequence[SSAValue]:
        return self.operands[: self._bounds()[0]]

    def successor_operands(self, index: int) -> Sequence[SSAValue]:
        """The values passed to the arguments of a successor."""
        bounds = self._bounds()
        return self.operands[bounds[index] : bounds[index + 1]]

    def set_successor_operands(self, index: int, values: Sequence[SSAValue]) -> None:
        """Replace the values passed to a successor."""
        bounds = self._bounds()
        operands = self.operands
        first, last = bounds[index], bounds[index + 1]
        self.operands = [*operands[:first], *values, *operands[last:]]
        if len(values) != last - first and len(self.successors) > 1:
            sizes = [bounds[i + 1] - bounds[i] for i in range(len(self.successors))]
            sizes[index] = len(values)
            self.properties[SEGMENTS] = segments(*[1] * bounds[0], *sizes)


class RelocatableOp(EbpfOp):
    """Base of the operations that the loader may change: with the property `core`, a CO-RE relocation, the offset or
    immediate is what the object says, and the loader puts there what is right for the kernel."""

    def verify_(self) -> None:
        super().verify_()
        if (core := self.properties.get("core")) is not None:
            check_record("core", core, {"type": IntAttr, "access": StringAttr, "kind": IntAttr})


class InsnOp(RelocatableOp):
    """Mixed into the operations that are exactly one instruction of the ISA; `row` is the table's row.

    Two properties may come with any instruction: `unused`, the fields without meaning that were not zero in the object
    it was read from (`isa.unused_fields`), and `core`.
    """

    ROW: ClassVar[isa.Opcode]

    def verify_(self) -> None:
        super().verify_()
        check_unused(self, self.row)

    @property
    def row(self) -> isa.Opcode:
        """The instruction's row of the ISA table."""
        return self.ROW


def check_unused(op: EbpfOp, row: isa.Opcode) -> None:
    """Raise VerifyException unless the property `unused` names only fields without meaning in an instruction."""
    unused = op.properties.get("unused")
    if not isinstance(unused, DictionaryAttr):
        return
    check_record("unused", unused, dict.fromkeys(unused.data, IntAttr))
    if not unused.data.keys() <= set(isa.unused_fields(row)):
        raise VerifyException(f"unused names a field that {row.name} uses: {unused}")


def print_successor(printer: Printer, block: Block, operands: Sequence[SSAValue]) -> None:
    """`^bb1(%a, %b : r1, reg)`."""
    printer.print_block_name(block)
    if operands:
        with printer.in_parens():
            printer.print_list(operands, printer.print_operand)
            printer.print_string(" : ")
            print_types(printer, [operand.type for operand in operands])


def parse_successor(parser: Parser) -> tuple[Block, list[SSAValue]]:
    """Inverse of `print_successor`."""
    block = parser.parse_successor()
    pos = parser.pos
    if not parser.parse_optional_punctuation("("):
        return block, []
    unresolved = [parser.parse_unresolved_operand()]
    while parser.parse_optional_punctuation(","):
        unresolved.append(parser.parse_unresolved_operand())
    parser.parse_punctuation(":")
    operands = parser.resolve_operands(unresolved, parse_types(parser), pos)
    parser.parse_punctuation(")")
    return block, list(operands)


def _parse_parenthesised(parser: Parser) -> list[UnresolvedOperand]:
    return parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_unresolved_operand)


def _print_extras(printer: Printer, entries: dict[str, Attribute]) -> None:
    if entries:
        printer.print_string(" ")
        with printer.in_braces():
            printer.print_list(entries.items(), lambda item: _print_entry(printer, *item))


def _print_entry(printer: Printer, name: str, value: Attribute) -> None:
    printer.print_identifier_or_string_literal(name)
    printer.print_string(" = ")
    printer.print_attribute(value)


__all__ = [
    "SEGMENTS",
    "BranchOp",
    "EbpfOp",
    "InsnOp",
    "Operation",
    "check_unused",
    "int_attr",
    "parse_successor",
    "parse_type",
    "print_successor",
    "print_type",
    "segments",
]
