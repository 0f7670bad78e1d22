"""Types as written to types: the base of the checkers, with the scopes and the warnings."""

from __future__ import annotations

from fsir.backends.p4.interp import arith, tree
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.prelude import refusal
from fsir.backends.p4.interp.symbols import ExternSym, Scopes, TypeSym
from fsir.backends.p4.interp.types import (
    ANY,
    BOOL,
    ERROR,
    INTEGER,
    MATCH_KIND,
    STRING,
    VOID,
    AtomType,
    BitType,
    ExternType,
    IntType,
    StackType,
    StructType,
    TupleType,
    Type,
    VarbitType,
)

ATOMS: dict[str, AtomType] = {
    "bool": BOOL,
    "error": ERROR,
    "string": STRING,
    "void": VOID,
    "match_kind": MATCH_KIND,
    "int": INTEGER,
}
MAX_WIDTH = 65536


class TypeChecker:
    """Resolves types in the current scope."""

    def __init__(self) -> None:
        self.scopes = Scopes()
        self.errors: dict[str, int] = {}
        self.warnings: list[str] = []

    def warn(self, loc: Loc, message: str) -> None:
        self.warnings.append(f"{loc}: warning: {message}")

    def check(self, expr: tree.Expr) -> tree.Expr:
        raise NotImplementedError  # ExprChecker

    def constant(self, loc: Loc, value: arith.Value, type_: Type) -> tree.Const:
        const = tree.Const(loc, value)
        const.type = type_
        return const

    def resolve(self, ref: tree.TypeRef) -> Type:
        match ref:
            case tree.SimpleRef(name="_"):
                return ANY
            case tree.SimpleRef():
                return ATOMS[ref.name]
            case tree.SizedRef():
                return self.sized(ref)
            case tree.NamedRef():
                return self.named(ref)
            case tree.StackRef():
                elem = self.resolve(ref.elem)
                if not isinstance(elem, StructType) or elem.kind == "struct":
                    raise P4Error(ref.loc, f"a stack holds headers, not {elem}")
                size = self.constant_int(ref.size, "the size of a header stack")
                if not 0 < size <= MAX_WIDTH:
                    raise P4Error(ref.size.loc, f"a header stack cannot have {size} elements")
                return StackType(elem, size)
            case tree.TupleRef():
                return TupleType(tuple(self.resolve(arg) for arg in ref.args))
        raise AssertionError(ref)

    def sized(self, ref: tree.SizedRef) -> Type:
        width = self.constant_int(ref.width, "a width")
        if not 0 < width <= MAX_WIDTH:
            raise P4Error(ref.width.loc, f"a width must be 1 to {MAX_WIDTH}, not {width}")
        return {"bit": BitType, "int": IntType, "varbit": VarbitType}[ref.name](width)

    def named(self, ref: tree.NamedRef) -> Type:
        symbol = self.scopes.find(ref.name)
        match symbol:
            case TypeSym(type=found):
                if ref.args:
                    raise P4Error(ref.loc, f"type '{ref.name}' takes no arguments")
                return found
            case ExternSym(decl=decl):
                if len(ref.args) != len(decl.type_params):
                    raise P4Error(ref.loc, f"'{ref.name}' takes {len(decl.type_params)} type arguments")
                return ExternType(ref.name, tuple(self.resolve(arg) for arg in ref.args))
            case None:
                raise P4Error(ref.loc, f"unknown type '{ref.name}'{refusal(ref.name)}")
        raise P4Error(ref.loc, f"'{ref.name}' is not a type of values")

    def constant_int(self, expr: tree.Expr, what: str) -> int:
        checked = self.check(expr)
        if not isinstance(checked, tree.Const) or not isinstance(checked.value, int):
            raise P4Error(expr.loc, f"{what} must be known at compile time")
        return int(checked.value)
