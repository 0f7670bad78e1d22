"""Types of expressions: every expression gets a type, constants are folded, conversions become explicit casts."""

from __future__ import annotations

from fsir.backends.p4.interp import arith, tree
from fsir.backends.p4.interp.check_type import TypeChecker
from fsir.backends.p4.interp.conversions import castable, describe, members_of
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.prelude import refusal
from fsir.backends.p4.interp.symbols import Var
from fsir.backends.p4.interp.types import (
    ANY,
    BOOL,
    ERROR,
    INTEGER,
    STRING,
    ActionRun,
    ApplyResult,
    BitType,
    EnumType,
    ExternType,
    IntType,
    RecordType,
    StackType,
    StructType,
    TupleType,
    Type,
    is_number,
    representation,
)

STACK_MEMBERS: dict[str, Type | None] = {
    "next": None,
    "last": None,
    "lastIndex": BitType(32),
    "size": BitType(32),
}


class ExprChecker(TypeChecker):
    """Types and folds expressions. `check` returns the expression to use instead."""

    context = ""  # parser, control, action or function: what is being checked

    # -- expressions -----------------------------------------------------------------------------------------

    def check(self, expr: tree.Expr) -> tree.Expr:
        """The checked expression: typed, folded where constant. Raises P4Error."""
        match expr:
            case tree.Const():
                return self.literal(expr)
            case tree.Name():
                return self.name(expr)
            case tree.Member():
                return self.member(expr)
            case tree.Index():
                return self.index(expr)
            case tree.Slice():
                return self.slice(expr)
            case tree.Unary():
                return self.unary(expr)
            case tree.Binary():
                return self.binary(expr)
            case tree.Cond():
                return self.conditional(expr)
            case tree.Cast():
                return self.cast(expr)
            case tree.Call():
                return self.call(expr)
            case tree.ListExpr():
                expr.items = [self.check(item) for item in expr.items]
                expr.type = TupleType(tuple(item.type for item in expr.items))
                return expr
            case tree.RecordExpr():
                expr.fields = [(name, self.check(value)) for name, value in expr.fields]
                expr.type = RecordType(tuple((name, value.type) for name, value in expr.fields))
                return expr
            case tree.AnySet():
                expr.type = ANY
                return expr
            case tree.TypeExpr():
                raise P4Error(expr.loc, "a type cannot stand here")
        raise AssertionError(expr)

    def call(self, expr: tree.Call) -> tree.Expr:
        raise NotImplementedError  # CallChecker

    def literal(self, expr: tree.Const) -> tree.Expr:
        if expr.type is not None:
            return expr
        if isinstance(expr.value, bool):
            expr.type = BOOL
        elif isinstance(expr.value, str):
            expr.type = STRING
        elif expr.written is None:
            expr.type = INTEGER
        else:
            mark, width = expr.written
            expr.type = BitType(width) if mark == "w" else IntType(width)
            expr.value = self.fit(expr.loc, expr.value, expr.type)
        return expr

    def fit(self, loc: Loc, value: int, type_: Type) -> int:
        if not arith.fits(value, type_) and not (value < 0 and arith.fits(-value - 1, type_)):
            self.warn(loc, f"{value} does not fit in {type_} and becomes {arith.wrap(value, type_)}")
        return arith.wrap(value, type_)

    def name(self, expr: tree.Name) -> tree.Expr:
        symbol = self.scopes.find(expr.name, expr.absolute)
        if symbol is None:
            raise P4Error(expr.loc, f"'{expr.name}' is not declared{refusal(expr.name)}")
        if not isinstance(symbol, Var):
            raise P4Error(expr.loc, f"'{expr.name}' is {describe(symbol)} and not a value")
        expr.sym = symbol
        expr.type = symbol.type
        if symbol.value is not None:
            return self.constant(expr.loc, symbol.value, symbol.type)
        return expr

    def member(self, expr: tree.Member) -> tree.Expr:
        if isinstance(expr.base, tree.TypeExpr):
            return self.type_member(expr, expr.base)
        expr.base = self.check(expr.base)
        base = expr.base.type
        if isinstance(base, StructType):
            if expr.name not in base.fields:
                raise P4Error(expr.loc, f"{base.kind} {base} has no field '{expr.name}'")
            expr.type = base.fields[expr.name]
        elif isinstance(base, StackType) and expr.name in STACK_MEMBERS:
            return self.stack_member(expr, base)
        elif isinstance(base, ApplyResult) and expr.name in ("hit", "miss"):
            expr.type = BOOL
        elif isinstance(base, ApplyResult) and expr.name == "action_run":
            expr.type = ActionRun(base.table)
        else:
            raise P4Error(expr.loc, f"{base} has no member '{expr.name}'")
        return expr

    def stack_member(self, expr: tree.Member, base: StackType) -> tree.Expr:
        if expr.name == "size":
            return self.constant(expr.loc, base.size, BitType(32))
        if self.context != "parser":
            raise P4Error(expr.loc, f"'{expr.name}' of a header stack can be used in a parser only")
        expr.type = STACK_MEMBERS[expr.name] or base.elem
        return expr

    def type_member(self, expr: tree.Member, base: tree.TypeExpr) -> tree.Expr:
        type_ = self.resolve(base.ref)
        if type_ == ERROR:
            if expr.name not in self.errors:
                raise P4Error(expr.loc, f"error '{expr.name}' is not declared")
            return self.constant(expr.loc, self.errors[expr.name], ERROR)
        if isinstance(type_, EnumType):
            if expr.name not in type_.members:
                raise P4Error(expr.loc, f"enum {type_} has no member '{expr.name}'")
            return self.constant(expr.loc, type_.members[expr.name], type_)
        raise P4Error(expr.loc, f"type {type_} has no members")

    def index(self, expr: tree.Index) -> tree.Expr:
        expr.base, expr.index = self.check(expr.base), self.check(expr.index)
        base, index = expr.base.type, expr.index
        if not is_number(representation(index.type)) and index.type != INTEGER:
            raise P4Error(index.loc, f"an index must be a number, not {index.type}")
        value = index.value if isinstance(index, tree.Const) else None
        if isinstance(base, StackType):
            if isinstance(value, int) and not 0 <= value < base.size:
                raise P4Error(index.loc, f"index {value} is outside the stack of {base.size} elements")
            expr.type = base.elem
            return expr
        if isinstance(base, TupleType):
            if not isinstance(value, int) or not 0 <= value < len(base.elems):
                raise P4Error(index.loc, f"the index of {base} must be a constant below {len(base.elems)}")
            expr.type = base.elems[value]
            return expr
        raise P4Error(expr.loc, f"{base} cannot be indexed")

    def slice(self, expr: tree.Slice) -> tree.Expr:
        expr.base = self.check(expr.base)
        low_type = representation(expr.base.type)
        if not isinstance(low_type, BitType | IntType):
            raise P4Error(expr.loc, f"bits of {expr.base.type} cannot be selected")
        expr.high = self.constant_int(expr.hi, "a bit position")
        expr.low = self.constant_int(expr.lo, "a bit position")
        if not 0 <= expr.low <= expr.high < low_type.width:
            raise P4Error(expr.loc, f"bits [{expr.high}:{expr.low}] are not within {expr.base.type}")
        expr.type = BitType(expr.high - expr.low + 1)
        if isinstance(expr.base, tree.Const):
            value = arith.wrap(int(expr.base.value) >> expr.low, expr.type)
            return self.constant(expr.loc, value, expr.type)
        return expr

    def unary(self, expr: tree.Unary) -> tree.Expr:
        operand = expr.operand = self.check(expr.operand)
        type_ = operand.type
        if expr.op == "!":
            if type_ != BOOL:
                raise P4Error(expr.loc, f"'!' needs a bool, not {type_}")
        elif expr.op == "~":
            if not is_number(type_):
                raise P4Error(expr.loc, f"'~' needs a sized number, not {type_}")
        elif not is_number(type_) and type_ != INTEGER:
            raise P4Error(expr.loc, f"'{expr.op}' needs a number, not {type_}")
        expr.type = type_
        if isinstance(operand, tree.Const):
            value = operand.value
            assert not isinstance(value, str)
            if expr.op == "!":
                return self.constant(expr.loc, not value, type_)
            return self.constant(expr.loc, arith.wrap(~value if expr.op == "~" else -value, type_), type_)
        return expr

    def binary(self, expr: tree.Binary) -> tree.Expr:
        expr.left, expr.right = self.check(expr.left), self.check(expr.right)
        op = expr.op
        if op in ("&&", "||"):
            self.logical(expr)
        elif op in ("<<", ">>"):
            self.shift(expr)
        elif op == "++":
            self.concatenation(expr)
        elif op in arith.COMPARE:
            self.comparison(expr)
        elif op in arith.BINARY:
            self.arithmetic(expr)
        else:
            raise P4Error(expr.loc, f"'{op}' belongs in a key set")
        return self.fold(expr)

    def logical(self, expr: tree.Binary) -> None:
        for side in (expr.left, expr.right):
            if side.type != BOOL:
                raise P4Error(side.loc, f"'{expr.op}' needs bool, not {side.type}")
        expr.type = BOOL

    def shift(self, expr: tree.Binary) -> None:
        left, right = expr.left.type, expr.right.type
        if not is_number(left) and left != INTEGER:
            raise P4Error(expr.loc, f"{left} cannot be shifted")
        if not isinstance(right, BitType) and right != INTEGER:
            raise P4Error(expr.right.loc, f"a shift amount must be unsigned, not {right}")
        if left == INTEGER and not isinstance(expr.right, tree.Const):
            raise P4Error(expr.left.loc, "an integer without width is shifted by a variable amount: give it a width")
        if isinstance(expr.right, tree.Const) and int(expr.right.value) < 0:
            raise P4Error(expr.right.loc, "shift by a negative amount")
        expr.type = left

    def concatenation(self, expr: tree.Binary) -> None:
        left, right = expr.left.type, expr.right.type
        for side in (expr.left, expr.right):
            if not is_number(side.type):
                raise P4Error(side.loc, f"'++' needs sized numbers, not {side.type}")
        assert isinstance(left, BitType | IntType) and isinstance(right, BitType | IntType)
        width = left.width + right.width
        expr.type = IntType(width) if isinstance(left, IntType) else BitType(width)

    def comparison(self, expr: tree.Binary) -> None:
        self.same_types(expr)
        type_ = expr.left.type
        if expr.op not in ("==", "!=") and not is_number(type_) and type_ != INTEGER:
            raise P4Error(expr.loc, f"'{expr.op}' needs numbers, not {type_}")
        if isinstance(type_, ExternType | ApplyResult | ActionRun | RecordType) or type_ in (ANY, STRING):
            raise P4Error(expr.loc, f"{type_} cannot be compared")
        expr.type = BOOL

    def arithmetic(self, expr: tree.Binary) -> None:
        for side in (expr.left, expr.right):
            if isinstance(side.type, EnumType) and side.type.base is None:
                raise P4Error(side.loc, f"'{expr.op}' needs numbers, not {side.type}")
        self.same_types(expr)
        type_ = expr.left.type
        if isinstance(type_, EnumType) and type_.base is not None:
            expr.left, expr.right = self.coerce(expr.left, type_.base), self.coerce(expr.right, type_.base)
            type_ = type_.base
        if not is_number(type_) and type_ != INTEGER:
            raise P4Error(expr.loc, f"'{expr.op}' needs numbers, not {type_}")
        if expr.op in ("/", "%") and isinstance(type_, IntType):
            raise P4Error(expr.loc, f"'{expr.op}' is not defined on signed {type_}")
        if expr.op in ("|+|", "|-|") and type_ == INTEGER:
            raise P4Error(expr.loc, f"'{expr.op}' needs numbers with a width")
        expr.type = type_

    def same_types(self, expr: tree.Binary) -> None:
        """Convert one side to the other's type where the language does so by itself."""
        left, right = expr.left, expr.right
        if left.type == right.type and not isinstance(left.type, RecordType):
            return
        if self.converts(left, right.type):
            expr.left = self.coerce(left, right.type)
        elif self.converts(right, left.type):
            expr.right = self.coerce(right, left.type)
        else:
            raise P4Error(expr.loc, f"'{expr.op}' on different types: {left.type} and {right.type}")

    def fold(self, expr: tree.Binary) -> tree.Expr:
        left, right, op = expr.left, expr.right, expr.op
        if not (isinstance(left, tree.Const) and isinstance(right, tree.Const)):
            if op in ("/", "%") and isinstance(right, tree.Const) and right.value == 0:
                raise P4Error(expr.loc, "division by zero")
            return expr
        if isinstance(left.value, str) or isinstance(right.value, str):
            return expr
        value: int | bool
        if op == "&&":
            value = bool(left.value and right.value)
        elif op == "||":
            value = bool(left.value or right.value)
        elif op in arith.COMPARE:
            value = arith.COMPARE[op](left.value, right.value)
        elif op == "++":
            widths = [side.type.width for side in (left, right) if isinstance(side.type, BitType | IntType)]
            value = arith.wrap(arith.concat(left.value, widths[0], right.value, widths[1]), expr.type)
        else:
            try:
                value = arith.BINARY[op](left.value, right.value, expr.type)
            except arith.NoValue as reason:
                raise P4Error(expr.loc, str(reason)) from None
        return self.constant(expr.loc, value, expr.type)

    def conditional(self, expr: tree.Cond) -> tree.Expr:
        expr.cond = self.condition(expr.cond)
        pair = tree.Binary(expr.loc, "?:", self.check(expr.then), self.check(expr.other))
        if isinstance(expr.cond, tree.Const):
            chosen = pair.left if expr.cond.value else pair.right
            if pair.left.type == pair.right.type == INTEGER:
                return chosen
        elif pair.left.type == pair.right.type == INTEGER:
            raise P4Error(expr.loc, "both values of '?:' are integers without width: give one a width")
        self.same_types(pair)
        expr.then, expr.other, expr.type = pair.left, pair.right, pair.left.type
        return expr

    def condition(self, expr: tree.Expr) -> tree.Expr:
        checked = self.check(expr)
        if checked.type != BOOL:
            raise P4Error(expr.loc, f"a condition must be bool, not {checked.type}")
        return checked

    # -- conversions -----------------------------------------------------------------------------------------

    def cast(self, expr: tree.Cast) -> tree.Expr:
        assert expr.ref is not None
        target = self.resolve(expr.ref)
        operand = self.check(expr.operand)
        if self.converts(operand, target):
            return self.coerce(operand, target)
        constant = isinstance(operand, tree.Const) or target != INTEGER
        if not constant or not castable(operand.type, target):
            raise P4Error(expr.loc, f"{operand.type} cannot be cast to {target}")
        return self.converted(expr.loc, operand, target)

    def converted(self, loc: Loc, operand: tree.Expr, target: Type) -> tree.Expr:
        """A cast node, or its value."""
        if isinstance(operand, tree.Const) and not isinstance(operand.value, str):
            low = representation(target)
            if low == BOOL:
                return self.constant(loc, bool(operand.value), target)
            if is_number(low):
                return self.constant(loc, arith.wrap(int(operand.value), low), target)
            if low == INTEGER:
                return self.constant(loc, int(operand.value), target)
        cast = tree.Cast(loc, None, operand)
        cast.type = target
        return cast

    def converts(self, expr: tree.Expr, target: Type) -> bool:
        """Whether the language converts `expr` to `target` by itself."""
        type_ = expr.type
        if type_ == target and not isinstance(type_, RecordType):
            return True
        if type_ == INTEGER:
            return is_number(target)
        if isinstance(type_, EnumType) and type_.base is not None:
            return type_.base == target
        if isinstance(expr, tree.ListExpr):
            elems = members_of(target)
            return (
                elems is not None
                and len(elems) == len(expr.items)
                and all(self.converts(item, elem) for item, elem in zip(expr.items, elems, strict=True))
            )
        if isinstance(expr, tree.RecordExpr) and isinstance(target, StructType):
            given = dict(expr.fields)
            return given.keys() == target.fields.keys() and all(
                self.converts(given[name], elem) for name, elem in target.fields.items()
            )
        return False

    def coerce(self, expr: tree.Expr, target: Type, what: str = "") -> tree.Expr:
        """`expr` as a value of type `target`; an error naming `what` where the language does not convert."""
        if not self.converts(expr, target):
            prefix = f"{what}: " if what else ""
            raise P4Error(expr.loc, f"{prefix}{expr.type} given where {target} is expected")
        if isinstance(expr, tree.ListExpr):
            elems = members_of(target)
            assert elems is not None
            expr.items = [self.coerce(item, elem) for item, elem in zip(expr.items, elems, strict=True)]
            expr.type = target
            return expr
        if isinstance(expr, tree.RecordExpr):
            assert isinstance(target, StructType)
            expr.fields = [(name, self.coerce(value, target.fields[name])) for name, value in expr.fields]
            expr.type = target
            return expr
        if expr.type == target:
            return expr
        if isinstance(expr, tree.Const) and expr.type == INTEGER:
            return self.constant(expr.loc, self.fit(expr.loc, int(expr.value), target), target)
        return self.converted(expr.loc, expr, target)
