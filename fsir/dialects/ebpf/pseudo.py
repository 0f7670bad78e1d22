"""Operations of the `ebpf` dialect that are not instructions: they emit nothing, or stand for what has no decoding.

`ld_sym` is the exception: it is `lddw` with a relocation, the way an object names a map, a global or a function.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, StringAttr, SymbolRefAttr
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    successor_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import IsTerminator, Pure

from fsir import isa
from fsir.dialects._records import check_bytes, check_numbers
from fsir.dialects.ebpf.base import BranchOp, EbpfOp, check_unused


@irdl_op_definition
class LdSymOp(EbpfOp):
    """`lddw` whose value the loader fills in: the address of the map `sym`, of the byte at `offset` in the global-data
    section `sym`, of the function `sym`, or of an undefined (kernel) symbol. `via` says how the object names it: by its
    own `symbol`, by a `section` symbol and offset, or by the symbol of that name. `imm`, `imm_hi` and `pseudo` are the
    instruction's fields in the object."""

    name = "ebpf.ld_sym"
    FORMAT: ClassVar[tuple[str, ...]] = ("@sym",)
    res = result_def()
    sym = prop_def(SymbolRefAttr)
    offset = opt_prop_def(IntAttr)
    via = opt_prop_def(StringAttr)
    imm = opt_prop_def(IntAttr)
    imm_hi = opt_prop_def(IntAttr)
    pseudo = opt_prop_def(IntAttr)
    unused = opt_prop_def(DictionaryAttr)
    traits = traits_def(Pure())

    def verify_(self) -> None:
        super().verify_()
        check_unused(self, isa.LDDW)


@irdl_op_definition
class FpOp(EbpfOp):
    """The frame pointer, r10: the highest address of the 512-byte stack frame. Emits nothing."""

    name = "ebpf.frame"
    FORMAT: ClassVar[tuple[str, ...]] = ()
    res = result_def()
    traits = traits_def(Pure())


@irdl_op_definition
class UndefOp(EbpfOp):
    """A register's value where the program never wrote it. Emits nothing."""

    name = "ebpf.undef"
    FORMAT: ClassVar[tuple[str, ...]] = ()
    res = result_def()
    traits = traits_def(Pure())


@irdl_op_definition
class CastOp(EbpfOp):
    """The same 64-bit word seen as another kind (a pointer as a scalar, an unknown word as either). Emits nothing."""

    name = "ebpf.cast"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    value = operand_def()
    res = result_def()
    traits = traits_def(Pure())


@irdl_op_definition
class AllocaOp(EbpfOp):
    """The address of a new object of `size` bytes in the stack frame, 8-byte aligned, uninitialised; frame layout
    (`layout-frame`) gives it an offset below what the program itself uses. Valid from here to the function's end."""

    name = "ebpf.alloca"
    FORMAT: ClassVar[tuple[str, ...]] = ("#size",)
    res = result_def()
    size = prop_def(IntAttr)


@irdl_op_definition
class FallthroughOp(BranchOp):
    """Continue in the successor, which is the next block in layout. Emits nothing."""

    name = "ebpf.fallthrough"
    FORMAT: ClassVar[tuple[str, ...]] = ("^",)
    args = var_operand_def()
    target = successor_def()
    traits = traits_def(IsTerminator())


@irdl_op_definition
class EndOp(EbpfOp):
    """The end of code that runs off its function, as after a call that does not return. Emits nothing."""

    name = "ebpf.end"
    FORMAT: ClassVar[tuple[str, ...]] = ()
    traits = traits_def(IsTerminator())


@irdl_op_definition
class RawOp(EbpfOp):
    """Eight bytes of code that decode to no instruction, in hexadecimal; kept as they are, with the
    relocation that patches them. A function with one is not
    understood: passes leave it alone."""

    name = "ebpf.raw"
    FORMAT: ClassVar[tuple[str, ...]] = ("@bytes",)
    bytes = prop_def(StringAttr)
    sym = opt_prop_def(SymbolRefAttr)
    via = opt_prop_def(StringAttr)
    reloc_type = opt_prop_def(IntAttr)

    def verify_(self) -> None:
        check_numbers(self.properties, {"reloc_type": 32})
        check_bytes("bytes", self.bytes, isa.INSN_SIZE)
