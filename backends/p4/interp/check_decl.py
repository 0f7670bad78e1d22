"""Declarations: types, externs, actions, tables, parsers, controls, the package; `check_program` does a whole text."""

from __future__ import annotations

from dataclasses import dataclass

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.check_call import compile_time
from fsir.backends.p4.interp.check_stmt import FINAL_STATES, StmtChecker, falls_through
from fsir.backends.p4.interp.check_table import TableChecker
from fsir.backends.p4.interp.check_v1model import check_role
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.symbols import (
    ActionSym,
    BlockSym,
    Callee,
    ExternSym,
    InstanceSym,
    Overloads,
    PackageSym,
    StateSym,
    TypeSym,
    Var,
)
from fsir.backends.p4.interp.types import (
    BOOL,
    ERROR,
    VOID,
    BitType,
    EnumType,
    ExternType,
    IntType,
    NewType,
    StructType,
    TupleType,
    Type,
    TypeVar,
    VarbitType,
    by_reference,
    is_number,
    representation,
)

PARAMETER_ORDER = {"in": 0, "out": 0, "inout": 0, "": 1}


OBJECTS = ("counter", "direct_counter", "meter", "direct_meter", "register")


@dataclass(eq=False, slots=True)
class Package:
    """`main`: the blocks of V1Switch in the order of its parameters, each with constructor arguments."""

    decl: tree.Instantiation
    blocks: list[InstanceSym]


