"""Operations on maps that are named, and on values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import IntAttr, IntegerType, StringAttr, SymbolRefAttr, i1, i32, i64
from xdsl.ir import SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    opt_result_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from fsir.dialects.ebpf.base import EbpfOp, RelocatableOp
from fsir.dialects.ebpf.types import RegType
from fsir.dialects.map.decl import DeclOp, declaration_of
from fsir.dialects.map.types import HandleType, ValueType, inner_name


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
    """Raise VerifyException unless a lookup gives the address of a value, or a map that is in the map; or a word of
    unknown kind."""
    given, name = op.results[0].type, op.symbol_prop("map")
    found = HandleType(inner_name(name)) if _declared(op).holds_maps else ValueType(name)
    if not isinstance(given, RegType) and given != found:
        raise VerifyException(f"a lookup in @{name} gives {found} or !ebpf.reg, not {given}")


@irdl_op_definition
class LookupOp(EbpfOp):
    """The address of the value under a key, or null (bpf_map_lookup_elem). In a map of maps it is
    a map's handle, or null; in one of sockets the address of something else, a word of unknown kind."""

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
