"""Recursive descent over tokens: the cursor, written types and expressions.

P4 needs to know which names are types to tell a cast from a parenthesis and type arguments from a comparison;
the cursor collects them as declarations go by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.errors import Loc, P4Error
from fsir.backends.p4.interp.lexer import SOFT_KEYWORDS, Token
from fsir.backends.p4.interp.prelude import refusal

# Binding strength, loosest first. In P4 the bitwise operators bind tighter than comparisons (unlike C).
LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("==", "!="),
    ("<", ">", "<=", ">="),
    ("|",),
    ("^",),
    ("&",),
    ("<<", ">>"),
    ("++", "+", "-", "|+|", "|-|"),
    ("*", "/", "%"),
)
PRECEDENCE = {op: level for level, ops in enumerate(LEVELS) for op in ops}
BASE_TYPES = frozenset(["bool", "error", "string", "void", "match_kind"])
SIZED_TYPES = frozenset(["bit", "int", "varbit"])
MAX_NESTING = 200


class Cursor:
    """The tokens of one text with a position, and the type names seen so far."""

    def __init__(self, tokens: list[Token], type_names: set[str]) -> None:
        self.tokens = tokens
        self.pos = 0
        self.type_names = type_names
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.pos]

    @property
    def loc(self) -> Loc:
        return self.tokens[self.pos].loc

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.pos + ahead, len(self.tokens) - 1)]

    def at(self, *texts: str) -> bool:
        token = self.tokens[self.pos]
        return token.text in texts and token.kind in ("op", "keyword")

    def advance(self) -> Token:
        token = self.tokens[self.pos]
        if token.kind != "end":
            self.pos += 1
        return token

    def accept(self, text: str) -> bool:
        if self.at(text):
            self.pos += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        if not self.at(text):
            raise P4Error(self.loc, f"expected '{text}' but found {self.found()}")
        return self.advance()

    def found(self) -> str:
        token = self.token
        return token.text if token.kind in ("end", "string") else f"'{token.text}'"

    def is_name(self, token: Token) -> bool:
        return token.kind == "name" or (token.kind == "keyword" and token.text in SOFT_KEYWORDS)

    def name(self, what: str = "a name") -> Token:
        if not self.is_name(self.token):
            raise P4Error(self.loc, f"expected {what} but found {self.found()}")
        return self.advance()

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Counts nesting, so that absurd depth is an error at its place and not a stack overflow."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise P4Error(self.loc, f"nested deeper than {MAX_NESTING} levels")
        yield
        self.depth -= 1

    @contextmanager
    def type_scope(self, names: list[str]) -> Iterator[None]:
        """Type parameters are type names within their declaration only."""
        added = set(names) - self.type_names
        self.type_names |= added
        yield
        self.type_names -= added


class ExprParser(Cursor):
    """Types and expressions."""

    # -- types -----------------------------------------------------------------------------------------------

    def at_type(self) -> bool:
        token = self.token
        if token.kind == "keyword":
            return token.text in BASE_TYPES or token.text in SIZED_TYPES or token.text == "tuple"
        return token.kind == "name" and token.text in self.type_names

    def type_ref(self) -> tree.TypeRef:
        with self.nested():
            ref = self.plain_type()
            while self.at("["):
                where = self.advance().loc
                size = self.expression()
                self.expect("]")
                ref = tree.StackRef(where, ref, size)
        return ref

    def plain_type(self) -> tree.TypeRef:
        token = self.token
        if token.kind == "keyword" and token.text in SIZED_TYPES:
            return self.sized_type()
        if token.kind == "keyword" and token.text in BASE_TYPES:
            self.advance()
            return tree.SimpleRef(token.loc, token.text)
        if self.accept("tuple"):
            return tree.TupleRef(token.loc, self.type_arguments())
        self.accept(".")
        if self.token.kind != "name":
            raise P4Error(self.loc, f"expected a type but found {self.found()}")
        if self.token.text not in self.type_names and self.token.text != "_":
            raise P4Error(self.loc, f"unknown type '{self.token.text}'{refusal(self.token.text)}")
        name = self.advance().text
        if name == "_":
            return tree.SimpleRef(token.loc, "_")
        return tree.NamedRef(token.loc, name, self.type_arguments() if self.at("<") else [])

    def sized_type(self) -> tree.TypeRef:
        token = self.advance()
        if not self.at("<"):
            if token.text == "int":
                return tree.SimpleRef(token.loc, "int")
            if token.text == "bit":
                return tree.SizedRef(token.loc, "bit", tree.Const(token.loc, 1))
            raise P4Error(token.loc, "varbit needs a maximum width: varbit<N>")
        self.expect("<")
        if self.accept("("):
            width = self.expression()
            self.expect(")")
        else:
            width = self.prefix()
        self.expect(">")
        return tree.SizedRef(token.loc, token.text, width)

    def type_arguments(self) -> list[tree.TypeRef]:
        self.expect("<")
        args = [self.type_ref()]
        while self.accept(","):
            args.append(self.type_ref())
        self.expect(">")
        return args

    def try_type_arguments(self) -> list[tree.TypeRef]:
        """`<T, …>` if that and an opening parenthesis follow, else nothing and no progress."""
        if not self.at("<"):
            return []
        start, depth = self.pos, self.depth
        try:
            args = self.type_arguments()
        except P4Error:  # a comparison after all
            args = []
        if args and self.at("("):
            return args
        self.pos, self.depth = start, depth
        return []

    # -- expressions -----------------------------------------------------------------------------------------

    def expression(self) -> tree.Expr:
        with self.nested():
            left = self.binary(0)
            if not self.at("?"):
                return left
            where = self.advance().loc
            then = self.expression()
            self.expect(":")
            return tree.Cond(where, left, then, self.expression())

    def operator(self) -> tuple[str, int]:
        """The binary operator here and its token count; `>>` is two tokens that touch."""
        token = self.token
        if token.kind != "op":
            return "", 0
        if token.text == ">" and self.peek().text == ">" and self.peek().glued:
            return ">>", 2
        return token.text, 1

    def binary(self, level: int) -> tree.Expr:
        left = self.prefix()
        while True:
            op, count = self.operator()
            if PRECEDENCE.get(op, -1) < level:
                return left
            where = self.loc
            self.pos += count
            right = self.binary(PRECEDENCE[op] + 1)
            left = tree.Binary(where, op, left, right)

    def prefix(self) -> tree.Expr:
        with self.nested():
            where = self.loc
            if self.at("!", "~", "-", "+"):
                op = self.advance().text
                operand = self.prefix()
                return operand if op == "+" else tree.Unary(where, op, operand)
            if self.at("(") and (cast := self.cast()) is not None:
                return cast
            return self.postfix(self.primary())

    def cast(self) -> tree.Expr | None:
        """`(T) expr`; None with no progress where the parenthesis encloses an expression."""
        start = self.pos
        where = self.advance().loc
        if self.at_type() and not (self.token.kind == "name" and self.peek().text == "."):
            if self.token.text == "error" and self.peek().text == ".":
                self.pos = start
                return None
            ref = self.type_ref()
            self.expect(")")
            return tree.Cast(where, ref, self.prefix())
        self.pos = start
        return None

    def primary(self) -> tree.Expr:
        token = self.token
        where = token.loc
        if token.kind == "number":
            self.advance()
            return number(token)
        if token.kind == "string":
            self.advance()
            return tree.Const(where, unquote(token))
        if token.kind == "keyword" and token.text in ("true", "false"):
            self.advance()
            return tree.Const(where, token.text == "true")
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self.at("{"):
            return self.braces()
        if self.at_type():
            return self.type_expression()
        if self.accept("."):
            return tree.Name(where, self.name().text, absolute=True)
        if self.is_name(token):
            self.advance()
            return tree.AnySet(where, "_") if token.text == "_" else tree.Name(where, token.text)
        raise P4Error(where, f"expected an expression but found {self.found()}")

    def type_expression(self) -> tree.Expr:
        where = self.loc
        if (self.token.kind == "name" and self.peek().text == ".") or self.token.text == "error":
            return tree.TypeExpr(where, self.plain_type())
        ref = self.type_ref()
        if not self.at("("):
            raise P4Error(where, "a type cannot stand here")
        return tree.TypeExpr(where, ref)

    def braces(self) -> tree.Expr:
        """`{ a, b }` or `{ x = a, y = b }`."""
        where = self.expect("{").loc
        if self.is_name(self.token) and self.peek().text == "=":
            fields = []
            while not self.at("}"):
                name = self.name("a field name").text
                self.expect("=")
                fields.append((name, self.expression()))
                if not self.accept(","):
                    break
            self.expect("}")
            return tree.RecordExpr(where, fields)
        items = []
        while not self.at("}"):
            items.append(self.expression())
            if not self.accept(","):
                break
        self.expect("}")
        return tree.ListExpr(where, items)

    def postfix(self, base: tree.Expr) -> tree.Expr:
        while True:
            where = self.loc
            if self.accept("."):
                where = self.loc
                base = tree.Member(where, base, self.member_name())
            elif self.at("["):
                base = self.subscript(base)
            elif self.at("("):
                base = tree.Call(base.loc, base, [], self.arguments())
            elif self.at("<") and (types := self.try_type_arguments()):
                base = tree.Call(base.loc, base, types, self.arguments())
            else:
                return base

    def member_name(self) -> str:
        if self.token.kind in ("name", "keyword"):
            return self.advance().text
        raise P4Error(self.loc, f"expected a member name but found {self.found()}")

    def subscript(self, base: tree.Expr) -> tree.Expr:
        where = self.expect("[").loc
        first = self.expression()
        if self.accept(":"):
            low = self.expression()
            self.expect("]")
            return tree.Slice(where, base, first, low)
        self.expect("]")
        return tree.Index(where, base, first)

    def arguments(self) -> list[tree.Arg]:
        self.expect("(")
        args: list[tree.Arg] = []
        while not self.at(")"):
            where = self.loc
            name = None
            if self.is_name(self.token) and self.peek().text == "=":
                name = self.advance().text
                self.advance()
            args.append(tree.Arg(where, name, self.expression()))
            if not self.accept(","):
                break
        self.expect(")")
        return args

    # -- key sets --------------------------------------------------------------------------------------------

    def keyset(self) -> tree.Expr:
        """A set expression of a select case, a switch label or a table entry."""
        where = self.loc
        if not self.at("("):
            return self.simple_keyset()
        start = self.pos
        self.advance()
        items = [self.simple_keyset()]
        while self.accept(","):
            items.append(self.simple_keyset())
        self.expect(")")
        if len(items) > 1 or self.at(":"):
            return items[0] if len(items) == 1 else tree.ListExpr(where, items)
        self.pos = start  # the parenthesis belongs to an expression
        return self.simple_keyset()

    def simple_keyset(self) -> tree.Expr:
        where = self.loc
        if self.accept("default"):
            return tree.AnySet(where, "default")
        left = self.expression()
        if self.at("&&&", ".."):
            where, op = self.loc, self.advance().text
            return tree.Binary(where, op, left, self.expression())
        return left


def number(token: Token) -> tree.Const:
    """The literal `12`, `0x1F`, `8w0b1010`, `4s7` …"""
    text = token.text.replace("_", "")
    written = None
    for mark in ("w", "s"):
        head, found, tail = text.partition(mark)
        if found and head.isdigit():
            written, text = (mark, int(head)), tail
            break
    if written is not None and written[1] < 1 + (written[0] == "s"):
        raise P4Error(token.loc, f"width {written[1]} is too small for the literal '{token.text}'")
    base = {"x": 16, "b": 2, "o": 8, "d": 10}.get(text[1:2].lower(), 0)
    value = int(text[2:], base) if base else int(text, 10)
    return tree.Const(token.loc, value, written)


def unquote(token: Token) -> str:
    return token.text[1:-1].replace('\\"', '"').replace("\\\\", "\\").replace("\\n", "\n")
