"""IR text: xDSL's parser and printer, with positions, and for every name that an object may have.

Names in objects are bytes. Those that are no UTF-8 are strings with surrogate escapes (PEP 383) in the IR, and appear
in the text as the bytes that they are (`"\\FF"`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from xdsl.context import Context
from xdsl.dialects.builtin import FileLineColLoc, IntAttr, LocationAttr, StringAttr
from xdsl.parser import Parser
from xdsl.parser.generic_parser import ParserState
from xdsl.printer import Printer
from xdsl.utils.lexer import Input
from xdsl.utils.mlir_lexer import MLIRLexer, MLIRTokenKind, StringLiteral

if TYPE_CHECKING:
    from xdsl.ir import Operation


class TextPrinter(Printer):
    """xDSL's printer, also for strings with surrogate escapes."""

    def print_string_literal(self, string: str) -> None:
        """Print the bytes of `string`, quoted."""
        self.print_bytes_literal(string.encode("utf-8", "surrogateescape"))


class LocatingParser(Parser):
    """xDSL's parser, which by itself keeps no positions and refuses strings that are not ASCII.

    A written `loc(unknown)` stays unknown.
    """

    def __init__(self, ctx: Context, text: str, name: str) -> None:
        super().__init__(ctx, "", name)
        self._parser_state = ParserState(_Lexer(Input(text, name)))
        self._file = StringAttr(name)
        self._line_starts = [0]
        for line in text.split("\n"):
            self._line_starts.append(self._line_starts[-1] + len(line) + 1)
        self._written: LocationAttr | None = None

    def parse_optional_location(self) -> LocationAttr | None:
        """Parse `loc(...)`, and remember it: for an operation this is the last thing that is parsed."""
        self._written = super().parse_optional_location()
        return self._written

    def parse_operation(self) -> Operation:
        """Parse one operation, and locate it."""
        start = self.pos
        op = super().parse_operation()
        if self._written is None:
            line = bisect_right(self._line_starts, start)
            column = start - self._line_starts[line - 1] + 1
            op.location = FileLineColLoc(self._file, IntAttr(line), IntAttr(column))
        return op

    def parse_optional_str_literal(self) -> str | None:
        """Parse a string, if there is one."""
        token = self._parse_optional_token_in([MLIRTokenKind.STRING_LIT, MLIRTokenKind.BYTES_LIT])
        return None if token is None else _decoded(StringLiteral.from_span(token.span))

    def parse_optional_symbol_name(self) -> StringAttr | None:
        """Parse `@name` or `@"name"`, if there is one."""
        token = self._parse_optional_token(MLIRTokenKind.AT_IDENT)
        if token is None:
            return None
        if not token.text.startswith('@"'):
            return StringAttr(token.text[1:])
        return StringAttr(_decoded(StringLiteral(token.span.start + 1, token.span.end, token.span.input)))


class _Lexer(MLIRLexer):
    # As xDSL's, but possessive: where the end is missing, n characters would take 2**n steps.
    _unescaped_characters_regex = re.compile(r'"(?:[^"\\\n\v\f]++|\\(?:["nt\\]|[0-9A-Fa-f]{2}))*+"')


def _decoded(literal: StringLiteral) -> str:
    return literal.bytes_contents.decode("utf-8", "surrogateescape")
