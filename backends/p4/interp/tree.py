"""The abstract syntax tree of a P4_16 text, as the parser builds it and the checker annotates it.

Every node has its place. The checker fills `Expr.type` (never None afterwards) and replaces what is known at
compile time by `Const`; it puts the resolved symbol into `Name.sym`, `Call.target` and the like.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fsir.backends.p4.interp.errors import Loc

if TYPE_CHECKING:
    from fsir.backends.p4.interp.types import Type


@dataclass(slots=True, eq=False)
class Node:
    loc: Loc


# -- types as written ----------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class TypeRef(Node):
    pass


@dataclass(slots=True, eq=False)
class SimpleRef(TypeRef):
    """`bool`, `error`, `string`, `void`, `match_kind`, `int` without width, or `_` as a type argument."""

    name: str


@dataclass(slots=True, eq=False)
class SizedRef(TypeRef):
    """`bit<w>`, `int<w>` or `varbit<w>`."""

    name: str
    width: Expr


@dataclass(slots=True, eq=False)
class NamedRef(TypeRef):
    name: str
    args: list[TypeRef]


@dataclass(slots=True, eq=False)
class StackRef(TypeRef):
    elem: TypeRef
    size: Expr


@dataclass(slots=True, eq=False)
class TupleRef(TypeRef):
    args: list[TypeRef]


# -- expressions ---------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Expr(Node):
    type: Type = field(default=None, init=False, repr=False)  # type: ignore[assignment]


@dataclass(slots=True, eq=False)
class Const(Expr):
    """A literal, or after checking any scalar known at compile time; enum members and errors by number."""

    value: int | bool | str
    written: tuple[str, int] | None = None  # ("w" or "s", width) of a literal such as 8w5


@dataclass(slots=True, eq=False)
class Name(Expr):
    name: str
    absolute: bool = False
    sym: Any = field(default=None, init=False, repr=False)


@dataclass(slots=True, eq=False)
class TypeExpr(Expr):
    """A type where an expression stands: the `E` of `E.member`, `error` of `error.NoMatch`."""

    ref: TypeRef


@dataclass(slots=True, eq=False)
class Member(Expr):
    base: Expr
    name: str
    sym: Any = field(default=None, init=False, repr=False)


@dataclass(slots=True, eq=False)
class Index(Expr):
    base: Expr
    index: Expr


@dataclass(slots=True, eq=False)
class Slice(Expr):
    base: Expr
    hi: Expr
    lo: Expr
    high: int = field(default=0, init=False)
    low: int = field(default=0, init=False)


@dataclass(slots=True, eq=False)
class Unary(Expr):
    op: str
    operand: Expr


@dataclass(slots=True, eq=False)
class Binary(Expr):
    """`op` is the P4 operator; `&&&` and `..` occur in key sets only."""

    op: str
    left: Expr
    right: Expr


@dataclass(slots=True, eq=False)
class Cond(Expr):
    cond: Expr
    then: Expr
    other: Expr


@dataclass(slots=True, eq=False)
class Cast(Expr):
    """`ref` is None where the checker inserted the cast."""

    ref: TypeRef | None
    operand: Expr


@dataclass(slots=True, eq=False)
class Arg(Node):
    name: str | None
    value: Expr


@dataclass(slots=True, eq=False)
class Call(Expr):
    func: Expr
    type_args: list[TypeRef]
    args: list[Arg]
    target: Any = field(default=None, init=False, repr=False)
    bound: list[Expr | None] = field(default_factory=list, init=False, repr=False)  # by parameter
    bindings: dict[str, Type] = field(default_factory=dict, init=False, repr=False)  # of type parameters


@dataclass(slots=True, eq=False)
class ListExpr(Expr):
    items: list[Expr]


@dataclass(slots=True, eq=False)
class RecordExpr(Expr):
    fields: list[tuple[str, Expr]]


@dataclass(slots=True, eq=False)
class AnySet(Expr):
    """`default` or `_` in a key set, or `_` given for an out argument."""

    text: str


# -- statements ----------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Stmt(Node):
    pass


@dataclass(slots=True, eq=False)
class Block(Stmt):
    body: list[Stmt]


@dataclass(slots=True, eq=False)
class Assign(Stmt):
    left: Expr
    right: Expr


@dataclass(slots=True, eq=False)
class CallStmt(Stmt):
    call: Expr


@dataclass(slots=True, eq=False)
class If(Stmt):
    cond: Expr
    then: Stmt
    other: Stmt | None


@dataclass(slots=True, eq=False)
class Case(Node):
    labels: list[Expr]  # AnySet for default
    body: Block | None  # None falls through to the next case's body
    values: list[int | bool] = field(default_factory=list, init=False)


@dataclass(slots=True, eq=False)
class Switch(Stmt):
    subject: Expr
    cases: list[Case]


@dataclass(slots=True, eq=False)
class Return(Stmt):
    value: Expr | None


@dataclass(slots=True, eq=False)
class Exit(Stmt):
    pass


# -- declarations --------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Annotation(Node):
    name: str
    tokens: list[str]


@dataclass(slots=True, eq=False)
class Decl(Stmt):
    name: str
    annotations: list[Annotation]


@dataclass(slots=True, eq=False)
class VarDecl(Decl):
    """A variable, or with `const` a compile-time constant."""

    ref: TypeRef
    init: Expr | None
    const: bool
    sym: Any = field(default=None, init=False, repr=False)


@dataclass(slots=True, eq=False)
class Typedef(Decl):
    ref: TypeRef
    new: bool  # `type`: a distinct type, not an alias


@dataclass(slots=True, eq=False)
class EnumDecl(Decl):
    ref: TypeRef | None
    members: list[tuple[str, Expr | None, Loc]]


@dataclass(slots=True, eq=False)
class NamesDecl(Decl):
    """`error { … }` or `match_kind { … }`; `name` says which."""

    members: list[tuple[str, Loc]]


@dataclass(slots=True, eq=False)
class FieldDecl(Node):
    name: str
    ref: TypeRef


@dataclass(slots=True, eq=False)
class StructDecl(Decl):
    kind: str  # struct, header or header_union
    type_params: list[str]
    fields: list[FieldDecl]


@dataclass(slots=True, eq=False)
class ParamDecl(Node):
    name: str
    direction: str  # in, out, inout or empty
    ref: TypeRef
    default: Expr | None
    sym: Any = field(default=None, init=False, repr=False)


@dataclass(slots=True, eq=False)
class FuncDecl(Decl):
    """A function, an extern function or method (`body` None), or a constructor (`result` None)."""

    type_params: list[str]
    result: TypeRef | None
    params: list[ParamDecl]
    body: Block | None


@dataclass(slots=True, eq=False)
class ActionDecl(Decl):
    params: list[ParamDecl]
    body: Block


@dataclass(slots=True, eq=False)
class ExternDecl(Decl):
    type_params: list[str]
    methods: list[FuncDecl]


@dataclass(slots=True, eq=False)
class Instantiation(Decl):
    ref: TypeRef
    args: list[Arg]
    sym: Any = field(default=None, init=False, repr=False)


@dataclass(slots=True, eq=False)
class SelectCase(Node):
    keyset: Expr
    state: str


@dataclass(slots=True, eq=False)
class Transition(Node):
    """To `state`, or by `subject` and `cases`."""

    state: str
    subject: list[Expr]
    cases: list[SelectCase]


@dataclass(slots=True, eq=False)
class StateDecl(Decl):
    body: list[Stmt]
    transition: Transition


@dataclass(slots=True, eq=False)
class ParserDecl(Decl):
    """A parser; a mere parser type has `states` None."""

    type_params: list[str]
    params: list[ParamDecl]
    ctor: list[ParamDecl]
    locals: list[Decl]
    states: list[StateDecl] | None


@dataclass(slots=True, eq=False)
class KeyElement(Node):
    expr: Expr
    kind: str
    name: str  # control-plane name


@dataclass(slots=True, eq=False)
class ActionRef(Node):
    """An action of a table with the arguments for its directional (or, in an entry, all other) parameters."""

    name: str
    args: list[Arg]
    annotations: list[Annotation]
    sym: Any = field(default=None, init=False, repr=False)
    bound: list[Expr | None] = field(default_factory=list, init=False, repr=False)


@dataclass(slots=True, eq=False)
class Entry(Node):
    keyset: Expr
    action: ActionRef
    priority: Expr | None = None


@dataclass(slots=True, eq=False)
class TableDecl(Decl):
    keys: list[KeyElement]
    actions: list[ActionRef]
    entries: list[Entry]
    const_entries: bool
    default: ActionRef | None
    const_default: bool
    size: Expr | None
    properties: dict[str, Expr]  # counters, meters, implementation …
    sym: Any = field(default=None, init=False, repr=False)


@dataclass(slots=True, eq=False)
class ControlDecl(Decl):
    """A control; a mere control type has `body` None."""

    type_params: list[str]
    params: list[ParamDecl]
    ctor: list[ParamDecl]
    locals: list[Decl]
    body: Block | None


@dataclass(slots=True, eq=False)
class PackageDecl(Decl):
    type_params: list[str]
    params: list[ParamDecl]
