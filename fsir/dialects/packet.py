"""The `packet` dialect: what a program does to its packet.

Addresses of packet bytes are values of type `!packet.ptr`, offsets and widths are in bytes, and loads and stores move
bytes in memory order as a little-endian machine does (a network-order field is followed by `ebpf.be16` and the like).
A pointer stays valid until the packet is resized (`adjust_head`, `adjust_tail`, `adjust_meta`, or a helper that changes
packet data): after that it must be taken again with `packet.data`.  There is one operation for each thing the kernel's
verifier wants to see, so that lowering keeps the shape it accepts: one pointer per base, for guard and access alike.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntAttr, IntegerType, StringAttr, i1
from xdsl.ir import Dialect
from xdsl.irdl import (
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import IsTerminator, Pure

from fsir.dialects.ebpf.base import EbpfOp, RelocatableOp
from fsir.dialects.ebpf.types import WordType


@irdl_attr_definition
class CtxType(WordType):
    """The address of the program's context (`struct xdp_md`, `struct __sk_buff`)."""

    name = "packet.ctx"


@irdl_attr_definition
class PtrType(WordType):
    """An address of packet data."""

    name = "packet.ptr"


@irdl_attr_definition
class EndType(WordType):
    """The end of the linear packet data (`data_end`)."""

    name = "packet.end_ptr"


@irdl_attr_definition
class MetaType(WordType):
    """An address in the metadata area before the packet (`data_meta`)."""

    name = "packet.meta_ptr"


@irdl_op_definition
class DataOp(RelocatableOp):
    """The address of the first byte of the packet: `ctx->data`."""

    name = "packet.data"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    ctx = operand_def(CtxType)
    res = result_def(PtrType)
    core = opt_prop_def()


@irdl_op_definition
class EndOp(RelocatableOp):
    """The address after the last byte of the packet: `ctx->data_end`."""

    name = "packet.end"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    ctx = operand_def(CtxType)
    res = result_def(EndType)
    core = opt_prop_def()


@irdl_op_definition
class MetaOp(RelocatableOp):
    """The address of the metadata area, which ends where the packet starts: `ctx->data_meta`."""

    name = "packet.meta"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    ctx = operand_def(CtxType)
    res = result_def(MetaType)
    core = opt_prop_def()


@irdl_op_definition
class CtxLoadOp(RelocatableOp):
    """A field of the context by its byte offset in the user-visible struct; `field` is its name, for the reader."""

    name = "packet.ctx_load"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]")
    ctx = operand_def(CtxType)
    res = result_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)
    core = opt_prop_def()


@irdl_op_definition
class CtxStoreOp(RelocatableOp):
    """Write a field of the context; the width is the value's type."""

    name = "packet.ctx_store"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%")
    ctx = operand_def(CtxType)
    value = operand_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)
    core = opt_prop_def()


@irdl_op_definition
class OffsetOp(EbpfOp):
    """`ptr + off`, a constant number of bytes, as a pointer in its own right."""

    name = "packet.offset"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]")
    ptr = operand_def()
    res = result_def()
    off = prop_def(IntAttr)
    traits = traits_def(Pure())


@irdl_op_definition
class AdvanceOp(EbpfOp):
    """`ptr + x`, a variable number of bytes (i64): the base of a header behind one of variable length."""

    name = "packet.advance"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "%")
    ptr = operand_def()
    by = operand_def()
    res = result_def()
    traits = traits_def(Pure())


@irdl_op_definition
class GuardOp(EbpfOp):
    """Whether `size` bytes from `ptr` on lie within the packet: `ptr + size <= end`. Accesses through the same `ptr`
    that it dominates, on its true side, up to `size`, are safe. (For a metadata pointer, `end` is `packet.data`.)"""

    name = "packet.guard"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#size", "]", ", ", "%")
    ptr = operand_def()
    end = operand_def()
    res = result_def(i1)
    size = prop_def(IntAttr)
    traits = traits_def(Pure())


@irdl_op_definition
class LoadOp(RelocatableOp):
    """Read the bytes at `ptr + off`; the width is the result's type (i8 … i64)."""

    name = "packet.load"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]")
    ptr = operand_def()
    res = result_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)
    core = opt_prop_def()


@irdl_op_definition
class FetchOp(EbpfOp):
    """Read the bytes at `off` from the start of a socket buffer, also of one that is not linear, as a number in network
    byte order of the result's width (i8, i16, i32); where they are not all there, the function returns 0 (RFC 9669,
    section 5.4)."""

    name = "packet.fetch"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]")
    ctx = operand_def(CtxType)
    res = result_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)


@irdl_op_definition
class FetchAtOp(EbpfOp):
    """As `packet.fetch`, from `index + off`."""

    name = "packet.fetch_at"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "%", " + ", "#off", "]")
    ctx = operand_def(CtxType)
    index = operand_def()
    res = result_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)


@irdl_op_definition
class StoreOp(RelocatableOp):
    """Write a value's bytes at `ptr + off`; the width is the value's type."""

    name = "packet.store"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", "[", "#off", "]", ", ", "%")
    ptr = operand_def()
    value = operand_def(IntegerType)
    off = prop_def(IntAttr)
    field = opt_prop_def(StringAttr)
    core = opt_prop_def()


@irdl_op_definition
class AdjustHeadOp(EbpfOp):
    """Move the start of the packet by a signed number of bytes (bpf_xdp_adjust_head): negative grows. Gives 0, or a
    negative error with the packet unchanged. Ends the life of every packet pointer."""

    name = "packet.adjust_head"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "%")
    ctx = operand_def(CtxType)
    delta = operand_def()
    res = result_def()


@irdl_op_definition
class AdjustTailOp(EbpfOp):
    """Move the end of the packet (bpf_xdp_adjust_tail): positive grows. Otherwise as `adjust_head`."""

    name = "packet.adjust_tail"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "%")
    ctx = operand_def(CtxType)
    delta = operand_def()
    res = result_def()


@irdl_op_definition
class AdjustMetaOp(EbpfOp):
    """Move the start of the metadata area (bpf_xdp_adjust_meta): negative grows. Otherwise as `adjust_head`."""

    name = "packet.adjust_meta"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", ", ", "%")
    ctx = operand_def(CtxType)
    delta = operand_def()
    res = result_def()


@irdl_op_definition
class VerdictOp(EbpfOp):
    """End the program with a verdict (XDP_PASS …, TC_ACT_OK …): the low 32 bits of the operand."""

    name = "packet.verdict"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    value = operand_def()
    traits = traits_def(IsTerminator())


PACKET = Dialect(
    "packet",
    [
        DataOp,
        EndOp,
        MetaOp,
        CtxLoadOp,
        CtxStoreOp,
        OffsetOp,
        AdvanceOp,
        GuardOp,
        LoadOp,
        FetchOp,
        FetchAtOp,
        StoreOp,
        AdjustHeadOp,
        AdjustTailOp,
        AdjustMetaOp,
        VerdictOp,
    ],
    [CtxType, PtrType, EndType, MetaType],
)
