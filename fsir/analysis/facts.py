"""What the branches that were taken say about values: conditions, ranges, packet bounds.

`BranchFacts` follows a walk over the dominator tree: `enter` a block, ask, `leave` it.  A fact holds in the blocks that
the edge it comes from dominates.  Conditions are recognised by what they compare, not by who computed them.
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import arith
from xdsl.ir import Operation, SSAValue

from fsir.analysis.bits import mask
from fsir.analysis.evaluate import PREDICATES, compare, width_of
from fsir.dialects import map, packet
from fsir.interp.emit_scalar import constant_value

_NEGATED = {"ne": "eq", "uge": "ult", "ugt": "ule", "sge": "slt", "sgt": "sle"}


class BranchFacts:
    """The facts that hold at the place of the walk."""

    def __init__(self) -> None:
        self._known: dict[object, object] = {}
        self._scopes: list[list[tuple[object, object]]] = []

    def enter(self) -> None:
        """Begin a block: what is learned from here on holds until `leave`."""
        self._scopes.append([])

    def leave(self) -> None:
        """End the last block that was entered."""
        for key, old in reversed(self._scopes.pop()):
            if old is None:
                del self._known[key]
            else:
                self._known[key] = old

    def learn(self, condition: SSAValue, holds: bool) -> None:
        """The branch was taken on which the condition has this value."""
        op = condition.owner
        self._set(condition, holds)
        if isinstance(op, arith.AndIOp | arith.OrIOp) and holds == isinstance(op, arith.AndIOp):
            self.learn(op.lhs, holds)
            self.learn(op.rhs, holds)
        elif isinstance(op, arith.XOrIOp) and constant_of(op.rhs) == 1:
            self.learn(op.lhs, not holds)
        elif isinstance(op, map.HitOp):
            self._set(("hit", op.value), holds)
        elif isinstance(op, packet.GuardOp):
            self._learn_guard(op, holds)
        elif isinstance(op, arith.CmpiOp):
            key, same = _comparison(op)
            self._set(key, holds == same)
            self._learn_range(op, holds)

    def known(self, condition: SSAValue) -> bool | None:
        """The value of a condition that is a constant or was branched on."""
        value = constant_of(condition)
        if value is not None:
            return bool(value)
        found = self._known.get(condition)
        return found if isinstance(found, bool) else None

    def decide(self, op: Operation) -> bool | None:
        """The value that a condition must have here, as far as is known."""
        if isinstance(op, map.HitOp):
            found = self._known.get(("hit", op.value))
            return found if isinstance(found, bool) else None
        if isinstance(op, packet.GuardOp):
            return self._decide_guard(op)
        if isinstance(op, arith.CmpiOp):
            key, same = _comparison(op)
            found = self._known.get(key)
            return found == same if isinstance(found, bool) else self._decide_by_range(op)
        return None

    def _set(self, key: object, value: object) -> None:
        self._scopes[-1].append((key, self._known.get(key)))
        self._known[key] = value

    def _learn_guard(self, op: packet.GuardOp, holds: bool) -> None:
        base, size = reach(op)
        key = ("within" if holds else "beyond", base, op.end)
        old = self._known.get(key)
        if not isinstance(old, int) or (old < size) == holds:
            self._set(key, size)

    def _decide_guard(self, op: packet.GuardOp) -> bool | None:
        base, size = reach(op)
        within, beyond = self._known.get(("within", base, op.end)), self._known.get(("beyond", base, op.end))
        if isinstance(within, int) and size <= within:
            return True
        return False if isinstance(beyond, int) and size >= beyond else None

    def _range(self, value: SSAValue) -> tuple[int, int]:
        known = constant_of(value)
        if known is not None:
            return known, known
        found = self._known.get(("range", value))
        return found if isinstance(found, tuple) else (0, mask(width_of(value.type)))

    def _learn_range(self, op: arith.CmpiOp, holds: bool) -> None:
        limit = constant_of(op.rhs)
        if limit is None:
            return
        least, most = self._range(op.lhs)
        predicate = PREDICATES[op.predicate.value.data]
        if not holds:
            predicate = _opposite(predicate)
        if predicate[0] == "s":
            sign = 1 << (width_of(op.lhs.type) - 1)
            if predicate not in ("sgt", "sge") or limit >= sign:
                return
            predicate, most = "u" + predicate[1:], min(most, sign - 1)
        if predicate == "ne":
            least, most = least + (least == limit), most - (most == limit)
        else:
            lower, upper = _LIMITS[predicate](limit)
            least, most = max(least, lower), most if upper is None else min(most, upper)
        if least <= most:
            self._set(("range", op.lhs), (least, most))

    def _decide_by_range(self, op: arith.CmpiOp) -> bool | None:
        limit = constant_of(op.rhs)
        if limit is None:
            return None
        least, most = self._range(op.lhs)
        predicate = PREDICATES[op.predicate.value.data]
        if predicate in ("eq", "ne"):
            if limit < least or limit > most:
                return predicate == "ne"
            return predicate == "eq" if least == most else None
        if least == most:
            return compare(predicate, least, limit, width_of(op.lhs.type))
        if predicate[0] == "s" and max(most, limit) >= 1 << (width_of(op.lhs.type) - 1):
            return None
        low, high = _holds(predicate[1:], least, limit), _holds(predicate[1:], most, limit)
        return low if low == high else None


_LIMITS: dict[str, Callable[[int], tuple[int, int | None]]] = {
    "eq": lambda c: (c, c),
    "ult": lambda c: (0, c - 1),
    "ule": lambda c: (0, c),
    "ugt": lambda c: (c + 1, None),
    "uge": lambda c: (c, None),
}
"""The least and the greatest word (None: any) of which a comparison with c holds."""


def _holds(order: str, value: int, limit: int) -> bool:
    return {"lt": value < limit, "le": value <= limit, "gt": value > limit, "ge": value >= limit}[order]


def constant_of(value: SSAValue) -> int | None:
    """The unsigned value of a constant."""
    owner = value.owner
    return constant_value(owner) if isinstance(owner, Operation) else None


def _opposite(predicate: str) -> str:
    opposites = _NEGATED | {b: a for a, b in _NEGATED.items()}
    return opposites[predicate]


def _comparison(op: arith.CmpiOp) -> tuple[object, bool]:
    """A name for what is compared, and whether the comparison holds when the name's does."""
    predicate = PREDICATES[op.predicate.value.data]
    lhs: object = op.lhs
    rhs: object = op.rhs
    constant = constant_of(op.rhs)
    if constant is not None:
        rhs = constant
    name = _NEGATED.get(predicate, predicate)
    if name == "eq" and constant is None and id(lhs) > id(rhs):
        lhs, rhs = rhs, lhs
    return (name, lhs, rhs), name == predicate


def reach(op: packet.GuardOp) -> tuple[SSAValue, int]:
    """The base of a guard's address, and how many bytes from there on it asks for."""
    base, size = op.ptr, op.size.data
    while isinstance(offset := base.owner, packet.OffsetOp):
        base, size = offset.ptr, size + offset.off.data
    return base, size
