"""The pass `lower-maps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from xdsl.context import Context
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, SymbolRefAttr, i1, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.analysis.dominance import DominatorTree
from fsir.backends.xdp._build import Builder, apply_rules, constant_of, fits, signed, virtual_functions, width_of
from fsir.dialects import map
from fsir.dialects.ebpf import AllocaOp, FramePointerType, FuncOp, LdSymOp, int_attr
from fsir.dialects.ebpf.base import EbpfOp
from fsir.dialects.map import HandleType
from fsir.passes._each_function import each_function

_LOOKUP, _UPDATE, _DELETE, _REDIRECT = 1, 2, 3, 51
_NE = 1

_Rule = Callable[[Builder, "_Objects"], None]


class LowerMaps(ModulePass):
    """Turn `map` operations into machine operations.

    Keys and values given as operands are written to new objects in the stack frame (`ebpf.alloca`, placed by
    `layout-frame`), every byte of them, neighbouring constants with one store; an object with the same content that is
    there already is used again. Accesses to values become loads and stores, `map.hit` a comparison with null.
    """

    name = "lower-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions that are not machine code."""
        each_function(virtual_functions(op), _lower)


def _lower(func: FuncOp) -> None:
    objects = _Objects(func)
    apply_rules(func, {cls: partial(_apply, rule, objects) for cls, rule in _RULES.items()})


def _apply(rule: _Rule, objects: _Objects, build: Builder, func: FuncOp) -> None:
    rule(build, objects)


def _handle(build: Builder, name: str) -> SSAValue:
    reference = SymbolRefAttr(name)
    symbol = LdSymOp.create(properties={"sym": reference}, result_types=[HandleType(reference)])
    return build.add(symbol).results[0]


def _call(build: Builder, helper: int, name: str, arguments: Sequence[SSAValue]) -> None:
    """Call a map helper in the place of the operation."""
    operands = [_handle(build, name), *arguments]
    build.finish(build.insn("call", operands, build.op.results[0].type, helper=helper))


# --- objects in the frame --------------------------------------------------------------------------------------------


class _Objects:
    """The keys and values in the frame of one function. Helpers only read them, so that one with the same content
    that is there already on every path serves again."""

    def __init__(self, func: FuncOp) -> None:
        self.tree = DominatorTree(func.body)
        self.known: dict[tuple[object, ...], list[SSAValue]] = {}

    def address(self, build: Builder, pieces: Sequence[SSAValue]) -> SSAValue:
        """The address of an object that holds the pieces one after the other."""
        content = tuple(part for piece in pieces for part in _content(piece))
        for address in self.known.get(content, ()):
            owner = address.owner
            assert isinstance(owner, Operation) and owner.parent is not None
            if self.tree.dominates(owner.parent, build.block):
                return address
        address = _in_memory(build, pieces)
        self.known.setdefault(content, []).append(address)
        return address


def _content(piece: SSAValue) -> tuple[object, object]:
    """What a piece of an object is made of: its width, and its number or the value whose low bits it has."""
    width = width_of(piece.type)
    number = constant_of(piece)
    if number is not None:
        return width, number
    value = piece
    while isinstance(value.owner, arith.TruncIOp) or (
        isinstance(value.owner, arith.ExtUIOp | arith.ExtSIOp) and width_of(value.owner.input.type) >= width
    ):
        value = value.owner.operands[0]
    return width, value


def _in_memory(build: Builder, pieces: Sequence[SSAValue]) -> SSAValue:
    """A new object in the frame."""
    size = sum(width_of(piece.type) for piece in pieces) // 8
    alloca = AllocaOp.create(properties={"size": int_attr(size)}, result_types=[FramePointerType()])
    address = build.add(alloca).results[0]
    at, run, run_bytes = 0, 0, bytearray()
    for piece in pieces:
        length = width_of(piece.type) // 8
        number = constant_of(piece)
        if number is not None:
            if not run_bytes:
                run = at
            run_bytes += (number & (1 << 8 * length) - 1).to_bytes(length, "little")
        else:
            _write_bytes(build, address, run, run_bytes)
            run_bytes = bytearray()
            _write_value(build, address, at, piece)
        at += length
    _write_bytes(build, address, run, run_bytes)
    return address


