"""The pass `lower-maps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from xdsl.context import Context
from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, SymbolRefAttr, i1, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from fsir.backends.xdp._build import Builder, apply_rules, virtual_functions, width_of
from fsir.backends.xdp._objects import Objects
from fsir.dialects import map
from fsir.dialects.ebpf import FuncOp, LdSymOp
from fsir.dialects.ebpf.base import EbpfOp
from fsir.dialects.map import HandleType
from fsir.passes._each_function import each_function

_LOOKUP, _UPDATE, _DELETE, _REDIRECT = 1, 2, 3, 51
_NE = 1

_Rule = Callable[[Builder, Objects], None]


class LowerMaps(ModulePass):
    """Turn `map` operations into machine operations.

    Keys and values given as operands are written to new objects in the stack frame (`ebpf.alloca`, placed by
    `layout-frame`), every byte of them, neighbouring constants with one store. An object with the same content that is
    there already is used again, and a value that would have to survive a call is written when it is made. Accesses to
    values become loads and stores, `map.hit` a comparison with null.
    """

    name = "lower-maps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower all functions that are not machine code."""
        each_function(virtual_functions(op), _lower)


def _lower(func: FuncOp) -> None:
    objects = Objects(func)
    apply_rules(func, {cls: partial(_apply, rule, objects) for cls, rule in _RULES.items()})


def _apply(rule: _Rule, objects: Objects, build: Builder, func: FuncOp) -> None:
    rule(build, objects)


def _handle(build: Builder, name: str) -> SSAValue:
    reference = SymbolRefAttr(name)
    symbol = LdSymOp.create(properties={"sym": reference}, result_types=[HandleType(name)])
    return build.add(symbol).results[0]


def _call(build: Builder, helper: int, name: str, arguments: Sequence[SSAValue]) -> None:
    """Call a map helper in the place of the operation."""
    operands = [_handle(build, name), *arguments]
    build.finish(build.insn("call", operands, build.op.results[0].type, helper=helper))


# --- one rule per operation ------------------------------------------------------------------------------------------


def _with_key(helper: int) -> _Rule:
    """Lookup and delete: a call with the key's address."""

    def rule(build: Builder, objects: Objects) -> None:
        op = build.op
        assert isinstance(op, map.LookupOp | map.DeleteOp)
        _call(build, helper, op.symbol_prop("map"), [objects.address(build, op.operands)])

    return rule


def _update(build: Builder, objects: Objects) -> None:
    op = build.op
    assert isinstance(op, map.UpdateOp)
    count = op.int_prop("key_count")
    *pieces, flags = op.operands
    key, value = objects.address(build, pieces[:count]), objects.address(build, pieces[count:])
    _call(build, _UPDATE, op.symbol_prop("map"), [key, value, flags])


def _direct(helper: int) -> _Rule:
    """Operations whose operands are the helper's arguments after the map."""

    def rule(build: Builder, objects: Objects) -> None:
        op = build.op
        assert isinstance(op, EbpfOp)
        _call(build, helper, op.symbol_prop("map"), op.operands)

    return rule


def _hit(build: Builder, objects: Objects) -> None:
    zero = build.add(arith.ConstantOp.create(properties={"value": IntegerAttr(0, i64)}, result_types=[i64])).results[0]
    compare = arith.CmpiOp.create(
        operands=[build.cast(build.op.operands[0], i64), zero],
        result_types=[i1],
        properties={"predicate": IntegerAttr(_NE, i64)},
    )
    build.finish(build.add(compare).results[0])


def _load(build: Builder, objects: Objects) -> None:
    op = build.op
    assert isinstance(op, map.LoadOp)
    build.finish(build.load(op.value, op.off.data, op.res.type))


def _store(build: Builder, objects: Objects) -> None:
    op = build.op
    assert isinstance(op, map.StoreOp)
    build.store(op.value, op.off.data, op.stored)
    build.finish()


def _atomic(build: Builder, objects: Objects) -> None:
    op = build.op
    assert isinstance(op, map.AtomicOp)
    width = width_of(op.arg.type)
    base, off = build.address(op.value, op.off.data)
    if op.res is None:
        build.effect(f"atomic_{op.op.data}{width}", [base, op.arg], off=off)
        build.finish()
    else:
        build.finish(build.insn(f"atomic_fetch_{op.op.data}{width}", [base, op.arg], op.res.type, off=off))


def _helper(build: Builder, objects: Objects) -> None:
    """Operations that are the call of a helper."""
    op = build.op
    assert isinstance(op, map.MapCallOp)
    build.finish(build.insn("call", op.operands, op.res.type, helper=op.HELPER))


_RULES: dict[type[Operation], _Rule] = {
    **dict.fromkeys(map.CALLS.values(), _helper),
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
