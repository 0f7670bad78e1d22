"""The `map` dialect: what a program does to its maps.

Keys and values are SSA values, not stack addresses: a key is the concatenation of its operands in memory order, each as
wide as its type, little-endian; together they are exactly the map's key size, padding included.  Where a key's bytes
are not all known, the `_at` operations take the address instead.  A lookup gives the address of the value, or null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import (
    ArrayAttr,
    FlatSymbolRefAttrConstr,
    IntAttr,
    IntegerType,
    ModuleOp,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    UnitAttr,
    i1,
    i32,
    i64,
)
from xdsl.ir import Attribute, Dialect, Operation, SSAValue
from xdsl.irdl import (
    base,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    opt_result_def,
    param_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.traits import Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from fsir.dialects._records import check_numbers, check_records
from fsir.dialects.ebpf.base import EbpfOp, RelocatableOp
from fsir.dialects.ebpf.types import RegType, WordType


@irdl_attr_definition
class HandleType(WordType):
    """A map itself, as helpers take it."""

    name = "map.handle"
    map: SymbolRefAttr = param_def(base(SymbolRefAttr))


@irdl_attr_definition
class ValueType(WordType):
    """The address of a value of a map (of a global-data section too), or null before `map.hit`. Where paths with values
    of several maps meet it is one of theirs: `!map.value<@a, @b>`, the names in order."""

    name = "map.value"
    maps: ArrayAttr[SymbolRefAttr] = param_def(ArrayAttr.constr(base(SymbolRefAttr)))

    def __init__(self, *names: str) -> None:
        super().__init__(ArrayAttr(SymbolRefAttr(name) for name in sorted(set(names))))

    @property
    def names(self) -> tuple[str, ...]:
        """The maps of which it may be a value."""
        return tuple(reference.root_reference.data for reference in self.maps)

    @property
    def only(self) -> str | None:
        """The map of which it is a value, where there is no other."""
        return self.names[0] if len(self.maps) == 1 else None

    def joined(self, other: ValueType) -> ValueType:
        """The type of what is of either type."""
        return ValueType(*self.names, *other.names)

    def verify(self) -> None:
        if not self.maps or list(self.names) != sorted(set(self.names)):
            raise VerifyException("the maps of a value are one or more, each once, in the order of their names")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        return [ArrayAttr(parser.parse_comma_separated_list(parser.Delimiter.ANGLE, parser.parse_attribute))]

    def print_parameters(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_list(self.maps, printer.print_attribute)


@irdl_op_definition
class DeclOp(EbpfOp):
    """The declaration of a map, as the object defines it. `type` is the kernel's name in lower case (`lru_hash`,
    `array` …), sizes are in bytes, `section` where its definition lives; one without a section was added by a pass, and
    the exporter writes its definition. `inner` names the inner map of a map in map. `internal` marks global data."""

    name = "map.decl"
    FORMAT: ClassVar[tuple[str, ...]] = (
        *("!sym_name", " ", "@type", " key ", "#key_size", " value ", "#value_size"),
        *(" entries ", "#max_entries", " flags ", "#flags"),
    )
    sym_name = prop_def(SymbolNameConstraint())
    type = prop_def(StringAttr)
    key_size = prop_def(IntAttr)
    value_size = prop_def(IntAttr)
    max_entries = prop_def(IntAttr)
    flags = prop_def(IntAttr)
    section = opt_prop_def(StringAttr)
    pinning = opt_prop_def(IntAttr)
    numa_node = opt_prop_def(IntAttr)
    map_extra = opt_prop_def(IntAttr)
    inner = opt_prop_def(FlatSymbolRefAttrConstr)
    initial = opt_prop_def(ArrayAttr[Attribute])
    key_btf = opt_prop_def(IntAttr)
    value_btf = opt_prop_def(IntAttr)
    internal = opt_prop_def(UnitAttr)
    template = opt_prop_def(UnitAttr)
    traits = traits_def(SymbolOpInterface())

    def verify_(self) -> None:
        check_numbers(self.properties, _DECL_BITS)
        check_records("an initial value", self.initial, {"index": IntAttr, "symbol": StringAttr})


_DECL_BITS = dict.fromkeys(("key_size", "value_size", "max_entries", "flags", "pinning", "key_btf", "value_btf"), 32)
_DECL_BITS |= {"map_extra": 64}


def declaration_of(op: Operation, name: str) -> DeclOp | None:
    """The `map.decl` of a map in the module that an operation is in. (Declarations come first in a module.)"""
    top = op
    while (parent := top.parent_op()) is not None:
        top = parent
    if not isinstance(top, ModuleOp):
        return None
    return next((d for d in top.body.block.ops if isinstance(d, DeclOp) and d.sym_name.data == name), None)


def _declared(op: EbpfOp) -> DeclOp:
    """The declaration of an operation's map. Raises VerifyException when there is none."""
    name = op.symbol_prop("map")
    declaration = declaration_of(op, name)
    if declaration is None:
        raise VerifyException(f"no map @{name} is declared in the module; declare it with map.decl")
    return declaration


