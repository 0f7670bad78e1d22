"""Statements, parsers and controls to Python functions.

A control becomes one function; its actions and tables are functions nested in it, which see its parameters and
variables. A parser's states are nested likewise, each returning the next one (None for accept).
"""

from __future__ import annotations

import ast

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.arith import Value
from fsir.backends.p4.interp.errors import Loc
from fsir.backends.p4.interp.gen_base import Scope, bare, evaluate, variable
from fsir.backends.p4.interp.gen_expr import ExprGen
from fsir.backends.p4.interp.instances import ExternInfo, Instance, TableInfo, World, table_info
from fsir.backends.p4.interp.layout import Layout, attribute
from fsir.backends.p4.interp.quote import all_of, any_of, call, constant, function, name, quote, statements
from fsir.backends.p4.interp.symbols import ActionSym, BlockSym, Callee, InstanceSym, Var
from fsir.backends.p4.interp.types import (
    VOID,
    ExternType,
    IntType,
    Type,
    by_reference,
    representation,
)
from fsir.backends.p4.interp.values import NO_ERROR, NO_MATCH, PARSER_TIMEOUT

MAX_TRANSITIONS = 100_000
Body = list[ast.stmt]


class StmtGen(ExprGen):
    """Statements of one instance."""

    def block(self, stmts: list[tree.Stmt]) -> Body:
        return [line for stmt in stmts for line in self.statement(stmt)]

    def statement(self, stmt: tree.Stmt) -> Body:
        match stmt:
            case tree.Block():
                body = self.block(stmt.body)
            case tree.VarDecl():
                body = self.declaration(stmt)
            case tree.Assign():
                body = self.assign(stmt.left, stmt.right)
            case tree.CallStmt():
                assert isinstance(stmt.call, tree.Call | tree.Const)
                body = self.call_statement(stmt.call) if isinstance(stmt.call, tree.Call) else []
            case tree.If():
                body = self.branch(stmt)
            case tree.Switch():
                body = self.switch(stmt)
            case tree.Return():
                body = self.return_(stmt)
            case tree.Exit():
                body = statements("raise ExitBlock()")
            case _:
                raise AssertionError(stmt)
        for line in body:
            if not hasattr(line, "lineno"):
                line.lineno = line.end_lineno = stmt.loc.line
                line.col_offset = line.end_col_offset = stmt.loc.col - 1
        return body

    def declaration(self, decl: tree.VarDecl) -> Body:
        if decl.const:
            return []
        var = decl.sym
        assert isinstance(var, Var)
        self.scope.owned.add(variable(var))
        value = self.fresh(var.type) if decl.init is None else self.owned(decl.init)
        return statements("_n = _v", n=variable(var), v=value)

    def assign(self, left: tree.Expr, right: tree.Expr) -> Body:
        if by_reference(representation(left.type)) and isinstance(right, tree.Name | tree.Member | tree.Index):
            return statements("_l.assign(_r)", l=self.expr(left), r=self.expr(right))
        return self.write(left, self.expr(right))

    def write(self, target: tree.Expr, value: ast.expr) -> Body:
        """A statement that stores `value`; assignments proper where Python has them."""
        if not by_reference(representation(target.type)):
            if isinstance(target, tree.Name):
                assert isinstance(target.sym, Var)
                self.scope.assigned.add(variable(target.sym))
                return statements("_n = _v", n=variable(target.sym), v=value)
            if isinstance(target, tree.Member):
                return statements("_o._f = _v", o=self.expr(target.base), f=attribute(target.name), v=value)
            if isinstance(target, tree.Slice):
                merged = self.merge(target.base.type, self.expr(target.base), value, target.high, target.low)
                return self.write(target.base, merged)
        return [ast.Expr(self.store(target)(value))]

    def branch(self, stmt: tree.If) -> Body:
        first = last = None
        link: tree.Stmt | None = stmt
        while isinstance(link, tree.If):
            made = ast.If(self.expr(link.cond), self.block([link.then]) or [ast.Pass()], [])
            made.lineno = made.end_lineno = link.loc.line
            made.col_offset = made.end_col_offset = link.loc.col - 1
            if last is None:
                first = made
            else:
                last.orelse = [made]
            last, link = made, link.other
        assert first is not None and last is not None
        if link is not None:
            last.orelse = self.block([link])
        return [first]

    def switch(self, stmt: tree.Switch) -> Body:
        held = self.temporary()
        body = statements("_t = _v", t=held, v=self.expr(stmt.subject))
        chain: Body = []
        pending: list[tuple[list[int | bool], bool]] = []
        branches: list[tuple[ast.expr | None, Body]] = []
        for case in stmt.cases:
            pending.append((case.values, any(isinstance(label, tree.AnySet) for label in case.labels)))
            if case.body is None:
                continue
            values = [value for some, _ in pending for value in some]
            default = any(final for _, final in pending)
            test = None if default else any_of([quote("_t == _v", t=held, v=value) for value in values])
            branches.append((test, self.block(case.body.body) or [ast.Pass()]))
            pending = []
        for test, lines in reversed(branches):
            chain = lines if test is None else [ast.If(test, lines, chain)]
        return body + chain

    def return_(self, stmt: tree.Return) -> Body:
        callee = self.scope.callee
        value = None if stmt.value is None else self.owned(stmt.value)
        return [ast.Return(self.results(callee, value, constant(False)))]

    def results(self, callee: Callee | None, value: ast.expr | None, exited: ast.expr) -> ast.expr | None:
        """What a generated function returns: its value and its `out` parameters; see `bare`."""
        if callee is None:
            return value
        outs = self.outs(callee)
        items = [] if value is None else [value]
        items += [name(variable(param)) for param in outs]
        if bare(callee, outs) or not outs:
            return items[0] if items else None
        if callee.kind in ("action", "control"):
            items.append(exited)
        return ast.Tuple(items, ast.Load())

    # -- calls as statements ---------------------------------------------------------------------------------

    def call_statement(self, expr: tree.Call) -> Body:
        callee = expr.target
        if isinstance(callee, str) or callee.kind == "table":
            return [ast.Expr(self.expr(expr))]
        assert isinstance(callee, Callee)
        if callee.kind in ("action", "function", "control", "parser"):
            return self.invoke(expr, callee)
        if callee.name == "extract":
            return self.extract(expr)
        if callee.name == "digest" or (callee.name == "log_msg" and len(callee.params) == 2):
            return self.record(expr, callee)
        value = self.extern_call(expr, callee)
        for param, target in zip(callee.params, expr.bound, strict=True):
            if "out" in param.direction and not by_reference(representation(param_type(expr, param, target))):
                return [ast.Expr(value)] if target is None else self.write(target, value)
        return [ast.Expr(value)]

    def record(self, expr: tree.Call, callee: Callee) -> Body:
        """Externs that keep the data they are given, as plain values."""
        first, data = expr.bound
        assert first is not None and data is not None
        method = {"digest": "digest", "log_msg": "log_msg"}[callee.name]
        return statements("RT._m(_a, plain(_d))", m=method, a=self.expr(first), d=self.expr(data))

    def extract(self, expr: tree.Call) -> Body:
        assert isinstance(expr.func, tree.Member)
        packet, target = self.receiver(expr.func.base), expr.bound[0]
        size = expr.bound[1] if len(expr.bound) > 1 else None
        template = "_h.extract(_p)" if size is None else "_h.extract_var(_p, _n)"
        length = constant(0) if size is None else self.expr(size)
        if target is None:
            low = representation(expr.bindings["T"])
            return [ast.Expr(quote(template, h=self.fresh(low), p=packet, n=length))]
        body: Body = [ast.Expr(quote(template, h=self.expr(target), p=packet, n=length))]
        if isinstance(target, tree.Member) and target.name == "next":
            body += statements("_s.next += 1", s=self.expr(target.base))
        return body

    def invoke(self, expr: tree.Call, callee: Callee) -> Body:
        """A user function, action, control or parser; `exit` inside still copies out what is to come back."""
        args, before, after = self.arguments(expr, callee)
        outs = self.outs(callee)
        target = (
            self.block_function(expr) if callee.kind in ("control", "parser") else self.instance.function_name(callee)
        )
        lines: Body = [ast.Expr(value) for value in before]
        called = call(target, args)
        if not outs and not after:
            return [*lines, ast.Expr(called)]
        result = self.temporary()
        run = statements("_t = _c", t=result, c=called)
        back: Body = [ast.Expr(value) for value in self.copy_out(expr, callee, result, after)]
        if callee.kind not in ("action", "control"):
            return [*lines, *run, *back]
        if outs:
            return [*lines, *run, *back, *statements("if _t[-1]: raise ExitBlock()", t=result)]
        guarded = statements("try: pass\nfinally: pass")[0]
        assert isinstance(guarded, ast.Try)
        guarded.body, guarded.finalbody = run, back
        return [*lines, guarded]

    def block_function(self, expr: tree.Call) -> str:
        assert isinstance(expr.func, tree.Member) and isinstance(expr.func.base, tree.Name)
        symbol = expr.func.base.sym
        assert isinstance(symbol, InstanceSym)
        return self.instance.block_name(symbol)

    # -- functions -------------------------------------------------------------------------------------------

    def enter(self, callee: Callee | None) -> Body:
        """Begin a generated function; the statements that set up its `out` parameters."""
        self.scopes.append(Scope(callee))
        body: Body = []
        for param in callee.params if callee else []:
            held = variable(param)
            self.scope.owned.add(held)
            if param.direction == "out":
                if by_reference(representation(param.type)):
                    body += statements("_n.reset()", n=held)
                else:
                    body += statements("_n = _v", n=held, v=self.fresh(param.type))
        return body

    def leave(self, identifier: str, callee: Callee | None, body: Body) -> ast.FunctionDef:
        """End it: the finished function definition."""
        scope = self.scopes.pop()
        params = []
        if callee is not None:
            outs = self.outs(callee)
            params = [variable(p) for p in callee.params if p.direction != "out" or p not in outs]
            if outs and callee.kind in ("action", "control"):
                guarded = statements("try: pass\nexcept ExitBlock: pass")[0]
                assert isinstance(guarded, ast.Try)
                guarded.body = body or [ast.Pass()]
                guarded.handlers[0].body = [ast.Return(self.results(callee, None, constant(True)))]
                body = [guarded]
            if outs:
                body = [*body, ast.Return(self.results(callee, None, constant(False)))]
        outer = sorted(scope.assigned - scope.owned)
        if outer:
            body = [ast.Nonlocal(outer), *body]
        return function(identifier, params, body)

    def routine(self, callee: Callee, block: tree.Block) -> ast.FunctionDef:
        """A function or action."""
        body = self.enter(callee)
        body += self.block(block.body)
        return self.leave(self.instance.function_name(callee), callee, body)


