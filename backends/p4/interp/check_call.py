"""Calls: which function, method, action, table or block is meant, and its arguments by parameter."""

from __future__ import annotations

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.check_expr import ExprChecker
from fsir.backends.p4.interp.check_v1model import check_extern_call
from fsir.backends.p4.interp.conversions import describe, substitute
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.prelude import refusal
from fsir.backends.p4.interp.symbols import (
    ActionSym,
    BlockSym,
    Callee,
    ExternSym,
    InstanceSym,
    Overloads,
    TableSym,
    Var,
)
from fsir.backends.p4.interp.types import (
    ANY,
    BOOL,
    INTEGER,
    VOID,
    ExternType,
    StackType,
    StructType,
    TupleType,
    Type,
    TypeVar,
    VarbitType,
    holds_header,
    width_of,
)

# Methods of values: name → (on which kinds, number of arguments, result).
VALUE_METHODS: dict[str, tuple[tuple[str, ...], int, Type]] = {
    "isValid": (("header", "header_union"), 0, BOOL),
    "setValid": (("header",), 0, VOID),
    "setInvalid": (("header",), 0, VOID),
    "push_front": (("stack",), 1, VOID),
    "pop_front": (("stack",), 1, VOID),
}
SIZE_METHODS = ("minSizeInBits", "minSizeInBytes", "maxSizeInBits", "maxSizeInBytes")