def _write_bytes(build: Builder, address: SSAValue, at: int, data: bytearray) -> None:
    """Store constant bytes with as few aligned stores as there can be."""
    done = 0
    while done < len(data):
        size = _aligned(at + done, len(data) - done)
        number = signed(int.from_bytes(data[done : done + size], "little"), 8 * size)
        while not fits(number):
            size //= 2
            number = signed(int.from_bytes(data[done : done + size], "little"), 8 * size)
        build.effect(f"st{8 * size}", [address], off=at + done, imm=number)
        done += size


def _write_value(build: Builder, address: SSAValue, at: int, value: SSAValue) -> None:
    """Store a value, in parts where its place is not aligned: the verifier wants that of the stack."""
    length, done = width_of(value.type) // 8, 0
    while done < length:
        size = _aligned(at + done, length - done)
        build.effect(f"stx{8 * size}", [address, value], off=at + done)
        done += size
        if done < length:
            value = build.insn("rshi", [value], i64, imm=8 * size)


def _aligned(at: int, remaining: int) -> int:
    """The largest power of two, up to 8, that is no longer than what remains and divides the offset."""
    size = 8
    while size > remaining or at % size:
        size //= 2
    return size


# --- one rule per operation ------------------------------------------------------------------------------------------


def _with_key(helper: int) -> _Rule:
    """Lookup and delete: a call with the key's address."""

    def rule(build: Builder, objects: _Objects) -> None:
        op = build.op
        assert isinstance(op, map.LookupOp | map.DeleteOp)
        _call(build, helper, op.symbol_prop("map"), [objects.address(build, op.operands)])

    return rule


def _update(build: Builder, objects: _Objects) -> None:
    op = build.op
    assert isinstance(op, map.UpdateOp)
    count = op.int_prop("key_count")
    *pieces, flags = op.operands
    key, value = objects.address(build, pieces[:count]), objects.address(build, pieces[count:])
    _call(build, _UPDATE, op.symbol_prop("map"), [key, value, flags])


def _direct(helper: int) -> _Rule:
    """Operations whose operands are the helper's arguments after the map."""

    def rule(build: Builder, objects: _Objects) -> None:
        op = build.op
        assert isinstance(op, EbpfOp)
        _call(build, helper, op.symbol_prop("map"), op.operands)

    return rule


def _hit(build: Builder, objects: _Objects) -> None:
    zero = build.add(arith.ConstantOp.create(properties={"value": IntegerAttr(0, i64)}, result_types=[i64])).results[0]
    compare = arith.CmpiOp.create(
        operands=[build.cast(build.op.operands[0], i64), zero],
        result_types=[i1],
        properties={"predicate": IntegerAttr(_NE, i64)},
    )
    build.finish(build.add(compare).results[0])


def _load(build: Builder, objects: _Objects) -> None:
    op = build.op
    assert isinstance(op, map.LoadOp)
    build.finish(build.load(op.value, op.off.data, op.res.type))


def _store(build: Builder, objects: _Objects) -> None:
    op = build.op
    assert isinstance(op, map.StoreOp)
    build.store(op.value, op.off.data, op.stored)
    build.finish()


def _atomic(build: Builder, objects: _Objects) -> None:
    op = build.op
    assert isinstance(op, map.AtomicOp)
    width = width_of(op.arg.type)
    base, off = build.address(op.value, op.off.data)
    if op.res is None:
        build.effect(f"atomic_{op.op.data}{width}", [base, op.arg], off=off)
        build.finish()
    else:
        build.finish(build.insn(f"atomic_fetch_{op.op.data}{width}", [base, op.arg], op.res.type, off=off))


_RULES: dict[type[Operation], _Rule] = {
    map.LookupOp: _with_key(_LOOKUP),
    map.DeleteOp: _with_key(_DELETE),
    map.UpdateOp: _update,
    map.LookupAtOp: _direct(_LOOKUP),
    map.UpdateAtOp: _direct(_UPDATE),
    map.DeleteAtOp: _direct(_DELETE),
    map.RedirectOp: _direct(_REDIRECT),
    map.HitOp: _hit,
    map.LoadOp: _load,
    map.StoreOp: _store,
    map.AtomicOp: _atomic,
}
