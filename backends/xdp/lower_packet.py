"""The pass `lower-packet`."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.context import Context
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp, i1, i8, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.dominance import DominatorTree
from fsir.analysis.program_types import programs_reaching
from fsir.analysis.signatures import CONTEXT_TYPES, Signatures
from fsir.backends.xdp._bases import rebase
from fsir.backends.xdp._build import Builder, Rules, apply_rules, constant_of, fits, virtual_functions, width_of
from fsir.backends.xdp._cpu import has_immediate_stores
from fsir.dialects import packet
from fsir.dialects.ebpf import AluRROp, CastOp, FuncOp, functions
from fsir.driver.diagnostics import fail
from fsir.passes._each_function import each_function

_Fields = dict[type[Operation], int]
_XDP: _Fields = {packet.DataOp: 0, packet.EndOp: 4, packet.MetaOp: 8}
_SKB: _Fields = {packet.DataOp: 76, packet.EndOp: 80, packet.MetaOp: 140}
_FIELDS: dict[str, _Fields] = {"xdp": _XDP, "sched_cls": _SKB, "sched_act": _SKB}
"""Offsets of `data`, `data_end` and `data_meta` in `struct xdp_md` and `struct __sk_buff` (uapi linux/bpf.h)."""

_ULT, _ULE = (IntegerAttr(number, i64) for number in (6, 7))
_ADJUST: dict[type[Operation], int] = {packet.AdjustHeadOp: 44, packet.AdjustMetaOp: 54, packet.AdjustTailOp: 65}


class LowerPacket(ModulePass):
    """Turn `packet` operations into machine operations.

    Addresses are loaded from the context, accesses become loads and stores on the same base, resizing becomes calls. A
    guard compares `base + size` with the end as `arith.cmpi`; where that address is there already (`packet.offset`), it
    is used, so that the kernel's verifier sees one pointer for guard and access.
    """

    name = "lower-packet"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions that are not machine code."""
        rules = _RULES if has_immediate_stores(op) else _RULES | {packet.CtxStoreOp: _context_store_register}
        contexts = _Contexts(op)
        each_function(virtual_functions(op), lambda func: _lower(func, contexts.fields(func), rules))


def _lower(func: FuncOp, fields: _Fields, rules: Rules) -> None:
    rebase(func)
    _Guards(func).lower()
    for block in func.body.blocks:
        for op in list(block.ops):
            if isinstance(op, packet.DataOp | packet.EndOp | packet.MetaOp):
                _take_address(Builder(op), func, fields)
    apply_rules(func, rules)


class _Contexts:
    """The layout of each function's context: that of the programs that it runs in; of one that no program calls (as far
    as can be seen), that which its prototype names, else that of all programs of the object."""

    def __init__(self, module: ModuleOp) -> None:
        self._reaching = programs_reaching({func.symbol: func for func in functions(module)})
        self._signatures = Signatures(module)
        self._all = {func.type_name for func in functions(module) if func.type_name is not None}

    def fields(self, func: FuncOp) -> _Fields:
        """The layout for a function; empty where it is not known, or not always the same."""
        named = CONTEXT_TYPES.get(self._signatures.context(func) or "")
        types = self._reaching[func.symbol] or ({named} if named else self._all)
        layouts = [_FIELDS.get(name, {}) for name in types]
        return layouts[0] if layouts and all(layout == layouts[0] for layout in layouts) else {}


def _take_address(build: Builder, func: FuncOp, fields: _Fields) -> None:
    op = build.op
    if type(op) not in fields:
        fail(op, f"the context of {func.symbol} is of no known program type: {op.name} cannot be lowered")
    build.finish(build.load(op.operands[0], fields[type(op)], op.results[0].type, 32))


class _Guards:
    """Guards first, while addresses derived from a base are still recognisable."""

    def __init__(self, func: FuncOp) -> None:
        self.func = func
        self.tree = DominatorTree(func.body)
        self.known: dict[tuple[SSAValue, int], list[SSAValue]] = {}

    def lower(self) -> None:
        for block in self.tree.rpo:
            for op in list(block.ops):
                if isinstance(op, packet.OffsetOp):
                    self.known.setdefault((op.ptr, op.off.data), []).append(op.res)
                elif isinstance(op, packet.GuardOp):
                    self.guard(op)

    def guard(self, op: packet.GuardOp) -> None:
        build = Builder(op)
        limit, predicate = self.limit(build, op)
        sides = [build.cast(limit, i64), build.cast(op.end, i64)]
        compare = arith.CmpiOp.create(operands=sides, result_types=[i1], properties={"predicate": predicate})
        build.finish(build.add(compare).results[0])

    def limit(self, build: Builder, op: packet.GuardOp) -> tuple[SSAValue, IntegerAttr[IntegerType]]:
        """What is compared with the end, and how: `ptr + size <= end`, or `ptr + size - 1 < end` where that address is
        there already; else a new address."""
        size = op.size.data
        if (address := self.find(build, op.ptr, size)) is not None:
            return address, _ULE
        if (address := self.find(build, op.ptr, size - 1)) is not None and (size > 1 or _is_no_range(op.ptr)):
            return address, _ULT
        limit = build.insn("addi", [op.ptr], op.ptr.type, imm=size)
        self.known.setdefault((op.ptr, size), []).append(limit)
        return limit, _ULE

    def find(self, build: Builder, base: SSAValue, distance: int) -> SSAValue | None:
        """The address so far from `base` that is there already on every path."""
        if distance == 0:
            return base
        for value in self.known.get((base, distance), ()):
            # What is known comes from blocks visited before, or earlier in this one.
            owner = value.owner
            assert isinstance(owner, Operation) and owner.parent is not None
            if self.tree.dominates(owner.parent, build.block):
                return value
        return None


