"""Statements, parser states and key sets."""

from __future__ import annotations

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.check_call import CallChecker
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.symbols import TableSym, Var
from fsir.backends.p4.interp.types import (
    BOOL,
    ERROR,
    INTEGER,
    STRING,
    VOID,
    ActionRun,
    EnumType,
    ExternType,
    Type,
    is_number,
    representation,
)

FINAL_STATES = ("accept", "reject")


class StmtChecker(CallChecker):
    """Adds statements; `self.result` is the return type of the function being checked, None outside of one."""

    def __init__(self) -> None:
        super().__init__()
        self.result: Type | None = None

    def block(self, block: tree.Block) -> None:
        with self.scopes.inner():
            for stmt in block.body:
                self.statement(stmt)

    def statement(self, stmt: tree.Stmt) -> None:
        match stmt:
            case tree.Block():
                self.block(stmt)
            case tree.VarDecl():
                self.variable(stmt)
            case tree.Assign():
                self.assign(stmt)
            case tree.CallStmt():
                stmt.call = self.check(stmt.call)
            case tree.If():
                self.branch(stmt)
            case tree.Switch():
                self.switch(stmt)
            case tree.Return():
                self.return_(stmt)
            case tree.Exit():
                if self.context in ("parser", "function"):
                    raise P4Error(stmt.loc, f"exit cannot be used in a {self.context}")
            case _:
                raise P4Error(stmt.loc, "this declaration cannot stand among statements")

    def variable(self, decl: tree.VarDecl) -> None:
        type_ = self.resolve(decl.ref)
        if isinstance(type_, ExternType) or type_ in (VOID, STRING) or (type_ == INTEGER and not decl.const):
            raise P4Error(decl.ref.loc, f"a variable cannot have type {type_}")
        init = None if decl.init is None else self.coerce(self.check(decl.init), type_, f"'{decl.name}'")
        var = Var(decl.name, type_, decl.loc, "const" if decl.const else "var")
        if decl.const:
            assert init is not None
            if isinstance(init, tree.Const):
                var.value = init.value
            elif isinstance(init, tree.ListExpr | tree.RecordExpr) and constant_tree(init):
                var.init = init
            else:
                raise P4Error(init.loc, f"the value of constant '{decl.name}' must be known at compile time")
        decl.init, decl.sym = init, var
        self.scopes.add(decl.name, var, decl.loc)

    def assign(self, stmt: tree.Assign) -> None:
        stmt.left = self.check(stmt.left)
        self.require_lvalue(stmt.left)
        stmt.right = self.coerce(self.check(stmt.right), stmt.left.type, "assignment")

    def branch(self, stmt: tree.If) -> None:
        link: tree.Stmt | None = stmt
        while isinstance(link, tree.If):  # along else-if chains without recursion
            link.cond = self.condition(link.cond)
            with self.scopes.inner():
                self.statement(link.then)
            link = link.other
        if link is not None:
            with self.scopes.inner():
                self.statement(link)

    def return_(self, stmt: tree.Return) -> None:
        if self.context == "parser":
            raise P4Error(stmt.loc, "return cannot be used in a parser")
        if stmt.value is None:
            if self.result not in (None, VOID):
                raise P4Error(stmt.loc, f"this function returns {self.result}: give a value")
            return
        if self.result in (None, VOID):
            raise P4Error(stmt.loc, "nothing can be returned here")
        assert self.result is not None
        stmt.value = self.coerce(self.check(stmt.value), self.result, "return")

    # -- switch ----------------------------------------------------------------------------------------------

    def switch(self, stmt: tree.Switch) -> None:
        if self.context == "parser":
            raise P4Error(stmt.loc, "switch cannot be used in a parser: use select")
        stmt.subject = self.check(stmt.subject)
        type_ = stmt.subject.type
        seen: set[object] = set()
        for position, case in enumerate(stmt.cases):
            for label in case.labels:
                value = self.action_label(label, type_) if isinstance(type_, ActionRun) else self.label(label, type_)
                if value in seen:
                    raise P4Error(label.loc, "this label occurs twice")
                seen.add(value)
                if value is not None:
                    case.values.append(value)
            if any(isinstance(label, tree.AnySet) for label in case.labels) and position != len(stmt.cases) - 1:
                raise P4Error(case.loc, "default must be the last case")
            if case.body is not None:
                self.block(case.body)
        if stmt.cases and stmt.cases[-1].body is None:
            raise P4Error(stmt.cases[-1].loc, "the last case needs a body")

    def action_label(self, label: tree.Expr, subject: ActionRun) -> int | None:
        """The position of the named action in the table's list, None for default."""
        if isinstance(label, tree.AnySet):
            return None
        table = self.scopes.find(subject.table)
        assert isinstance(table, TableSym)
        if isinstance(label, tree.Name):
            for number, ref in enumerate(table.decl.actions):
                if ref.name == label.name:
                    return number
        raise P4Error(label.loc, f"this is not an action of table '{subject.table}'")

    def label(self, label: tree.Expr, type_: Type) -> int | bool | None:
        if isinstance(label, tree.AnySet):
            return None
        if not matchable(type_):
            raise P4Error(label.loc, f"switch over {type_} is not possible")
        value = self.coerce(self.check(label), type_, "label")
        if not isinstance(value, tree.Const) or isinstance(value.value, str):
            raise P4Error(label.loc, "a label must be known at compile time")
        return value.value

    # -- parser states ---------------------------------------------------------------------------------------

    def state(self, state: tree.StateDecl, names: set[str]) -> None:
        with self.scopes.inner():
            for stmt in state.body:
                self.statement(stmt)
            self.transition(state.transition, names)

    def transition(self, transition: tree.Transition, names: set[str]) -> None:
        if not transition.subject:
            self.require_state(transition, transition.state, names)
            return
        transition.subject = [self.check(expr) for expr in transition.subject]
        for expr in transition.subject:
            if not matchable(expr.type):
                raise P4Error(expr.loc, f"select over {expr.type} is not possible")
        types = [expr.type for expr in transition.subject]
        for case in transition.cases:
            self.require_state(case, case.state, names)
            case.keyset = tree.ListExpr(case.keyset.loc, self.keyset(case.keyset, types))

    def require_state(self, node: tree.Node, name: str, names: set[str]) -> None:
        if name not in names:
            raise P4Error(node.loc, f"state '{name}' is not declared")

    # -- key sets --------------------------------------------------------------------------------------------

    def keyset(self, expr: tree.Expr, types: list[Type]) -> list[tree.Expr]:
        """One checked set per element of the subject: Const, AnySet, or Binary `&&&` / `..` of constants."""
        if isinstance(expr, tree.AnySet):
            return [tree.AnySet(expr.loc, expr.text) for _ in types]
        items = expr.items if isinstance(expr, tree.ListExpr) else [expr]
        if len(items) != len(types):
            raise P4Error(expr.loc, f"{len(items)} sets given where {len(types)} are expected")
        return [self.key_element(item, type_) for item, type_ in zip(items, types, strict=True)]

    def key_element(self, expr: tree.Expr, type_: Type) -> tree.Expr:
        if isinstance(expr, tree.AnySet):
            return expr
        if isinstance(expr, tree.Binary) and expr.op in ("&&&", ".."):
            low = representation(type_)
            if not is_number(low):
                raise P4Error(expr.loc, f"'{expr.op}' needs a number to match, not {type_}")
            expr.left, expr.right = self.constant_of(expr.left, type_), self.constant_of(expr.right, type_)
            assert isinstance(expr.left, tree.Const) and isinstance(expr.right, tree.Const)
            if expr.op == ".." and expr.left.value > expr.right.value:  # type: ignore[operator]
                raise P4Error(expr.loc, "this range is empty")
            return expr
        return self.constant_of(expr, type_)

    def constant_of(self, expr: tree.Expr, type_: Type) -> tree.Expr:
        checked = self.check(expr)
        low = representation(type_)
        if checked.type != type_ and checked.type == low:
            checked = self.converted(expr.loc, checked, type_)
        found = self.coerce(checked, type_ if checked.type == type_ else low, "key set")
        if not isinstance(found, tree.Const):
            raise P4Error(expr.loc, "a key set must be known at compile time")
        return found


def matchable(type_: Type) -> bool:
    low = representation(type_)
    return is_number(low) or low in (BOOL, ERROR) or isinstance(low, EnumType)


def constant_tree(expr: tree.Expr) -> bool:
    """A list or record of constants."""
    if isinstance(expr, tree.ListExpr):
        return all(constant_tree(item) for item in expr.items)
    if isinstance(expr, tree.RecordExpr):
        return all(constant_tree(value) for _, value in expr.fields)
    return isinstance(expr, tree.Const)


def falls_through(stmt: tree.Stmt) -> bool:
    """Whether control can reach the end of `stmt`."""
    match stmt:
        case tree.Return() | tree.Exit():
            return False
        case tree.Block():
            return all(falls_through(inner) for inner in stmt.body)
        case tree.If():
            return stmt.other is None or falls_through(stmt.then) or falls_through(stmt.other)
        case tree.Switch():
            bodies = [case.body for case in stmt.cases if case.body is not None]
            total = any(isinstance(label, tree.AnySet) for case in stmt.cases for label in case.labels)
            return not total or any(falls_through(body) for body in bodies)
    return True
