"""Terms as z3 bit vectors, each as narrow as its bounds allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import z3

from fsir.smt.terms import Term, Value, bounds

EFFORT = 100_000
"""What z3 may spend on a question, in its own unit of work: the same on every machine. A second has some 500,000."""


class Solver:
    """Questions about terms: whether all can be true (not 0) at once, and how."""

    def __init__(self, effort: int = EFFORT) -> None:
        self.spent = 0
        """What all questions have taken."""
        self._context = z3.Context()
        self._effort = effort
        self._vectors: dict[tuple[Term, int], Any] = {}
        self._tests: dict[Term, Any] = {}
        self._variables: dict[object, Any] = {}
        self._domains: dict[object, Any] = {}

    def model(self, terms: Iterable[Value]) -> dict[Any, int] | None:
        """Numbers for the unknowns of these terms with which all are true; None if there are none, or if z3 does not
        find them."""
        terms = list(terms)
        solver = self._asserting(terms)
        return self._numbers(solver, terms) if self._checked(solver) == z3.sat else None

    def relaxed(self, term: Term, wished: Sequence[tuple[Term, bool]], rounds: int) -> dict[Any, int] | None:
        """Numbers with which a term is true, and of what is wished for as much as possible: what contradicts it is
        given up one by one, first what is marked, then the last. Takes so many questions at most."""
        left = list(wished)
        for _ in range(rounds):
            solver = self._asserting([term], [wish for wish, _ in left])
            solver.set("rlimit", self._effort // 5)
            marks = [z3.Bool(f"w{number}", self._context) for number in range(len(left))]
            for mark, (wish, _) in zip(marks, left, strict=True):
                solver.add(z3.Implies(mark, self.test(wish)))
            answer = self._checked(solver, *marks)
            if answer == z3.sat:
                return self._numbers(solver, [term, *(wish for wish, _ in left)])
            if answer != z3.unsat:
                return None
            core = {str(mark) for mark in solver.unsat_core()}
            blamed = [number for number in range(len(left)) if f"w{number}" in core]
            if not blamed:
                return None
            marked = [number for number in blamed if left[number][1]]
            del left[(marked or blamed)[-1]]
        return None

    def _numbers(self, solver: Any, terms: Sequence[Value]) -> dict[Any, int]:
        found = solver.model()
        names = {name for term in terms if isinstance(term, Term) for name in term.unknowns}
        numbers = {}
        for name in names:
            variable = self._variables.get(name)
            value = None if variable is None else found[variable.decl()]
            if value is not None:
                numbers[name] = int(value.as_long())
        return numbers

    def impossible(self, terms: Iterable[Value]) -> bool:
        """Whether z3 proves that these are never all true at once."""
        return bool(self._checked(self._asserting(list(terms))) == z3.unsat)

    def _checked(self, solver: Any, *assumed: Any) -> Any:
        answer = solver.check(*assumed)
        statistics = solver.statistics()
        if "rlimit count" in statistics.keys():  # noqa: SIM118 (no mapping)
            self.spent = int(statistics.get_key_value("rlimit count"))
        return answer

    def _asserting(self, terms: Sequence[Value], others: Sequence[Value] = ()) -> Any:
        solver = z3.SolverFor("QF_BV", ctx=self._context)
        solver.set("rlimit", self._effort)
        for term in terms:
            solver.add(self.test(term))
        for name in frozenset().union(*(term.unknowns for term in (*terms, *others) if isinstance(term, Term))):
            if name in self._domains:
                solver.add(self._domains[name])
        return solver

    # Translation

    def test(self, term: Value) -> Any:
        """Whether a value is not 0."""
        if isinstance(term, int):
            return z3.BoolVal(bool(term), self._context)
        found = self._tests.get(term)
        if found is None:
            found = self._tests[term] = self._test(term)
        return found

    def _test(self, term: Term) -> Any:
        a, *rest = term.args
        if term.op in ("eq", "ne", "lt", "le"):
            lows = [bounds(value)[0] for value in (a, rest[0])]
            bits = max(width(a), width(rest[0]))
            if min(lows) < 0:
                bits = max(bits, *(width(value) + (bounds(value)[0] >= 0) for value in (a, rest[0])))
            left, right = self.low(a, bits), self.low(rest[0], bits)
            if term.op in ("eq", "ne"):
                return left == right if term.op == "eq" else left != right
            if min(lows) < 0:
                return left < right if term.op == "lt" else left <= right
            return z3.ULT(left, right) if term.op == "lt" else z3.ULE(left, right)
        if term.hi <= 1 and term.lo >= 0 and term.op in ("and", "or"):
            parts = [self.test(arg) for arg in term.args]
            if all(bounds(arg)[0] >= 0 and bounds(arg)[1] <= 1 for arg in term.args):
                return z3.And(*parts) if term.op == "and" else z3.Or(*parts)
        if term.op == "if":
            return z3.If(self.test(a), self.test(rest[0]), self.test(rest[1]))
        return self.low(term, width(term)) != 0

    def low(self, value: Value, bits: int) -> Any:
        """The lowest bits of a number."""
        if isinstance(value, int):
            return z3.BitVecVal(value & ((1 << bits) - 1), bits, self._context)
        key = value, bits
        found = self._vectors.get(key)
        if found is None:
            exact = width(value)
            if exact < bits:
                inner = self.low(value, exact)
                found = z3.SignExt(bits - exact, inner) if value.lo < 0 else z3.ZeroExt(bits - exact, inner)
            else:
                found = self._low(value, bits)
            self._vectors[key] = found
        return found

    def _low(self, term: Term, bits: int) -> Any:
        """As `low`, for no more bits than the number has."""
        if term.op in ("eq", "ne", "lt", "le"):
            return z3.If(self.test(term), self.low(1, bits), self.low(0, bits))
        if term.op == "in":
            variable = self._variable(term)
            return z3.Extract(bits - 1, 0, variable) if variable.size() > bits else variable
        if term.op == "if":
            test, then, otherwise = term.args
            return z3.If(self.test(test), self.low(then, bits), self.low(otherwise, bits))
        if term.op == "bytes":
            count = -(-bits // 8)
            parts = [self.low(part, 8) for part in term.args[:count]]
            whole = z3.Concat(*reversed(parts)) if count > 1 else parts[0]
            return z3.Extract(bits - 1, 0, whole) if whole.size() > bits else whole
        a, b = term.args
        if term.op in ("shl", "shr"):
            return self._shifted(term.op, a, b, bits)
        if term.op in ("div", "mod"):
            wide = max(width(a), width(b))
            left, right = self.low(a, wide), self.low(b, wide)
            whole = z3.UDiv(left, right) if term.op == "div" else z3.URem(left, right)
            return z3.Extract(bits - 1, 0, whole) if wide > bits else whole
        left, right = self.low(a, bits), self.low(b, bits)
        return _OPERATORS[term.op](left, right)

    def _shifted(self, op: str, a: Value, b: Value, bits: int) -> Any:
        wide = max(width(a), width(b), bits) if op == "shr" else max(bits, width(b))
        if op == "shl":
            shifted = self.low(a, wide) << self.low(b, wide)
        elif isinstance(b, int):
            start = min(b, wide - 1)
            end = min(start + bits, wide)
            part = z3.Extract(end - 1, start, self.low(a, wide))
            short = bits - (end - start)
            return part if not short else z3.SignExt(short, part) if bounds(a)[0] < 0 else z3.ZeroExt(short, part)
        elif bounds(a)[0] < 0:
            shifted = self.low(a, wide) >> self.low(b, wide)
        else:
            shifted = z3.LShR(self.low(a, wide), self.low(b, wide))
        return z3.Extract(bits - 1, 0, shifted) if wide > bits else shifted

    def _variable(self, term: Term) -> Any:
        name = term.args[0]
        if name not in self._variables:
            bits = width(term)
            variable = self._variables[name] = z3.BitVec(f"v{len(self._variables)}", bits, self._context)
            if term.lo or term.hi != (1 << bits) - 1:
                self._domains[name] = z3.And(z3.ULE(term.lo, variable), z3.ULE(variable, term.hi))
        return self._variables[name]


def width(value: Value) -> int:
    """How many bits hold every number that a value may be: with a sign if one is negative."""
    low, high = bounds(value)
    if low >= 0:
        return max(1, high.bit_length())
    return 1 + max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0)


_OPERATORS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}