class CallChecker(ExprChecker):
    """Adds calls to the expressions."""

    def call(self, expr: tree.Call) -> tree.Expr:
        func = expr.func
        if isinstance(func, tree.Name):
            return self.call_name(expr, func)
        if isinstance(func, tree.TypeExpr):
            raise P4Error(expr.loc, "a constructor call may stand only where something is instantiated")
        if not isinstance(func, tree.Member):
            raise P4Error(expr.loc, "this cannot be called")
        if isinstance(func.base, tree.TypeExpr) and func.name == "apply":
            return self.apply_type(expr, func, func.base)
        if isinstance(func.base, tree.Name):
            symbol = self.scopes.find(func.base.name, func.base.absolute)
            if isinstance(symbol, InstanceSym | TableSym):
                func.base.sym = symbol
                return self.call_member(expr, func, symbol)
            if isinstance(symbol, Var) and isinstance(symbol.type, ExternType):
                func.base.sym, func.base.type = symbol, symbol.type
                return self.method(expr, func, symbol.type)
        return self.value_method(expr, func)

    def call_name(self, expr: tree.Call, func: tree.Name) -> tree.Expr:
        symbol = self.scopes.find(func.name, func.absolute)
        if isinstance(symbol, ActionSym):
            if self.context not in ("control", "action"):
                raise P4Error(expr.loc, f"action '{func.name}' cannot be called here")
            return self.bind(expr, symbol.callee, {})
        if isinstance(symbol, Overloads):
            callee = self.overload(expr, symbol.callees, func.name)
            checked = self.bind(expr, callee, {})
            check_extern_call(expr, callee)
            return checked
        if symbol is None:
            raise P4Error(func.loc, f"'{func.name}' is not declared{refusal(func.name)}")
        raise P4Error(func.loc, f"'{func.name}' is {describe(symbol)} and cannot be called")

    def overload(self, expr: tree.Call, callees: list[Callee], name: str) -> Callee:
        count = len(expr.args)
        for callee in callees:
            if callee.required() <= count <= len(callee.params):
                return callee
        wanted = " or ".join(str(len(callee.params)) for callee in callees)
        raise P4Error(expr.loc, f"'{name}' takes {wanted} arguments, {count} given")

    def apply_type(self, expr: tree.Call, func: tree.Member, base: tree.TypeExpr) -> tree.Expr:
        """`Control.apply(…)`: an unnamed instance of a control without constructor parameters."""
        symbol = self.scopes.find(base.ref.name) if isinstance(base.ref, tree.NamedRef) else None
        if not isinstance(symbol, BlockSym):
            raise P4Error(expr.loc, "only a parser or control can be applied")
        if symbol.ctor.params:
            raise P4Error(expr.loc, f"'{symbol.decl.name}' needs constructor arguments: instantiate it")
        instance = InstanceSym(symbol.decl.name, symbol, None, [], expr, [])
        name = tree.Name(base.loc, symbol.decl.name)
        name.sym, func.base = instance, name
        self.anonymous_instance(instance)
        return self.call_member(expr, func, instance)

    def anonymous_instance(self, instance: InstanceSym) -> None:
        raise NotImplementedError  # DeclChecker

    def call_member(self, expr: tree.Call, func: tree.Member, symbol: InstanceSym | TableSym) -> tree.Expr:
        if isinstance(symbol, InstanceSym) and isinstance(symbol.of, ExternSym):
            assert isinstance(symbol.type, ExternType)
            return self.method(expr, func, symbol.type)
        name = symbol.decl.name if isinstance(symbol, TableSym) else symbol.name
        if func.name != "apply":
            raise P4Error(func.loc, f"'{name}' has no method '{func.name}'")
        if isinstance(symbol, TableSym):
            if self.context != "control":
                raise P4Error(expr.loc, f"table '{name}' can be applied in an apply block only")
            return self.bind(expr, symbol.callee, {})
        assert isinstance(symbol.of, BlockSym)
        if self.context != symbol.of.kind:
            raise P4Error(expr.loc, f"{symbol.of.kind} '{name}' can be applied in a {symbol.of.kind} only")
        return self.bind(expr, symbol.of.apply, {})

    def method(self, expr: tree.Call, func: tree.Member, owner: ExternType) -> tree.Expr:
        extern = self.scopes.find(owner.name, absolute=True)
        assert isinstance(extern, ExternSym)
        if func.name not in extern.methods:
            raise P4Error(func.loc, f"{owner} has no method '{func.name}'")
        callee = self.overload(expr, extern.methods[func.name], f"{owner.name}.{func.name}")
        checked = self.bind(expr, callee, dict(zip(extern.decl.type_params, owner.args, strict=True)))
        if owner.name in ("packet_in", "packet_out"):
            self.packet_method(expr, func.name)
        return checked

    def packet_method(self, expr: tree.Call, name: str) -> None:
        """Restrictions of BMv2 and of the specification on what goes in and out of a packet."""
        if name in ("extract", "lookahead"):
            type_ = expr.bindings["T"]
            fields = list(type_.fields.values()) if isinstance(type_, StructType) else []
            varbits = sum(isinstance(field, VarbitType) for field in fields)
            if name == "extract" and not is_header(type_):
                raise P4Error(expr.loc, f"only a header can be extracted, not {type_}")
            if name == "extract" and varbits != len(expr.args) - 1:
                hint = "needs the length of its varbit field" if varbits else "has no varbit field"
                raise P4Error(expr.loc, f"header {type_} {hint}")
            if name == "lookahead" and (width_of(type_) is None or any(map(holds_header, fields))):
                raise P4Error(expr.loc, f"lookahead of {type_}: only bits, headers and structs of bits can be")
            if name == "extract":
                check_header_size(expr.loc, type_)
        elif name == "emit":
            check_emit(expr.loc, expr.bindings["T"])

    def value_method(self, expr: tree.Call, func: tree.Member) -> tree.Expr:
        base = func.base = self.check(func.base)
        kind = "stack" if isinstance(base.type, StackType) else getattr(base.type, "kind", "")
        if func.name in SIZE_METHODS and not expr.args:
            return self.size_method(expr, func, base.type)
        if func.name not in VALUE_METHODS or kind not in VALUE_METHODS[func.name][0]:
            raise P4Error(func.loc, f"{base.type} has no method '{func.name}'")
        _, count, result = VALUE_METHODS[func.name]
        if len(expr.args) != count:
            raise P4Error(expr.loc, f"'{func.name}' takes {count} arguments, {len(expr.args)} given")
        if result == VOID:
            self.require_lvalue(base)
        if count:
            amount = self.constant_int(expr.args[0].value, f"the argument of '{func.name}'")
            if amount < 0:
                raise P4Error(expr.args[0].loc, f"'{func.name}' by a negative number")
            expr.bound = [self.constant(expr.args[0].loc, amount, INTEGER)]
        expr.target, expr.type = func.name, result
        return expr

    def size_method(self, expr: tree.Call, func: tree.Member, type_: Type) -> tree.Expr:
        low, high = sizes(type_)
        if low < 0:
            raise P4Error(func.loc, f"{type_} has no method '{func.name}'")
        bits = low if func.name.startswith("min") else high
        value = bits if func.name.endswith("Bits") else (bits + 7) // 8
        return self.constant(expr.loc, value, INTEGER)

    # -- arguments -------------------------------------------------------------------------------------------

    def bind(self, expr: tree.Call, callee: Callee, bindings: dict[str, Type]) -> tree.Expr:
        """Put the arguments of `expr` in the order of the parameters, converted to their types."""
        if expr.type_args:
            if len(expr.type_args) != len(callee.type_params):
                raise P4Error(expr.loc, f"'{callee.name}' takes {len(callee.type_params)} type arguments")
            given = [self.resolve(ref) for ref in expr.type_args]
            bindings |= {n: t for n, t in zip(callee.type_params, given, strict=True) if t != ANY}
        values = self.match_arguments(expr.loc, expr.args, callee)
        for value, param in zip(values, callee.params, strict=True):
            if value is not None:
                self.infer(param.type, value.type, bindings)
        expr.bound = [
            None if value is None else self.argument(value, param, bindings, callee)
            for value, param in zip(values, callee.params, strict=True)
        ]
        missing = [name for name in callee.type_params if name not in bindings]
        if missing:
            raise P4Error(expr.loc, f"type argument {missing[0]} of '{callee.name}' cannot be inferred: give widths")
        expr.target, expr.bindings = callee, bindings
        expr.type = substitute(callee.result, bindings)
        return expr

    def match_arguments(self, loc: Loc, args: list[tree.Arg], callee: Callee) -> list[tree.Expr | None]:
        """Checked argument per parameter; None for an omitted `out` argument (`_`)."""
        given: dict[str, tree.Expr] = {}
        names = [param.name for param in callee.params]
        if len(args) > len(names):
            raise P4Error(loc, f"'{callee.name}' takes {len(names)} arguments, {len(args)} given")
        for position, arg in enumerate(args):
            name = arg.name or names[position]
            if name not in names:
                raise P4Error(arg.loc, f"'{callee.name}' has no parameter '{name}'")
            if name in given:
                raise P4Error(arg.loc, f"parameter '{name}' is given twice")
            given[name] = self.argument_value(arg.value)
        found: list[tree.Expr | None] = []
        for param, default in zip(callee.params, callee.defaults, strict=True):
            value = given.get(param.name, default)
            if value is None:
                raise P4Error(loc, f"'{callee.name}' needs an argument for '{param.name}'")
            if isinstance(value, tree.AnySet):
                if param.direction != "out":
                    raise P4Error(value.loc, "'_' can be given for an out parameter only")
                found.append(None)
            else:
                found.append(value)
        return found

    def argument_value(self, value: tree.Expr) -> tree.Expr:
        if isinstance(value, tree.Name):
            symbol = self.scopes.find(value.name, value.absolute)
            if isinstance(symbol, InstanceSym) and symbol.type is not None:
                value.sym, value.type = symbol, symbol.type
                return value
        return self.check(value)

    def infer(self, wanted: Type, given: Type, bindings: dict[str, Type]) -> None:
        """Bind type variables of `wanted`; an integer without width decides nothing."""
        if isinstance(wanted, TypeVar):
            if given != INTEGER and not (isinstance(given, TupleType) and INTEGER in given.elems):
                bindings.setdefault(wanted.name, given)
        elif isinstance(wanted, ExternType) and isinstance(given, ExternType) and wanted.name == given.name:
            for inner, outer in zip(wanted.args, given.args, strict=True):
                self.infer(inner, outer, bindings)
        elif isinstance(wanted, TupleType) and isinstance(given, TupleType):
            for inner, outer in zip(wanted.elems, given.elems, strict=False):
                self.infer(inner, outer, bindings)

    def argument(self, value: tree.Expr, param: Var, bindings: dict[str, Type], callee: Callee) -> tree.Expr:
        type_ = substitute(param.type, bindings)
        what = f"argument '{param.name}' of '{callee.name}'"
        if isinstance(type_, TypeVar):
            raise P4Error(value.loc, f"{what}: the width of {value.type} cannot be inferred: add a cast")
        if param.direction in ("out", "inout"):
            self.require_lvalue(value)
            if value.type != type_:
                raise P4Error(value.loc, f"{what}: {value.type} given where {type_} is expected")
            return value
        checked = self.coerce(value, type_, what)
        if param.direction == "" and callee.kind not in ("action", "control", "parser", "function"):
            constant = isinstance(checked, tree.Const) or isinstance(type_, ExternType)
            if not constant and not compile_time(checked):
                raise P4Error(value.loc, f"{what} must be known at compile time")
        return checked

    def require_lvalue(self, expr: tree.Expr) -> None:
        """Raise unless `expr` can be written."""
        match expr:
            case tree.Name(sym=Var() as var):
                if var.writable:
                    return
                reason = {
                    "const": "a constant",
                    "ctor": "a constructor parameter",
                    "param": f"an '{var.direction}' parameter" if var.direction else "an action's data parameter",
                }[var.kind]
                raise P4Error(expr.loc, f"'{var.name}' cannot be written: it is {reason}")
            case tree.Member(base=base, name=name):
                if isinstance(base.type, StructType) or (isinstance(base.type, StackType) and name in ("next", "last")):
                    return self.require_lvalue(base)
            case tree.Index(base=base):
                if isinstance(base.type, StackType):
                    return self.require_lvalue(base)
            case tree.Slice(base=base):
                return self.require_lvalue(base)
            case tree.Const():
                raise P4Error(expr.loc, "a constant cannot be written")
        raise P4Error(expr.loc, "this cannot be written")


