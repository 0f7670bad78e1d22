"""From P4 text to a program that can run: `load`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType

from fsir.backends.p4.interp.check_decl import DeclChecker, Package
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.gen_base import evaluate
from fsir.backends.p4.interp.gen_block import BlockGen, extern_variable
from fsir.backends.p4.interp.instances import ExternInfo, Instance, TableInfo, World
from fsir.backends.p4.interp.layout import Layout
from fsir.backends.p4.interp.lexer import tokenize
from fsir.backends.p4.interp.parse_decl import parse
from fsir.backends.p4.interp.prelude import CORE, V1MODEL
from fsir.backends.p4.interp.symbols import BlockSym
from fsir.backends.p4.interp.types import StructType

BLOCKS = ("parser", "verify", "ingress", "egress", "compute", "deparser")
RECURSION_LIMIT = 5000


@dataclass(frozen=True, slots=True)
class Program:
    """A checked and compiled program; immutable, any number of switches can run it."""

    filename: str
    warnings: list[str]
    classes: CodeType
    code: CodeType
    source: str  # the generated Python, for debugging
    tables: list[TableInfo]
    externs: list[ExternInfo]
    scalars: frozenset[tuple[str, int]]
    headers: str  # class of the header struct
    metadata: str
    standard_metadata: str
    errors: list[str]


def load(text: str, filename: str) -> Program:
    """Parse, check and compile a program for v1model; raises P4Error (`file:line:col: error: …`)."""
    with deep_recursion():
        try:
            return compile_program(check_program(text, filename), filename)
        except RecursionError:
            raise P4Error(Loc(filename, 1, 1), "expressions or statements are nested too deeply") from None


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Long chains of operators are deep trees; the parser bounds their depth."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, RECURSION_LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def check_program(text: str, filename: str) -> DeclChecker:
    """The checker after all declarations, `main` included."""
    checker = DeclChecker()
    type_names: set[str] = set()
    tokens = tokenize(text, filename)
    prelude = {"core.p4": [("<core.p4>", CORE)], "v1model.p4": [("<core.p4>", CORE), ("<v1model.p4>", V1MODEL)]}
    wanted = dict(item for include in sorted(tokens.includes) for item in prelude[include])
    for name, declarations in wanted.items():
        for decl in parse(tokenize(declarations, name).tokens, type_names):
            checker.declare(decl)
    for decl in parse(tokens.tokens, type_names):
        checker.declare(decl)
    if checker.main is None:
        raise P4Error(tokens.tokens[-1].loc, "no package is instantiated: end with V1Switch(…) main;")
    return checker


def compile_program(checker: DeclChecker, filename: str) -> Program:
    """Generate and compile the Python of a checked program."""
    package = checker.main
    assert isinstance(package, Package)
    layout = Layout(checker.structs)
    world = World()
    output: list[ast.stmt] = []
    top = Instance(world, "", {})
    for symbol in checker.instances:
        if symbol.type is not None:
            args = [evaluate(arg, {}) for arg in symbol.args]
            qualified = top.qualified(symbol.name, symbol.annotations)
            world.globals[symbol] = extern_variable(world, symbol, qualified, args)
    routines = BlockGen(layout, top, output)
    for function in checker.functions:
        callee = next(c for c in checker.callees(function.name) if c.decl is function)
        assert function.body is not None
        output.append(routines.routine(callee, function.body))
    for action in checker.actions:
        output.append(routines.routine(action.callee, action.decl.body))
    for role, symbol in zip(BLOCKS, package.blocks, strict=True):
        block = symbol.of
        assert isinstance(block, BlockSym)
        constants = {param: evaluate(arg, {}) for param, arg in zip(block.ctor.params, symbol.args, strict=True)}
        instance = Instance(world, top.qualified(symbol.name, symbol.annotations), constants)
        BlockGen(layout, instance, output).block_instance(symbol, f"main_{role}")
    module = ast.fix_missing_locations(ast.Module(output, []))
    parser = package.blocks[0].of
    assert isinstance(parser, BlockSym)
    roots = [param.type for param in parser.apply.params[1:]]
    names = [layout.names[root] for root in roots if isinstance(root, StructType)]
    if len(names) != 3:
        raise P4Error(package.decl.loc, "headers and metadata must be structs")
    return Program(
        filename,
        checker.warnings,
        compile(layout.source(), f"<headers of {filename}>", "exec"),
        compile(module, filename, "exec"),
        layout.source() + "\n" + ast.unparse(module),
        world.tables,
        world.externs,
        frozenset(layout.scalars),
        names[0],
        names[1],
        names[2],
        list(checker.errors),
    )
