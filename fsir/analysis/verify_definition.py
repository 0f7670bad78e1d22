"""Whether an operation keeps to its IRDL definition: what the `verify_` of its class asks, asked faster.

xDSL interprets the definition again for every operation, though all that the constraints on operands and results say
depends on the types alone. Here the types that have passed once are remembered by class, and what is left for each
operation is the kind of its properties and its own `verify_`. Classes with more to them (regions, constraints between
properties and types) go through xDSL, as does whatever does not pass here, so that the message is xDSL's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from xdsl.ir import Attribute, Operation
from xdsl.irdl import AnyAttr, BaseAttr, IRDLOperation, OpDef, OptPropertyDef
from xdsl.traits import OpTrait

_REMEMBERED = 4096
"""Combinations of types per class; they keep their types alive, so that equal addresses mean equal types."""
_SEGMENTS = ("operandSegmentSizes", "resultSegmentSizes")


@dataclass(slots=True)
class _Plan:
    """How to check operations of one class. `properties` are the expected ones with their class and whether they must
    be there; `own` is the `verify_` that the class's author wrote."""

    properties: dict[str, tuple[type[Attribute], bool]]
    required: int
    traits: list[OpTrait]
    own: Callable[[Operation], None]
    segments: bool
    passed: dict[tuple[int, ...], tuple[object, ...]] = field(default_factory=dict)


def verify_definition(op: Operation) -> None:
    """What `op.verify_()` does. Raises `VerifyException`."""
    plan = _plan(type(op))
    if plan is None or not _keeps_to(op, plan):
        op.verify_()
        return
    for trait in plan.traits:
        trait.verify(op)
    plan.own(op)


def _keeps_to(op: Operation, plan: _Plan) -> bool:
    found = 0
    expected = plan.properties
    for name, attribute in op.properties.items():
        wanted = expected.get(name)
        if wanted is None or not isinstance(attribute, wanted[0]):
            return False
        found += wanted[1]
    if found != plan.required:
        return False
    pieces: list[object] = [value.type for value in op.operands]
    pieces.append(None)
    pieces += [value.type for value in op.results]
    pieces.append(len(op.successors))
    if plan.segments:
        pieces += [op.properties.get(name) for name in _SEGMENTS]
    key = tuple(map(id, pieces))
    if key in plan.passed:
        return True
    type(op).get_irdl_definition().verify(op)  # type: ignore[attr-defined]
    if len(plan.passed) >= _REMEMBERED:
        plan.passed.clear()
    plan.passed[key] = tuple(pieces)
    return True


@cache
def _plan(cls: type[Operation]) -> _Plan | None:
    """The plan for a class; None for one that xDSL has to look at each time."""
    if not issubclass(cls, IRDLOperation):
        return None
    definition = cls.get_irdl_definition()
    own = _own_verify(cls, definition)
    if own is None or definition.regions or definition.attributes:
        return None
    properties: dict[str, tuple[type[Attribute], bool]] = {}
    for name, wanted in definition.properties.items():
        if name in _SEGMENTS or isinstance(wanted.constr, AnyAttr):
            kind: type[Attribute] = Attribute
        elif isinstance(wanted.constr, BaseAttr):
            kind = wanted.constr.attr
        else:
            return None
        properties[name] = (kind, not isinstance(wanted, OptPropertyDef))
    traits = [trait for trait in definition.traits if type(trait).verify is not OpTrait.verify]
    required = sum(must for _, must in properties.values())
    return _Plan(properties, required, traits, own, bool(definition.options))


def _own_verify(cls: type[Operation], definition: OpDef) -> Callable[[Operation], None] | None:
    """The `verify_` from before `irdl_op_definition` put the check of the definition in front of it, or None where xDSL
    does that in another way."""
    function = inspect.getattr_static(cls, "verify_")
    if not inspect.isfunction(function):
        return None
    held = inspect.getclosurevars(function).nonlocals
    if held.get("op_def") is not definition or "custom_verify" not in held:
        return None
    own: Callable[[Operation], None] = held["custom_verify"]
    return own