def compile_time(expr: tree.Expr) -> bool:
    """Known once the instance's constructor arguments are."""
    match expr:
        case tree.Const():
            return True
        case tree.Name(sym=Var(kind="ctor")):
            return True
        case tree.Binary(left=left, right=right):
            return compile_time(left) and compile_time(right)
        case tree.Unary(operand=operand) | tree.Cast(operand=operand):
            return compile_time(operand)
    return False


def is_header(type_: Type) -> bool:
    return isinstance(type_, StructType) and type_.kind == "header"


def sizes(type_: Type) -> tuple[int, int]:
    """Least and greatest size in bits; (-1, -1) where there is none."""
    if isinstance(type_, VarbitType):
        return 0, type_.width
    if isinstance(type_, StructType):
        parts = [sizes(t) for t in type_.fields.values()]
        if type_.kind == "header_union":
            return 0, max((high for _, high in parts), default=0)
        return sum(low for low, _ in parts), sum(high for _, high in parts)
    if isinstance(type_, StackType):
        low, high = sizes(type_.elem)
        return low * type_.size, high * type_.size
    width = width_of(type_)
    return (-1, -1) if width is None else (width, width)


def check_header_size(loc: Loc, type_: Type) -> None:
    """BMv2 takes headers of whole bytes only."""
    low, _ = sizes(type_)
    if low % 8:
        raise P4Error(loc, f"header {type_} has {low} bits, which is not a whole number of bytes")


def check_emit(loc: Loc, type_: Type) -> None:
    """Headers, and whatever is made of headers."""
    if isinstance(type_, StackType):
        return check_header_size(loc, type_.elem) if is_header(type_.elem) else check_emit(loc, type_.elem)
    if is_header(type_):
        return check_header_size(loc, type_)
    if not isinstance(type_, StructType):
        raise P4Error(loc, f"{type_} cannot be emitted: only headers, stacks, unions and structs of them")
    for field in type_.fields.values():
        check_emit(loc, field)
    return None