def _check_size(op: EbpfOp, what: str, values: Sequence[SSAValue]) -> None:
    """Raise VerifyException unless operands are together as long as the map's key or value."""
    declaration = _declared(op)
    want = declaration.int_prop(f"{what}_size")
    have = sum(value.type.width.data // 8 for value in values if isinstance(value.type, IntegerType))
    if have != want:
        name = declaration.sym_name.data
        raise VerifyException(f"the {what} of @{name} has {want} bytes, the operands have {have}")


def _check_found(op: EbpfOp) -> None:
    """Raise VerifyException unless a lookup gives the address of a value of its map, or a word of unknown kind."""
    given = op.results[0].type
    name = op.symbol_prop("map")
    if not isinstance(given, RegType) and given != ValueType(name):
        raise VerifyException(f"a lookup in @{name} gives !map.value<@{name}> or !ebpf.reg, not {given}")


@irdl_op_definition
class LookupOp(EbpfOp):
    """The address of the value under a key, or null (bpf_map_lookup_elem). In maps of sockets and of maps it is that of
    something else, a word of unknown kind."""

    name = "map.lookup"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", "*key")
    key = var_operand_def(IntegerType)
    res = result_def()
    map = prop_def(SymbolRefAttr)
    key_count = prop_def(IntAttr)

    def verify_(self) -> None:
        super().verify_()
        _check_size(self, "key", self.operands)
        _check_found(self)


@irdl_op_definition
class LookupAtOp(EbpfOp):
    """As `map.lookup`, the key's bytes read at an address."""

    name = "map.lookup_at"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", "[", "%", "]")
    key = operand_def()
    res = result_def()
    map = prop_def(SymbolRefAttr)

    def verify_(self) -> None:
        super().verify_()
        _declared(self)
        _check_found(self)


@irdl_op_definition
class UpdateOp(EbpfOp):
    """Write the value under a key (bpf_map_update_elem): 0, or a negative error. The operands are the key's, the
    value's and the flags."""

    name = "map.update"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", " key ", "*key", " value ", "*value", " flags ", "%")
    args = var_operand_def()
    res = result_def()
    map = prop_def(SymbolRefAttr)
    key_count = prop_def(IntAttr)
    value_count = prop_def(IntAttr)

    @property
    def key(self) -> Sequence[SSAValue]:
        """The operands that make up the key."""
        return self.operands[: self.int_prop("key_count")]

    @property
    def value(self) -> Sequence[SSAValue]:
        """The operands that make up the value."""
        return self.operands[self.int_prop("key_count") : -1]

    @property
    def flags(self) -> SSAValue:
        """BPF_ANY, BPF_NOEXIST or BPF_EXIST (uapi linux/bpf.h)."""
        return self.operands[-1]

    def verify_(self) -> None:
        super().verify_()
        if len(self.operands) != self.int_prop("key_count") + self.int_prop("value_count") + 1:
            raise VerifyException("the operands are not those of the key, those of the value, and the flags")
        _check_size(self, "key", self.key)
        _check_size(self, "value", self.value)


@irdl_op_definition
class UpdateAtOp(EbpfOp):
    """As `map.update`; key and value are read at addresses."""

    name = "map.update_at"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", "[", "%", "]", ", ", "%", " flags ", "%")
    key = operand_def()
    value = operand_def()
    flags = operand_def()
    res = result_def()
    map = prop_def(SymbolRefAttr)

    def verify_(self) -> None:
        super().verify_()
        _declared(self)


@irdl_op_definition
class DeleteOp(EbpfOp):
    """Remove a key (bpf_map_delete_elem): 0, or a negative error."""

    name = "map.delete"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", "*key")
    key = var_operand_def(IntegerType)
    res = result_def()
    map = prop_def(SymbolRefAttr)
    key_count = prop_def(IntAttr)

    def verify_(self) -> None:
        super().verify_()
        _check_size(self, "key", self.operands)


@irdl_op_definition
class DeleteAtOp(EbpfOp):
    """As `map.delete`, the key's bytes read at an address."""

    name = "map.delete_at"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", "[", "%", "]")
    key = operand_def()
    res = result_def()
    map = prop_def(SymbolRefAttr)

    def verify_(self) -> None:
        super().verify_()
        _declared(self)


@irdl_op_definition
class RedirectOp(EbpfOp):
    """Choose where XDP_REDIRECT sends the packet (bpf_redirect_map): the verdict. A key without entry gives the low two
    bits of flags."""

    name = "map.redirect"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", "[", "%", "]", " flags ", "%")
    key = operand_def()
    flags = operand_def()
    res = result_def()
    map = prop_def(SymbolRefAttr)

    def verify_(self) -> None:
        super().verify_()
        _declared(self)


@irdl_op_definition
class HitOp(EbpfOp):
    """Whether a lookup found its key: the address is not null."""

    name = "map.hit"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    value = operand_def()
    res = result_def(i1)
    traits = traits_def(Pure())


@irdl_op_definition
class LoadOp(RelocatableOp):
    """Read the bytes at offset `off` of a map value; the width is the result's type."""

    name = "map.load"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]")
    value = operand_def(ValueType)
    res = result_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)
    core = opt_prop_def()


