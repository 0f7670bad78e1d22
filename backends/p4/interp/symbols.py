"""What names stand for, and the scopes that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.arith import Value
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.types import Type

_serial = count(1)


@dataclass(eq=False, slots=True)
class Var:
    """A variable (`var`), parameter (`param`), constant (`const`) or constructor parameter (`ctor`)."""

    name: str
    type: Type
    loc: Loc
    kind: str
    direction: str = ""
    init: tree.Expr | None = None  # of a constant that is not a scalar
    value: Value | None = None  # of a scalar constant
    serial: int = field(default_factory=lambda: next(_serial))

    @property
    def writable(self) -> bool:
        return self.kind == "var" or (self.kind == "param" and self.direction in ("out", "inout"))


@dataclass(eq=False, slots=True)
class Callee:
    """Anything that takes arguments: `kind` is function, extern, method, action, control, parser or table."""

    kind: str
    name: str
    type_params: list[str]
    params: list[Var]
    defaults: list[tree.Expr | None]
    result: Type
    decl: tree.Decl | None
    owner: str = ""  # the extern type of a method

    def required(self) -> int:
        return sum(default is None for default in self.defaults)


@dataclass(eq=False, slots=True)
class Overloads:
    """Functions of one name, told apart by their number of arguments."""

    name: str
    callees: list[Callee]


@dataclass(eq=False, slots=True)
class TypeSym:
    type: Type


@dataclass(eq=False, slots=True)
class ExternSym:
    decl: tree.ExternDecl
    ctors: list[Callee] = field(default_factory=list)
    methods: dict[str, list[Callee]] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class BlockSym:
    """A parser or control, or a mere type of one."""

    kind: str
    decl: tree.ParserDecl | tree.ControlDecl
    apply: Callee
    ctor: Callee


@dataclass(eq=False, slots=True)
class PackageSym:
    decl: tree.PackageDecl


@dataclass(eq=False, slots=True)
class ActionSym:
    callee: Callee
    decl: tree.ActionDecl
    in_control: bool


@dataclass(eq=False, slots=True)
class TableSym:
    decl: tree.TableDecl
    callee: Callee


@dataclass(eq=False, slots=True)
class InstanceSym:
    """An instantiation: `of` says what; `args` are its constructor arguments."""

    name: str
    of: ExternSym | BlockSym
    type: Type | None  # the ExternType of an extern object
    args: list[tree.Expr]
    decl: tree.Node
    annotations: list[tree.Annotation]


@dataclass(eq=False, slots=True)
class StateSym:
    name: str


Symbol = Var | Overloads | TypeSym | ExternSym | BlockSym | PackageSym | ActionSym | TableSym | InstanceSym | StateSym


class Scopes:
    """Nested name spaces; an inner name hides an outer one."""

    def __init__(self) -> None:
        self.stack: list[dict[str, Symbol]] = [{}]
        self.places: list[dict[str, Loc]] = [{}]

    @contextmanager
    def inner(self) -> Iterator[None]:
        self.stack.append({})
        self.places.append({})
        yield
        self.stack.pop()
        self.places.pop()

    def find(self, name: str, absolute: bool = False) -> Symbol | None:
        for scope in self.stack[:1] if absolute else reversed(self.stack):
            if name in scope:
                return scope[name]
        return None

    def add(self, name: str, symbol: Symbol, loc: Loc) -> None:
        if name in self.stack[-1]:
            before = self.places[-1][name]
            raise P4Error(loc, f"'{name}' is already declared at line {before.line} of {before.file}")
        self.stack[-1][name] = symbol
        self.places[-1][name] = loc