class DeclChecker(TableChecker, StmtChecker):
    """Checks declarations in order; afterwards `main` is the package."""

    def __init__(self) -> None:
        super().__init__()
        self.match_kinds: set[str] = set()
        self.structs: list[StructType] = []
        self.functions: list[tree.FuncDecl] = []
        self.actions: list[ActionSym] = []
        self.instances: list[InstanceSym] = []
        self.anonymous: list[InstanceSym] = []
        self.main: Package | None = None

    def declare(self, decl: tree.Decl) -> None:
        match decl:
            case tree.VarDecl():
                self.variable(decl)
            case tree.Typedef():
                self.typedef(decl)
            case tree.EnumDecl():
                self.enum(decl)
            case tree.NamesDecl():
                self.names(decl)
            case tree.StructDecl():
                self.struct(decl)
            case tree.FuncDecl():
                self.function(decl)
            case tree.ExternDecl():
                self.extern(decl)
            case tree.ActionDecl():
                self.actions.append(self.action(decl, in_control=False))
            case tree.ParserDecl():
                self.parser(decl)
            case tree.ControlDecl():
                self.control(decl)
            case tree.PackageDecl():
                self.scopes.add(decl.name, PackageSym(decl), decl.loc)
            case tree.Instantiation():
                self.top_instantiation(decl)
            case _:
                raise P4Error(decl.loc, "this declaration cannot stand at top level")

    # -- types -----------------------------------------------------------------------------------------------

    def typedef(self, decl: tree.Typedef) -> None:
        type_ = self.resolve(decl.ref)
        if decl.new:
            if not isinstance(type_, BitType | IntType | NewType) and type_ != BOOL:
                raise P4Error(decl.loc, f"a new type cannot be made of {type_}")
            type_ = NewType(decl.name, type_)
        self.scopes.add(decl.name, TypeSym(type_), decl.loc)

    def enum(self, decl: tree.EnumDecl) -> None:
        base = None if decl.ref is None else self.resolve(decl.ref)
        if base is not None and not isinstance(base, BitType | IntType):
            raise P4Error(decl.loc, f"an enum cannot be represented by {base}")
        enum = EnumType(decl.name, base)
        for number, (name, value, loc) in enumerate(decl.members):
            if name in enum.members:
                raise P4Error(loc, f"enum {enum} has '{name}' twice")
            if (value is None) != (base is None):
                raise P4Error(loc, f"member '{name}' needs a value" if value is None else "this enum takes no values")
            enum.members[name] = number
            if value is not None and base is not None:
                const = self.coerce(self.check(value), base)
                if not isinstance(const, tree.Const):
                    raise P4Error(loc, f"the value of '{name}' must be known at compile time")
                enum.members[name] = int(const.value)
        self.scopes.add(decl.name, TypeSym(enum), decl.loc)

    def names(self, decl: tree.NamesDecl) -> None:
        for name, loc in decl.members:
            if decl.name == "match_kind":
                self.match_kinds.add(name)
            elif name in self.errors:
                raise P4Error(loc, f"error '{name}' is already declared")
            else:
                self.errors[name] = len(self.errors)

    def struct(self, decl: tree.StructDecl) -> None:
        if decl.type_params:
            raise P4Error(decl.loc, f"generic {decl.kind} '{decl.name}' is not supported")
        struct = StructType(decl.name, decl.kind)
        for field in decl.fields:
            if field.name in struct.fields:
                raise P4Error(field.loc, f"{decl.kind} {struct} has '{field.name}' twice")
            type_ = self.resolve(field.ref)
            if not field_allowed(decl.kind, type_):
                raise P4Error(field.ref.loc, f"a {decl.kind} cannot have a field of type {type_}")
            struct.fields[field.name] = type_
        if sum(isinstance(type_, VarbitType) for type_ in struct.fields.values()) > 1:
            raise P4Error(decl.loc, f"header {struct} has more than one varbit field")
        self.structs.append(struct)
        self.scopes.add(decl.name, TypeSym(struct), decl.loc)

    # -- functions, externs, actions -------------------------------------------------------------------------

    def callee(self, kind: str, decl: tree.Decl, params: list[tree.ParamDecl], result: Type, owner: str = "") -> Callee:
        """Resolve parameters; type parameters must be in scope."""
        found = []
        defaults: list[tree.Expr | None] = []
        for param in params:
            type_ = self.resolve(param.ref)
            if param.direction and isinstance(type_, ExternType):
                raise P4Error(param.loc, f"'{param.name}' is an extern object: it cannot have a direction")
            if type_ == VOID:
                raise P4Error(param.loc, f"'{param.name}' cannot be void")
            var = Var(param.name, type_, param.loc, "param", param.direction)
            param.sym = var
            found.append(var)
            if param.default is None:
                defaults.append(None)
            else:
                defaults.append(self.coerce(self.check(param.default), type_, f"'{param.name}'"))
        names = getattr(decl, "type_params", [])
        return Callee(kind, decl.name, list(names), found, defaults, result, decl, owner)

    def add_type_params(self, names: list[str], loc: Loc) -> None:
        for name in names:
            self.scopes.add(name, TypeSym(TypeVar(name)), loc)

    def prototype(self, kind: str, decl: tree.FuncDecl, owner: str = "") -> Callee:
        with self.scopes.inner():
            self.add_type_params(decl.type_params, decl.loc)
            result = VOID if decl.result is None else self.resolve(decl.result)
            return self.callee(kind, decl, decl.params, result, owner)

    def function(self, decl: tree.FuncDecl) -> None:
        if decl.body is not None and decl.type_params:
            raise P4Error(decl.loc, f"generic function '{decl.name}' is not supported")
        callee = self.prototype("extern" if decl.body is None else "function", decl)
        if decl.body is not None:
            self.body("function", callee, decl.body, callee.result)
            if callee.result != VOID and falls_through(decl.body):
                raise P4Error(decl.loc, f"function '{decl.name}' can end without returning a value")
            self.functions.append(decl)
        existing = self.scopes.stack[0].get(decl.name)
        if isinstance(existing, Overloads):
            if any(len(other.params) == len(callee.params) for other in existing.callees):
                raise P4Error(decl.loc, f"'{decl.name}' is already declared with {len(callee.params)} parameters")
            existing.callees.append(callee)
        else:
            self.scopes.add(decl.name, Overloads(decl.name, [callee]), decl.loc)

    def callees(self, name: str) -> list[Callee]:
        """The functions of that name at top level."""
        found = self.scopes.find(name, absolute=True)
        return found.callees if isinstance(found, Overloads) else []

    def body(self, context: str, callee: Callee, block: tree.Block, result: Type | None) -> None:
        """Check `block` with the parameters in scope."""
        outer = self.context, self.result
        self.context, self.result = context, result
        with self.scopes.inner():
            for param in callee.params:
                self.scopes.add(param.name, param, param.loc)
            self.block(block)
        self.context, self.result = outer

    def extern(self, decl: tree.ExternDecl) -> None:
        symbol = ExternSym(decl)
        self.scopes.add(decl.name, symbol, decl.loc)
        with self.scopes.inner():
            self.add_type_params(decl.type_params, decl.loc)
            for method in decl.methods:
                callee = self.prototype("method", method, decl.name)
                if method.result is None:
                    symbol.ctors.append(callee)
                else:
                    symbol.methods.setdefault(method.name, []).append(callee)

    def action(self, decl: tree.ActionDecl, in_control: bool) -> ActionSym:
        ranks = [PARAMETER_ORDER[param.direction] for param in decl.params]
        if ranks != sorted(ranks):
            raise P4Error(decl.loc, f"action '{decl.name}': parameters without direction must come last")
        callee = self.callee("action", decl, decl.params, VOID)
        self.body("action", callee, decl.body, None)
        self.warn_about_conditions(decl.name, decl.body.body)
        symbol = ActionSym(callee, decl, in_control)
        self.scopes.add(decl.name, symbol, decl.loc)
        return symbol

    def warn_about_conditions(self, name: str, stmts: list[tree.Stmt], conditional: bool = False) -> None:
        """p4c turns conditions in actions into selections, which only works for assignments."""
        for stmt in stmts:
            match stmt:
                case tree.Block(body=body):
                    self.warn_about_conditions(name, body, conditional)
                case tree.If(then=then, other=other):
                    branches = [then] if other is None else [then, other]
                    self.warn_about_conditions(name, branches, True)
                case tree.CallStmt() | tree.Exit() if conditional:
                    self.warn(stmt.loc, f"action '{name}' does this under a condition, which BMv2's compiler refuses")
                case tree.Switch():
                    self.warn(stmt.loc, f"action '{name}' has a switch, which BMv2's compiler refuses")

    # -- parsers and controls --------------------------------------------------------------------------------

    def block_symbol(self, kind: str, decl: tree.ParserDecl | tree.ControlDecl) -> BlockSym:
        apply = self.callee(kind, decl, decl.params, VOID)
        ctor = self.callee("constructor", decl, decl.ctor, VOID)
        for param in ctor.params:
            if param.direction:
                raise P4Error(param.loc, "a constructor parameter has no direction")
            param.kind = "ctor"
        return BlockSym(kind, decl, apply, ctor)

    def enter_block(self, symbol: BlockSym) -> None:
        """Parameters into the scope; generic parsers and controls may only be declared as types."""
        decl = symbol.decl
        if decl.type_params:
            raise P4Error(decl.loc, f"generic {symbol.kind} '{decl.name}' is not supported")
        for param in symbol.apply.params + symbol.ctor.params:
            self.scopes.add(param.name, param, param.loc)

    def parser(self, decl: tree.ParserDecl) -> None:
        self.context = "parser"
        with self.scopes.inner():
            self.add_type_params(decl.type_params, decl.loc)
            symbol = self.block_symbol("parser", decl)
            if decl.states is not None:
                self.enter_block(symbol)
                for local in decl.locals:
                    self.local(local)
                names = self.state_names(decl, decl.states)
                for state in decl.states:
                    self.state(state, names)
        self.finish_block(symbol)

    def state_names(self, decl: tree.ParserDecl, states: list[tree.StateDecl]) -> set[str]:
        names = set(FINAL_STATES)
        for state in states:
            if state.name in names:
                raise P4Error(state.loc, f"state '{state.name}' is already declared")
            names.add(state.name)
            self.scopes.add(state.name, StateSym(state.name), state.loc)
        if "start" not in names:
            raise P4Error(decl.loc, f"parser '{decl.name}' has no state 'start'")
        return names

    def control(self, decl: tree.ControlDecl) -> None:
        self.context = "control"
        with self.scopes.inner():
            self.add_type_params(decl.type_params, decl.loc)
            symbol = self.block_symbol("control", decl)
            if decl.body is not None:
                self.enter_block(symbol)
                for local in decl.locals:
                    self.local(local)
                self.block(decl.body)
        self.finish_block(symbol)

    def finish_block(self, symbol: BlockSym) -> None:
        self.context = ""
        symbol.decl.locals.extend(self.anonymous_decls())
        self.scopes.add(symbol.decl.name, symbol, symbol.decl.loc)

    def anonymous_instance(self, instance: InstanceSym) -> None:
        self.anonymous.append(instance)

    def anonymous_decls(self) -> list[tree.Decl]:
        """Direct applications (`Control.apply()`) as instantiations of the block they stand in."""
        found: list[tree.Decl] = []
        for instance in self.anonymous:
            decl = tree.Instantiation(instance.decl.loc, instance.name, [], tree.SimpleRef(instance.decl.loc, "_"), [])
            decl.sym = instance
            found.append(decl)
        self.anonymous = []
        return found

    def local(self, decl: tree.Decl) -> None:
        match decl:
            case tree.VarDecl():
                self.variable(decl)
            case tree.ActionDecl():
                if self.context == "parser":
                    raise P4Error(decl.loc, "an action cannot be declared in a parser")
                self.action(decl, in_control=True)
            case tree.TableDecl():
                if self.context == "parser":
                    raise P4Error(decl.loc, "a table cannot be declared in a parser")
                self.table(decl)
            case tree.Instantiation():
                self.instantiation(decl)
            case _:
                raise P4Error(decl.loc, "this declaration cannot stand here")

    # -- instances -------------------------------------------------------------------------------------------

    def instantiation(self, decl: tree.Instantiation) -> InstanceSym:
        symbol = self.scopes.find(decl.ref.name) if isinstance(decl.ref, tree.NamedRef) else None
        if isinstance(symbol, ExternSym):
            type_ = self.resolve(decl.ref)
            assert isinstance(type_, ExternType)
            ctors = [ctor for ctor in symbol.ctors if ctor.required() <= len(decl.args) <= len(ctor.params)]
            if not ctors:
                raise P4Error(decl.loc, f"'{type_}' has no constructor with {len(decl.args)} arguments")
            self.check_extern_type(decl.ref.loc, type_)
            instance = InstanceSym(decl.name, symbol, type_, [], decl, decl.annotations)
            instance.args = self.constructor_arguments(decl.loc, decl.args, ctors[0])
        elif isinstance(symbol, BlockSym):
            if symbol.kind != self.context and self.context:
                raise P4Error(decl.loc, f"a {symbol.kind} cannot be instantiated in a {self.context}")
            instance = self.block_instance(decl, symbol)
        else:
            name = getattr(decl.ref, "name", "this")
            raise P4Error(decl.ref.loc, f"'{name}' cannot be instantiated")
        decl.sym = instance
        self.scopes.add(decl.name, instance, decl.loc)
        return instance

    def block_instance(self, decl: tree.Instantiation, symbol: BlockSym) -> InstanceSym:
        if (symbol.decl.states if isinstance(symbol.decl, tree.ParserDecl) else symbol.decl.body) is None:
            raise P4Error(decl.ref.loc, f"'{symbol.decl.name}' is only the type of a {symbol.kind}")
        args = self.constructor_arguments(decl.loc, decl.args, symbol.ctor)
        return InstanceSym(decl.name, symbol, None, args, decl, decl.annotations)

    def check_extern_type(self, loc: Loc, type_: ExternType) -> None:
        if type_.name in ("packet_in", "packet_out"):
            raise P4Error(loc, f"{type_} cannot be instantiated")
        if type_.name not in OBJECTS:
            raise P4Error(loc, f"extern objects of type {type_} are not known to this interpreter")
        if type_.name == "register" and not is_number(representation(type_.args[0])):
            raise P4Error(loc, f"a register of {type_.args[0]} is not supported: only bit<N> and int<N>")

    def constructor_arguments(self, loc: Loc, args: list[tree.Arg], ctor: Callee) -> list[tree.Expr]:
        found = []
        for value, param in zip(self.match_arguments(loc, args, ctor), ctor.params, strict=True):
            assert value is not None
            checked = self.coerce(value, param.type, f"constructor argument '{param.name}'")
            if not compile_time(checked):
                raise P4Error(value.loc, f"constructor argument '{param.name}' must be known at compile time")
            found.append(checked)
        return found

    def top_instantiation(self, decl: tree.Instantiation) -> None:
        symbol = self.scopes.find(decl.ref.name) if isinstance(decl.ref, tree.NamedRef) else None
        if not isinstance(symbol, PackageSym):
            self.instances.append(self.instantiation(decl))
            return
        if decl.name != "main":
            raise P4Error(decl.loc, "the package instance must be called 'main'")
        if symbol.decl.name != "V1Switch":
            raise P4Error(decl.loc, f"package '{symbol.decl.name}' is not supported: only V1Switch of v1model")
        names = [param.name for param in symbol.decl.params]
        given: dict[str, tree.Arg] = {}
        for position, arg in enumerate(decl.args):
            name = arg.name or (names[position] if position < len(names) else "")
            if name not in names or name in given:
                raise P4Error(arg.loc, f"'{symbol.decl.name}' takes the blocks {', '.join(names)}, once each")
            given[name] = arg
        missing = [name for name in names if name not in given]
        if missing:
            raise P4Error(decl.loc, f"'{symbol.decl.name}' needs an argument for '{missing[0]}'")
        bindings: dict[str, Type] = {}
        blocks = [self.package_block(given[param.name], param, bindings) for param in symbol.decl.params]
        for name, block in zip(names, blocks, strict=True):
            check_role(name, block)
        self.main = Package(decl, blocks)

    def package_block(self, arg: tree.Arg, param: tree.ParamDecl, bindings: dict[str, Type]) -> InstanceSym:
        """The block given for `param`, whose signature must be that of the declared block type."""
        value = arg.value
        if isinstance(value, tree.Name) and isinstance(self.scopes.find(value.name), InstanceSym):
            found = self.scopes.find(value.name)
            assert isinstance(found, InstanceSym)
            instance = found
        elif isinstance(value, tree.Call) and isinstance(value.func, tree.TypeExpr):
            ref = value.func.ref
            symbol = self.scopes.find(ref.name) if isinstance(ref, tree.NamedRef) else None
            if not isinstance(symbol, BlockSym):
                raise P4Error(arg.loc, "a parser or control is expected here")
            decl = tree.Instantiation(arg.loc, symbol.decl.name, [], ref, value.args)
            instance = self.block_instance(decl, symbol)
        else:
            raise P4Error(arg.loc, "a parser or control is expected here")
        assert isinstance(param.ref, tree.NamedRef)
        wanted = self.scopes.find(param.ref.name)
        assert isinstance(wanted, BlockSym)
        names = [arg.name for arg in param.ref.args if isinstance(arg, tree.NamedRef)]
        local = {inner: TypeVar(outer) for inner, outer in zip(wanted.decl.type_params, names, strict=True)}
        self.require_signature(arg.loc, instance, wanted, local, bindings)
        return instance

    def require_signature(
        self, loc: Loc, instance: InstanceSym, wanted: BlockSym, local: dict[str, TypeVar], bindings: dict[str, Type]
    ) -> None:
        block = instance.of
        if not isinstance(block, BlockSym) or block.kind != wanted.kind:
            raise P4Error(loc, f"'{instance.name}' is not a {wanted.kind}")
        given, expected = block.apply.params, wanted.apply.params
        if len(given) != len(expected):
            raise P4Error(loc, f"'{block.decl.name}' has {len(given)} parameters where {len(expected)} are expected")
        for mine, theirs in zip(given, expected, strict=True):
            type_: Type = theirs.type
            if isinstance(type_, TypeVar):
                type_ = bindings.setdefault(local[type_.name].name, mine.type)
            if mine.type != type_ or mine.direction != theirs.direction:
                want = f"{theirs.direction} {type_}".strip()
                raise P4Error(mine.loc, f"parameter '{mine.name}' of '{block.decl.name}' must be '{want}'")


def field_allowed(kind: str, type_: Type) -> bool:
    if kind == "header_union":
        return isinstance(type_, StructType) and type_.kind == "header"
    low = representation(type_)
    if kind == "header":
        if isinstance(low, StructType):
            return low.kind == "struct" and all(field_allowed("header", inner) for inner in low.fields.values())
        return isinstance(low, BitType | IntType | VarbitType) or low == BOOL
    scalar = isinstance(low, BitType | IntType | VarbitType | EnumType | TupleType) or low in (BOOL, ERROR)
    return scalar or by_reference(type_)