@irdl_op_definition
class StoreOp(RelocatableOp):
    """Write at offset `off` of a map value; the width is the stored value's type."""

    name = "map.store"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%")
    value = operand_def(ValueType)
    stored = operand_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)
    core = opt_prop_def()


@irdl_op_definition
class AtomicOp(EbpfOp):
    """`lock *(value + off) op= arg` (`op`: add, or, and, xor); the width (i32, i64) is the argument's type. With a
    result, of that type too, it gives what was there before."""

    name = "map.atomic"
    KINDS: ClassVar[frozenset[str]] = frozenset({"add", "or", "and", "xor"})
    FORMAT: ClassVar[tuple[str, ...]] = ("@op", " ", "%", "[", "#off", "]", ", ", "%")
    value = operand_def(ValueType)
    arg = operand_def(IntegerType)
    res = opt_result_def()
    op = prop_def(StringAttr)
    off = prop_def(IntAttr)

    def verify_(self) -> None:
        super().verify_()
        if self.op.data not in self.KINDS:
            raise VerifyException(f"there is no atomic '{self.op.data}'; there are {', '.join(sorted(self.KINDS))}")
        if self.arg.type not in (i32, i64):
            raise VerifyException(f"atomics are of i32 or i64, not of {self.arg.type}")
        if self.res is not None and self.res.type != self.arg.type:
            raise VerifyException(f"the result is of the argument's type {self.arg.type}, not of {self.res.type}")


MAP = Dialect(
    "map",
    [
        DeclOp,
        LookupOp,
        LookupAtOp,
        UpdateOp,
        UpdateAtOp,
        DeleteOp,
        DeleteAtOp,
        RedirectOp,
        HitOp,
        LoadOp,
        StoreOp,
        AtomicOp,
    ],
    [HandleType, ValueType],
)
