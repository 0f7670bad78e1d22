"""Checked expressions to Python expressions.

How P4 values look at run time is told in `types`; all names are unique (`v<serial>_<name>`), so that the scopes of
the generated functions need no thought: a function that assigns an outer variable declares it nonlocal.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.arith import limits
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.externs import EXTERNS, PACKED
from fsir.backends.p4.interp.gen_base import Scope, bare, bits, flatten, overlap, path_of, variable
from fsir.backends.p4.interp.instances import Instance
from fsir.backends.p4.interp.layout import Layout, attribute
from fsir.backends.p4.interp.quote import Part, all_of, any_of, call, constant, name, quote
from fsir.backends.p4.interp.symbols import Callee, InstanceSym, TableSym, Var
from fsir.backends.p4.interp.types import (
    BOOL,
    VOID,
    BitType,
    IntType,
    StackType,
    StructType,
    Type,
    by_reference,
    representation,
    width_of,
)

Store = Callable[[ast.expr], ast.expr]


class ExprGen:
    """Expressions in the environment of one instance."""

    def __init__(self, layout: Layout, instance: Instance) -> None:
        self.layout = layout
        self.instance = instance
        self.scopes: list[Scope] = []
        self.temporaries = 0

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def temporary(self) -> str:
        self.temporaries += 1
        found = f"t{self.temporaries}"
        self.scope.owned.add(found)
        return found

    # -- expressions -----------------------------------------------------------------------------------------

    def expr(self, expr: tree.Expr) -> ast.expr:
        """Python for the value of `expr`; a struct comes as a reference (see `owned`)."""
        match expr:
            case tree.Const():
                return constant(expr.value)
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
                return quote(
                    "_a if _c else _b", a=self.expr(expr.then), b=self.expr(expr.other), c=self.expr(expr.cond)
                )
            case tree.Cast():
                return self.cast(expr)
            case tree.ListExpr():
                return self.make(expr.type, expr.items)
            case tree.RecordExpr():
                assert isinstance(expr.type, StructType)
                given = dict(expr.fields)
                return self.make(expr.type, [given[field] for field in expr.type.fields])
            case tree.Call():
                return self.call(expr)
        raise AssertionError(expr)

    def owned(self, expr: tree.Expr) -> ast.expr:
        """The value of `expr` as something that nothing else refers to."""
        value = self.expr(expr)
        fresh = isinstance(expr, tree.ListExpr | tree.RecordExpr | tree.Call)
        return value if fresh or not by_reference(representation(expr.type)) else quote("_v.clone()", v=value)

    def name(self, expr: tree.Name) -> ast.expr:
        var = expr.sym
        assert isinstance(var, Var)
        if var.init is not None:
            return self.expr(var.init)
        if var in self.instance.constants:
            return constant(self.instance.constants[var])
        return name(variable(var))

    def make(self, type_: Type, items: list[tree.Expr]) -> ast.expr:
        values = [self.owned(item) for item in items]
        if isinstance(type_, StructType):
            return call(quote("_c.make", c=self.layout.names[type_]), values)
        return ast.Tuple(values, ast.Load())

    def member(self, expr: tree.Member) -> ast.expr:
        base = self.expr(expr.base)
        if isinstance(expr.base.type, StructType):
            return quote("_b._f", b=base, f=attribute(expr.name))
        templates = {
            "next": "_b.next_item()",
            "last": "_b.last_item()",
            "lastIndex": "_b.next - 1 & 0xffffffff",
            "hit": "_b.hit",
            "miss": "not _b.hit",
            "action_run": "_b.action",
        }
        return quote(templates[expr.name], b=base)

    def index(self, expr: tree.Index) -> ast.expr:
        base = self.expr(expr.base)
        if not isinstance(expr.base.type, StackType):
            return quote("_b[_i]", b=base, i=self.expr(expr.index))
        template = "_b.items[_i]" if isinstance(expr.index, tree.Const) else "_b.at(_i)"
        return quote(template, b=base, i=self.expr(expr.index))

    def slice(self, expr: tree.Slice) -> ast.expr:
        base, mask = self.expr(expr.base), (1 << (expr.high - expr.low + 1)) - 1
        if expr.low:
            return quote("_b >> _l & _m", b=base, l=expr.low, m=mask)
        return quote("_b & _m", b=base, m=mask)

    def unary(self, expr: tree.Unary) -> ast.expr:
        value = self.expr(expr.operand)
        if expr.op == "!":
            return quote("not _v", v=value)
        return self.wrapped(quote("~_v" if expr.op == "~" else "-_v", v=value), expr.type)

    def wrapped(self, value: ast.expr, type_: Type) -> ast.expr:
        """`value` reduced to the range of `type_`."""
        low = representation(type_)
        if isinstance(low, BitType):
            return quote("_v & _m", v=value, m=(1 << low.width) - 1)
        assert isinstance(low, IntType)
        half, mask = 1 << (low.width - 1), (1 << low.width) - 1
        return quote("(_v + _h & _m) - _h", v=value, h=half, m=mask)

    def binary(self, expr: tree.Binary) -> ast.expr:
        op = expr.op
        if op in ("&&", "||"):
            terms = [self.expr(term) for term in flatten(expr, op)]
            return all_of(terms) if op == "&&" else any_of(terms)
        if op == "++":
            return self.concat(expr)
        if op in ("==", "!="):
            return self.equality(expr)
        left, right = self.expr(expr.left), self.expr(expr.right)
        if op in ("<", "<=", ">", ">="):
            return quote(f"_l {op} _r", l=left, r=right)
        if op in ("&", "|", "^"):  # stays in range, signed or not
            return quote(f"_l {op} _r", l=left, r=right)
        if op in ("<<", ">>"):
            return self.shift(expr, left, right)
        if op in ("|+|", "|-|"):
            low, high = limits(representation(expr.type))
            return quote(f"min(max(_l {op[1]} _r, _a), _b)", l=left, r=right, a=low, b=high)
        if op in ("/", "%"):
            template = "_l {0} _r" if isinstance(expr.right, tree.Const) else "_l {0} RT.divisor(_r)"
            return quote(template.format("//" if op == "/" else "%"), l=left, r=right)
        return self.wrapped(quote(f"_l {op} _r", l=left, r=right), expr.type)

    def shift(self, expr: tree.Binary, left: ast.expr, right: ast.expr) -> ast.expr:
        low = representation(expr.type)
        assert isinstance(low, BitType | IntType)
        # min: a shift by more than the width gives what a shift by the width does, without huge numbers
        amount = right if isinstance(expr.right, tree.Const) else quote("min(_r, _w)", r=right, w=low.width)
        if isinstance(expr.right, tree.Const) and int(expr.right.value) > low.width:
            amount = constant(low.width)
        if expr.op == ">>":
            return quote("_l >> _r", l=left, r=amount)
        return self.wrapped(quote("_l << _r", l=left, r=amount), expr.type)

    def concat(self, expr: tree.Binary) -> ast.expr:
        """One `|` over all operands of a chain, each shifted to its place."""
        terms = flatten(expr, "++")
        result: ast.expr | None = None
        shift = sum(bits(term) for term in terms)
        for term in terms:
            shift -= bits(term)
            value = self.expr(term)
            if isinstance(representation(term.type), IntType):
                value = quote("_v & _m", v=value, m=(1 << bits(term)) - 1)
            if shift:
                value = quote("_v << _s", v=value, s=shift)
            result = value if result is None else quote("_a | _b", a=result, b=value)
        assert result is not None
        return self.wrapped(result, expr.type) if isinstance(expr.type, IntType) else result

    def equality(self, expr: tree.Binary) -> ast.expr:
        left, right = self.expr(expr.left), self.expr(expr.right)
        if by_reference(representation(expr.left.type)):
            return quote("_l.equals(_r)" if expr.op == "==" else "not _l.equals(_r)", l=left, r=right)
        return quote(f"_l {expr.op} _r", l=left, r=right)

    def cast(self, expr: tree.Cast) -> ast.expr:
        value = self.expr(expr.operand)
        source, target = representation(expr.operand.type), representation(expr.type)
        if source == target:
            return value
        if source == BOOL:
            return quote("int(_v)", v=value)
        if target == BOOL:
            return quote("_v != 0", v=value)
        assert isinstance(source, BitType | IntType) and isinstance(target, BitType | IntType)
        if isinstance(source, BitType) and isinstance(target, BitType) and target.width >= source.width:
            return value
        return self.wrapped(value, target)

    # -- calls -----------------------------------------------------------------------------------------------

    def call(self, expr: tree.Call) -> ast.expr:
        """A call where a value is needed; one that only has effects is a statement (`StmtGen`)."""
        if isinstance(expr.target, str):
            return self.value_method(expr)
        callee = expr.target
        assert isinstance(callee, Callee)
        if callee.kind == "table":
            assert isinstance(expr.func, tree.Member) and isinstance(expr.func.base, tree.Name)
            symbol = expr.func.base.sym
            assert isinstance(symbol, TableSym)
            return call(self.instance.table_function(symbol), [])
        if callee.kind == "function":
            return self.function_call(expr, callee)
        return self.extern_call(expr, callee)

    def value_method(self, expr: tree.Call) -> ast.expr:
        assert isinstance(expr.func, tree.Member)
        base = self.expr(expr.func.base)
        union = getattr(expr.func.base.type, "kind", "") == "header_union"
        template = {
            "isValid": "_b.is_valid()" if union else "_b.valid",
            "setValid": "_b.set_valid()",
            "setInvalid": "_b.set_invalid()",
            "push_front": "_b.push_front(_n)",
            "pop_front": "_b.pop_front(_n)",
        }[expr.target]
        amount = self.expr(expr.bound[0]) if expr.bound and expr.bound[0] is not None else constant(0)
        return quote(template, b=base, n=amount)

    def function_call(self, expr: tree.Call, callee: Callee) -> ast.expr:
        """A function that writes arguments becomes `[…, t := f(…), store, …, t[0]][-1]`."""
        args, before, after = self.arguments(expr, callee)
        called = call(self.instance.function_name(callee), args)
        if not self.outs(callee) and not before and not after:
            return called
        result = self.temporary()
        value: ast.expr = constant(None)
        if callee.result != VOID:
            value = quote("_t[0]", t=result) if self.outs(callee) else name(result)
        items = [*before, quote("(_t := _f)", t=result, f=called), *self.copy_out(expr, callee, result, after), value]
        return quote("_l[-1]", l=ast.List(items, ast.Load()))

    def copy_out(self, expr: tree.Call, callee: Callee, result: str, after: dict[int, ast.expr]) -> list[ast.expr]:
        """What comes back from a call, in the order of the parameters."""
        outs = self.outs(callee)
        found: list[ast.expr] = []
        place = 0 if callee.result == VOID else 1
        for position, (param, target) in enumerate(zip(callee.params, expr.bound, strict=True)):
            if position in after:
                found.append(after[position])
            if param not in outs:
                continue
            value = name(result) if bare(callee, outs) else quote("_t[_i]", t=result, i=place)
            place += 1
            if target is not None:
                found.append(self.store(target)(value))
        return found

    def outs(self, callee: Callee) -> list[Var]:
        """Parameters that come back as values; structs are written through their reference."""
        return [
            param
            for param in callee.params
            if param.direction in ("out", "inout") and not by_reference(representation(param.type))
        ]

    def arguments(self, expr: tree.Call, callee: Callee) -> tuple[list[ast.expr], list[ast.expr], dict[int, ast.expr]]:
        """Arguments in order, expressions to evaluate before the call, and after it by parameter position.

        A struct goes by reference unless the callee could tell: then a copy goes and, for `out` and `inout`, comes
        back after the call.
        """
        args: list[ast.expr] = []
        before: list[ast.expr] = []
        after: dict[int, ast.expr] = {}
        paths = [None if value is None else path_of(value) for value in expr.bound]
        for position, (param, value) in enumerate(zip(callee.params, expr.bound, strict=True)):
            reference = by_reference(representation(param.type))
            if param.direction == "out" and not reference:
                continue
            if value is None:
                args.append(self.fresh(param.type))
                continue
            if not reference:
                args.append(self.expr(value))
                continue
            mine = paths[position]
            shared = callee.kind == "action" or any(
                other is not None
                and mine is not None
                and number != position
                and "out" in callee.params[number].direction + param.direction
                and overlap(mine, other)
                for number, other in enumerate(paths)
            )
            if not shared or isinstance(value, tree.ListExpr | tree.RecordExpr):
                args.append(self.expr(value))
                continue
            if param.direction in ("", "in"):
                args.append(self.owned(value))
                continue
            original, copy = self.temporary(), self.temporary()
            before.append(quote("(_o := _v)", o=original, v=self.expr(value)))
            before.append(quote("(_c := _o.clone())", c=copy, o=original))
            args.append(name(copy))
            after[position] = quote("_o.assign(_c)", o=original, c=copy)
        return args, before, after

    def fresh(self, type_: Type) -> ast.expr:
        return ast.parse(self.layout.undefined(type_), mode="eval").body

    def extern_call(self, expr: tree.Call, callee: Callee) -> ast.expr:
        """By the table of externs; `out` arguments are stored by the statement around."""
        key = f"{callee.owner}.{callee.name}" if callee.owner else callee.name
        if key == "packet_in.lookahead":
            return self.lookahead(expr)
        template = EXTERNS.get(key)
        if template is None:
            raise P4Error(expr.loc, f"extern '{key}' is not known to this interpreter")
        parts: dict[str, Part] = {}
        for param, value in zip(callee.params, expr.bound, strict=True):
            if value is None or param.direction == "out":
                continue
            parts[param.name] = self.packed(value) if f"{key}.{param.name}" in PACKED else self.expr(value)
        if callee.owner:
            assert isinstance(expr.func, tree.Member)
            parts["self"] = self.receiver(expr.func.base)
        for param, value in zip(callee.params, expr.bound, strict=True):
            if param.name in ("result", "checksum") and value is not None:
                parts["width"] = width_of(value.type) or 0
        return quote(template, **parts)

    def receiver(self, base: tree.Expr) -> ast.expr:
        assert isinstance(base, tree.Name)
        if isinstance(base.sym, InstanceSym):
            return name(self.instance.extern_name(base.sym))
        assert isinstance(base.sym, Var)
        return name(variable(base.sym))

    def lookahead(self, expr: tree.Call) -> ast.expr:
        assert isinstance(expr.func, tree.Member)
        type_ = expr.bindings["T"]
        low = representation(type_)
        width = width_of(type_)
        assert width is not None
        bits_ = quote("_p.lookahead(_w)", p=self.receiver(expr.func.base), w=width)
        if isinstance(low, StructType):
            return quote("_c.from_bits(_v)", c=self.layout.names[low], v=bits_)
        if low == BOOL:
            return quote("_v != 0", v=bits_)
        return self.wrapped(bits_, low) if isinstance(low, IntType) else bits_

    def packed(self, expr: tree.Expr) -> ast.expr:
        """(value, width) of the bits of `expr`, for hashes, checksums and digests."""
        if isinstance(expr, tree.ListExpr):
            items = ast.List([self.packed(item) for item in expr.items], ast.Load())
            return quote("join(_l)", l=items)
        value = self.expr(expr)
        if not isinstance(expr, tree.Name | tree.Member | tree.Index | tree.Const):
            held = self.temporary()
            text = self.layout.packed(expr.type, held)
            return quote("[(_h := _v), _p][1]", h=held, v=value, p=ast.parse(text, mode="eval").body)
        text = self.layout.packed(expr.type, "_value")
        return quote(text, value=value)

    # -- writing ---------------------------------------------------------------------------------------------

    def store(self, target: tree.Expr) -> Store:
        """A function from a value to an expression that writes it to `target`."""
        match target:
            case tree.Name(sym=Var() as var):
                held = variable(var)
                if by_reference(representation(var.type)):
                    return lambda value: quote("_o.assign(_v)", o=held, v=value)
                self.scope.assigned.add(held)
                return lambda value: quote("(_o := _v)", o=held, v=value)
            case tree.Slice(base=base, high=high, low=low):
                inner, old = self.store(base), self.expr(base)
                return lambda value: inner(self.merge(base.type, old, value, high, low))
        if by_reference(representation(target.type)):
            whole = self.expr(target)
            return lambda value: quote("_o.assign(_v)", o=whole, v=value)
        assert isinstance(target, tree.Member)
        base_value, field = self.expr(target.base), attribute(target.name)
        return lambda value: quote("setattr(_o, _f, _v)", o=base_value, f=constant(field), v=value)

    def merge(self, type_: Type, old: ast.expr, value: ast.expr, high: int, low: int) -> ast.expr:
        """`old` with the bits high … low replaced."""
        hole = ~(((1 << (high - low + 1)) - 1) << low)
        shifted = quote("_v << _l", v=value, l=low) if low else value
        number = representation(type_)
        if isinstance(number, IntType):
            return self.wrapped(quote("_o & _h | _v", o=old, h=hole, v=shifted), number)
        assert isinstance(number, BitType)
        return quote("_o & _h | _v", o=old, h=hole & ((1 << number.width) - 1), v=shifted)
