"""Python syntax trees from templates: `quote("(_a + _b) & _m", a=left, b=right, m=255)`.

A name `_x` in a template (also as an attribute or a method) stands for the part `x`: a tree, a number, or a
string that becomes the identifier. Trees instead of text, so that nesting has no limit and no parenthesis is
forgotten.
"""

from __future__ import annotations

import ast
from functools import cache

Part = ast.expr | int | bool | str


@cache
def _template(text: str) -> ast.Module:
    return ast.parse(text)


class _Fill:
    def __init__(self, parts: dict[str, Part]) -> None:
        self.parts = parts

    def node(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Name) and node.id[:1] == "_" and node.id[1:] in self.parts:
            return self.part(self.parts[node.id[1:]], node.ctx)
        fields = {name: self.field(value) for name, value in ast.iter_fields(node)}
        if isinstance(node, ast.Attribute) and node.attr[:1] == "_" and node.attr[1:] in self.parts:
            fields["attr"] = self.parts[node.attr[1:]]
        return type(node)(**fields)

    def field(self, value: object) -> object:
        if isinstance(value, ast.AST):
            return self.node(value)
        if isinstance(value, list):
            return [self.field(item) for item in value]
        return value

    def part(self, part: Part, context: ast.expr_context) -> ast.AST:
        if isinstance(part, ast.expr):
            return with_context(part, context)
        if isinstance(part, str):
            return ast.Name(part, context)
        return ast.Constant(part)


def with_context(node: ast.expr, context: ast.expr_context) -> ast.expr:
    """`node` for reading or, where it can be, for writing."""
    if isinstance(context, ast.Load):
        return node
    if isinstance(node, ast.Name):
        return ast.Name(node.id, context)
    if isinstance(node, ast.Attribute):
        return ast.Attribute(node.value, node.attr, context)
    if isinstance(node, ast.Subscript):
        return ast.Subscript(node.value, node.slice, context)
    raise AssertionError(ast.dump(node))


def quote(template: str, **parts: Part) -> ast.expr:
    """The expression `template` with its parts filled in."""
    statement = _template(template).body[0]
    assert isinstance(statement, ast.Expr), template
    filled = _Fill(parts).node(statement.value)
    assert isinstance(filled, ast.expr)
    return filled


def statements(template: str, **parts: Part) -> list[ast.stmt]:
    """The statements of `template` with their parts filled in."""
    found = [_Fill(parts).node(statement) for statement in _template(template).body]
    return [statement for statement in found if isinstance(statement, ast.stmt)]


def name(identifier: str) -> ast.expr:
    return ast.Name(identifier, ast.Load())


def constant(value: int | bool | str | None) -> ast.expr:
    return ast.Constant(value)


def any_of(tests: list[ast.expr]) -> ast.expr:
    if not tests:
        return ast.Constant(False)
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), tests)


def all_of(tests: list[ast.expr]) -> ast.expr:
    if not tests:
        return ast.Constant(True)
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)


def call(function: ast.expr | str, args: list[ast.expr]) -> ast.expr:
    return ast.Call(name(function) if isinstance(function, str) else function, args, [])


def function(identifier: str, params: list[str], body: list[ast.stmt]) -> ast.FunctionDef:
    """`def identifier(params): body`"""
    found = ast.parse(f"def {identifier}({', '.join(params)}): pass").body[0]
    assert isinstance(found, ast.FunctionDef)
    found.body = body or [ast.Pass()]
    return found