def param_type(expr: tree.Call, param: Var, target: tree.Expr | None) -> Type:
    return target.type if target is not None else expr.bindings.get(str(param.type), param.type)


class BlockGen(StmtGen):
    """Parsers, controls and tables."""

    def __init__(self, layout: Layout, instance: Instance, output: Body) -> None:
        super().__init__(layout, instance)
        self.output = output

    def block_instance(self, symbol: InstanceSym, identifier: str) -> None:
        """Append the function of the parser or control that `symbol` instantiates."""
        block = symbol.of
        assert isinstance(block, BlockSym)
        body = self.enter(block.apply)
        body += self.locals(block.decl.locals)
        if isinstance(block.decl, tree.ParserDecl):
            body += self.states(block.decl)
        else:
            assert block.decl.body is not None
            body += self.block(block.decl.body.body)
        self.output.append(self.leave(identifier, block.apply, body))

    def locals(self, decls: list[tree.Decl]) -> Body:
        for decl in decls:  # first: tables name their counters, bodies their instances
            if isinstance(decl, tree.Instantiation):
                self.instantiate(decl)
        body: Body = []
        for decl in decls:
            match decl:
                case tree.VarDecl():
                    body += self.statement(decl)
                case tree.ActionDecl():
                    body.append(self.action(decl))
                case tree.TableDecl():
                    body.append(self.table(decl))
        return body

    def instantiate(self, decl: tree.Instantiation) -> None:
        symbol = decl.sym
        assert isinstance(symbol, InstanceSym)
        world, name_ = self.instance.world, self.instance.qualified(decl.name, decl.annotations)
        args = [evaluate(arg, self.instance.constants) for arg in symbol.args]
        if symbol.type is not None:
            held = extern_variable(world, symbol, name_, args)
            self.instance.externs[symbol] = held
            return
        assert isinstance(symbol.of, BlockSym)
        identifier = f"block_{world.number()}_{decl.name}"
        constants: dict[Var, Value] = dict(zip(symbol.of.ctor.params, args, strict=True))
        inner = BlockGen(self.layout, Instance(world, name_, constants), self.output)
        inner.block_instance(symbol, identifier)
        self.instance.blocks[symbol] = identifier

    def action(self, decl: tree.ActionDecl) -> ast.FunctionDef:
        callee = Callee("action", decl.name, [], [param.sym for param in decl.params], [], VOID, decl)
        return self.routine(callee, decl.body)

    # -- tables ----------------------------------------------------------------------------------------------

    def table(self, decl: tree.TableDecl) -> ast.FunctionDef:
        """`apply_<table>()`: looks the key up, runs the action, returns the entry (hit, action number)."""
        info = table_info(self.instance, decl)
        self.instance.world.tables.append(info)
        self.scopes.append(Scope(None))
        keys = [self.key(key) for key in decl.keys]
        key = keys[0] if len(keys) == 1 else ast.Tuple(keys, ast.Load())
        body = statements("entry = _t.lookup(_k)", t=info.variable, k=key)
        if info.counter is not None:
            body += statements("entry.count(RT.length)")
        chain: Body = []
        for number, ref in reversed(list(enumerate(decl.actions))):
            test = quote("number == _n", n=number)
            chain = [ast.If(test, self.run_action(ref, info), chain)]
        body += statements("number = entry.action")
        body += chain
        body += statements("return entry")
        return self.leave(f"apply_{decl.name}", None, body)

    def key(self, key: tree.KeyElement) -> ast.expr:
        value = self.expr(key.expr)
        low = representation(key.expr.type)
        if isinstance(low, IntType):
            return quote("_v & _m", v=value, m=(1 << low.width) - 1)
        return value

    def run_action(self, ref: tree.ActionRef, info: TableInfo) -> Body:
        symbol = ref.sym
        assert isinstance(symbol, ActionSym)
        callee = symbol.callee
        data = [param for param in callee.params if not param.direction]
        call_ = tree.Call(ref.loc, tree.Name(ref.loc, ref.name), [], [])
        call_.target, call_.type = callee, VOID
        values: list[tree.Expr | None] = list(ref.bound)
        for position, param in enumerate(data):
            values.append(EntryData(ref.loc, position, param.type))
        call_.bound = values
        return self.invoke(call_, callee)

    def expr(self, expr: tree.Expr) -> ast.expr:
        if isinstance(expr, EntryData):
            return quote("entry.args[_i]", i=expr.position)
        return super().expr(expr)

    # -- parser states ---------------------------------------------------------------------------------------

    def states(self, decl: tree.ParserDecl) -> Body:
        assert decl.states is not None
        body: Body = []
        for state in decl.states:
            self.scopes.append(Scope(None))
            lines = self.block(state.body)
            lines += self.transition(state.transition)
            body.append(self.leave(f"state_{state.name}", None, lines))
        return body + statements(
            f"state = state_start\nfor _step in range({MAX_TRANSITIONS}):\n"
            f"    state = state()\n    if state is None: break\nelse: reject({PARSER_TIMEOUT})"
        )

    def go(self, state: str) -> Body:
        if state == "accept":
            return statements("return None")
        if state == "reject":
            return statements(f"raise Reject({NO_ERROR})")
        return statements("return _s", s=f"state_{state}")

    def transition(self, transition: tree.Transition) -> Body:
        if not transition.subject:
            return self.go(transition.state)
        body: Body = []
        held = []
        for expr in transition.subject:
            held.append(self.temporary())
            body += statements("_t = _v", t=held[-1], v=self.expr(expr))
        for case in transition.cases:
            assert isinstance(case.keyset, tree.ListExpr)
            pairs = zip(held, transition.subject, case.keyset.items, strict=True)
            tests = [test for h, subject, item in pairs for test in self.test(h, subject.type, item)]
            if not tests:
                return body + self.go(case.state)
            body.append(ast.If(all_of(tests), self.go(case.state), []))
        return body + statements(f"raise Reject({NO_MATCH})")

    def test(self, held: str, type_: Type, item: tree.Expr) -> list[ast.expr]:
        """Whether the value `held` is in the set `item`; nothing for a set that holds everything."""
        match item:
            case tree.AnySet():
                return []
            case tree.Binary(op="..", left=left, right=right):
                return [quote("_a <= _h <= _b", a=self.expr(left), h=held, b=self.expr(right))]
            case tree.Binary(op="&&&", left=tree.Const(value=value), right=tree.Const(value=mask)):
                assert not isinstance(value, str) and not isinstance(mask, str)
                return [quote("_h & _m == _v", h=held, m=mask, v=value & mask)]
        return [quote("_h == _v", h=held, v=self.expr(item))]


class EntryData(tree.Expr):
    """An argument that comes from the matched table entry."""

    __slots__ = ("position",)

    def __init__(self, loc: Loc, position: int, type_: Type) -> None:
        super().__init__(loc)
        self.position = position
        self.type = type_


def extern_variable(world: World, symbol: InstanceSym, qualified: str, args: list[Value]) -> str:
    """Register an extern object; the name of the variable that will hold it."""
    held = f"ext_{world.number()}_{symbol.name}"
    assert isinstance(symbol.type, ExternType)
    world.externs.append(ExternInfo(held, qualified, symbol.type, args))
    return held
