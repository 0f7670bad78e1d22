"""The pass `lower-maps`."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.context import Context
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, SymbolRefAttr, i1, i64
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from fsir.backends.xdp._build import Builder, Rules, apply_rules, constant_of, fits, signed, virtual_functions, width_of
from fsir.dialects import map
from fsir.dialects.ebpf import AllocaOp, FramePointerType, FuncOp, LdSymOp, int_attr
from fsir.dialects.map import HandleType
from fsir.passes._each_function import each_function

_LOOKUP, _UPDATE, _DELETE, _REDIRECT = 1, 2, 3, 51
_NE = 1


class LowerMaps(ModulePass):
    """Turn `map` operations into machine operations.

    Keys and values given as operands are written to new objects in the stack frame (`ebpf.alloca`, placed by
    `layout-frame`), every byte of them, neighbouring constants with one store. Accesses to values become loads and
    stores, `map.hit` a comparison with null.
    """

    name = "lower-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions that are not machine code."""
        each_function(virtual_functions(op), lambda func: apply_rules(func, _RULES))


def _handle(build: Builder, name: str) -> SSAValue:
    reference = SymbolRefAttr(name)
    symbol = LdSymOp.create(properties={"sym": reference}, result_types=[HandleType(reference)])
    return build.add(symbol).results[0]


def _call(build: Builder, helper: int, name: str, arguments: Sequence[SSAValue]) -> None:
    """Call a map helper in the place of the operation."""
    operands = [_handle(build, name), *arguments]
    build.finish(build.insn("call", operands, build.op.results[0].type, helper=helper))


# --- objects in the frame --------------------------------------------------------------------------------------------


def _in_memory(build: Builder, pieces: Sequence[SSAValue]) -> SSAValue:
    """The address of a new object in the frame that holds the pieces one after the other."""
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


def _lookup(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.LookupOp)
    _call(build, _LOOKUP, op.symbol_prop("map"), [_in_memory(build, op.operands)])


def _lookup_at(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.LookupAtOp)
    _call(build, _LOOKUP, op.symbol_prop("map"), op.operands)


def _update(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.UpdateOp)
    count = op.int_prop("key_count")
    *pieces, flags = op.operands
    key, value = _in_memory(build, pieces[:count]), _in_memory(build, pieces[count:])
    _call(build, _UPDATE, op.symbol_prop("map"), [key, value, flags])


def _update_at(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.UpdateAtOp)
    _call(build, _UPDATE, op.symbol_prop("map"), op.operands)


def _delete(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.DeleteOp)
    _call(build, _DELETE, op.symbol_prop("map"), [_in_memory(build, op.operands)])


def _delete_at(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.DeleteAtOp)
    _call(build, _DELETE, op.symbol_prop("map"), op.operands)


def _redirect(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.RedirectOp)
    _call(build, _REDIRECT, op.symbol_prop("map"), op.operands)


def _hit(build: Builder, func: FuncOp) -> None:
    zero = build.add(arith.ConstantOp.create(properties={"value": IntegerAttr(0, i64)}, result_types=[i64])).results[0]
    compare = arith.CmpiOp.create(
        operands=[build.cast(build.op.operands[0], i64), zero],
        result_types=[i1],
        properties={"predicate": IntegerAttr(_NE, i64)},
    )
    build.finish(build.add(compare).results[0])


def _load(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.LoadOp)
    build.finish(build.load(op.value, op.off.data, op.res.type))


def _store(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.StoreOp)
    build.store(op.value, op.off.data, op.stored)
    build.finish()


def _atomic(build: Builder, func: FuncOp) -> None:
    op = build.op
    assert isinstance(op, map.AtomicOp)
    width = width_of(op.arg.type)
    base, off = build.address(op.value, op.off.data)
    if op.res is None:
        build.effect(f"atomic_{op.op.data}{width}", [base, op.arg], off=off)
        build.finish()
    else:
        build.finish(build.insn(f"atomic_fetch_{op.op.data}{width}", [base, op.arg], op.res.type, off=off))


_RULES: Rules = {
    map.LookupOp: _lookup,
    map.LookupAtOp: _lookup_at,
    map.UpdateOp: _update,
    map.UpdateAtOp: _update_at,
    map.DeleteOp: _delete,
    map.DeleteAtOp: _delete_at,
    map.RedirectOp: _redirect,
    map.HitOp: _hit,
    map.LoadOp: _load,
    map.StoreOp: _store,
    map.AtomicOp: _atomic,
}
