"""Small questions the code generators ask: names of variables, places that overlap, operands of a chain."""

from __future__ import annotations

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.arith import BINARY, COMPARE, NoValue, Value, wrap
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.symbols import Callee, Var
from fsir.backends.p4.interp.types import BOOL, VOID, StackType, representation, width_of


class Scope:
    """One generated function: the names it owns and those it assigns (for `nonlocal`)."""

    def __init__(self, callee: Callee | None) -> None:
        self.callee = callee
        self.owned: set[str] = set()
        self.assigned: set[str] = set()


def variable(var: Var) -> str:
    return f"v{var.serial}_{var.name}"


def path_of(expr: tree.Expr) -> list[str]:
    """The place an lvalue denotes, as steps; run-time indices are `*`."""
    match expr:
        case tree.Name(sym=Var() as var):
            return [variable(var)]
        case tree.Member(base=base, name=field):
            return [*path_of(base), "*" if isinstance(base.type, StackType) else field]
        case tree.Index(base=base, index=tree.Const(value=value)):
            return [*path_of(base), str(value)]
        case tree.Index(base=base) | tree.Slice(base=base):
            return [*path_of(base), "*"]
    return ["*"]


def overlap(left: list[str], right: list[str]) -> bool:
    """Whether two places may share storage."""
    return all(a == b or "*" in (a, b) for a, b in zip(left, right, strict=False))


def bare(callee: Callee, outs: list[Var]) -> bool:
    """Whether a call gives its one result as such, not in a tuple."""
    if callee.kind in ("action", "control"):
        return False
    return len(outs) + (callee.result != VOID) == 1


def bits(expr: tree.Expr) -> int:
    width = width_of(expr.type)
    assert width is not None
    return width


def flatten(expr: tree.Expr, op: str) -> list[tree.Expr]:
    """The operands of a left-leaning chain of `op`, in order."""
    found: list[tree.Expr] = []
    while isinstance(expr, tree.Binary) and expr.op == op:
        if op == "++" and isinstance(expr.right, tree.Binary) and expr.right.op == op:
            found[:0] = flatten(expr.right, op)
        else:
            found.insert(0, expr.right)
        expr = expr.left
    found.insert(0, expr)
    return found


def evaluate(expr: tree.Expr, constants: dict[Var, Value]) -> Value:
    """A compile-time expression once constructor parameters are known."""
    match expr:
        case tree.Const(value=value):
            return value
        case tree.Name(sym=Var() as var):
            return constants[var]
        case tree.Unary(op=op, operand=operand):
            inner = evaluate(operand, constants)
            assert not isinstance(inner, str)
            if op == "!":
                return not inner
            return wrap(~inner if op == "~" else -inner, expr.type)
        case tree.Cast(operand=operand):
            inner = evaluate(operand, constants)
            assert not isinstance(inner, str)
            low = representation(expr.type)
            return bool(inner) if low == BOOL else wrap(int(inner), low)
        case tree.Binary(op=op, left=left, right=right):
            a, b = evaluate(left, constants), evaluate(right, constants)
            assert not isinstance(a, str) and not isinstance(b, str)
            if op in COMPARE:
                return COMPARE[op](a, b)
            if op in ("&&", "||"):
                return bool(a and b) if op == "&&" else bool(a or b)
            try:
                return BINARY[op](a, b, representation(expr.type))
            except NoValue as reason:
                raise P4Error(expr.loc, str(reason)) from None
    raise AssertionError(expr)