def _is_no_range(base: SSAValue, distance: int = 0) -> bool:
    """Whether nothing needs to know that the byte at `base - distance` is there: from `base < end` alone, the verifier
    concludes nothing."""
    return all(_leaves_first_byte(use.operation, base, distance) for use in base.uses)


def _leaves_first_byte(op: Operation, address: SSAValue, distance: int) -> bool:
    """Whether a user of an address, `distance` behind the first byte, surely leaves that byte alone."""
    match op:
        case CastOp():
            return all(isinstance(use.operation, arith.CmpiOp) for use in op.res.uses)
        case packet.LoadOp():
            return op.core is None and (op.off.data + distance != 0 or op.res.type != i8)
        case packet.StoreOp():
            return op.core is None and (op.off.data + distance != 0 or op.value.type != i8)
        case packet.OffsetOp():
            return _is_no_range(op.res, distance + op.off.data)
        case packet.AdvanceOp():
            # By 0, as far as the verifier may know, as in a loop's first turn.
            return op.ptr is address and _is_no_range(op.res, distance + (constant_of(op.by) or 0))
        case AluRROp():
            return op.row.name.startswith("sub")
    return isinstance(op, packet.GuardOp)


# --- the other operations, one rule each -----------------------------------------------------------------------------


def _context_load(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.CtxLoadOp)
    build.finish(build.load(op.ctx, op.off.data, op.res.type))


def _context_store(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.CtxStoreOp)
    build.store(op.ctx, op.off.data, op.value)
    build.finish()


def _context_store_register(build: Builder, func: FuncOp) -> None:
    """For kernels that take no immediates for the context."""
    op = build.op
    assert isinstance(op, packet.CtxStoreOp)
    build.store(op.ctx, op.off.data, op.value, immediate=False)
    build.finish()


def _offset(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.OffsetOp)
    build.finish(build.insn("addi", [op.ptr], op.res.type, imm=op.off.data))


def _advance(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.AdvanceOp)
    by = constant_of(op.by)
    if by is not None and fits(by):
        build.finish(build.insn("addi", [op.ptr], op.res.type, imm=by))
    else:
        build.finish(build.insn("add", [op.ptr, op.by], op.res.type))


def _load(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.LoadOp)
    build.finish(build.load(op.ptr, op.off.data, op.res.type))


def _fetch(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.FetchOp | packet.FetchAtOp)
    name = "ld_abs" if isinstance(op, packet.FetchOp) else "ld_ind"
    build.finish(build.insn(f"{name}{width_of(op.res.type)}", op.operands, op.res.type, imm=op.off.data))


def _store(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, packet.StoreOp)
    build.store(op.ptr, op.off.data, op.value)
    build.finish()


def _adjust(build: Builder, func: FuncOp) -> None:
    op = build.op
    build.finish(build.insn("call", op.operands, op.results[0].type, helper=_ADJUST[type(op)]))


def _verdict(build: Builder, func: FuncOp) -> None:
    """The kernel reads the low 32 bits of the result only: nothing is extended for it."""
    op = build.op
    value = op.operands[0]
    while isinstance(value.owner, arith.ExtUIOp | arith.ExtSIOp | arith.TruncIOp) and _has_word(value.owner.input):
        value = value.owner.input
    build.effect("exit", [build.cast(value, i64)])
    build.finish()


def _has_word(value: SSAValue) -> bool:
    return isinstance(value.type, IntegerType) and value.type.width.data >= 32


_RULES: dict[type[Operation], Callable[[Builder, FuncOp], None]] = {
    packet.CtxLoadOp: _context_load,
    packet.CtxStoreOp: _context_store,
    packet.OffsetOp: _offset,
    packet.AdvanceOp: _advance,
    packet.LoadOp: _load,
    packet.FetchOp: _fetch,
    packet.FetchAtOp: _fetch,
    packet.StoreOp: _store,
    packet.AdjustHeadOp: _adjust,
    packet.AdjustMetaOp: _adjust,
    packet.AdjustTailOp: _adjust,
    packet.VerdictOp: _verdict,
}
