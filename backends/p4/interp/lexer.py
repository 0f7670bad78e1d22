"""P4_16 text to tokens, with the preprocessor lines that programs for v1model use.

Understood: `#include <core.p4>`, `<v1model.p4>`, object-like `#define`, `#undef`, `#ifdef`, `#ifndef`, `#else`,
`#endif`, `#pragma` (ignored). Everything else is an error at its line. Tokens that come from a macro carry the
place where the macro was used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from fsir.backends.p4.interp.errors import Loc, P4Error

_KEYWORDS = """abstract action actions apply bool bit const control default else entries enum error exit extern
    false header header_union if in inout int key list match_kind out package parser return select state string
    struct switch table this transition true tuple type typedef varbit value_set void"""
KEYWORDS = frozenset(_KEYWORDS.split())
# Keywords that P4_16 still allows as the name of a variable, field or parameter.
SOFT_KEYWORDS = frozenset(["actions", "apply", "entries", "key", "list", "state", "type"])

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f]+)
      | (?P<newline>\n)
      | (?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<number>(?:\d+[ws])?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|0[dD][0-9_]+|\d[\d_]*))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<op>&&&|\.\.\.|\|\+\||\|-\||\+\+|<<|&&|\|\||==|!=|<=|>=|\.\.|[-+*/%&|^~!<>=?:;,.@()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*(\w*)((?:\\\n|[^\n])*)")
SYSTEM_INCLUDES = ("core.p4", "v1model.p4")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is `number`, `name`, `string`, `keyword`, `op` or `end`; `glued` means no space before it."""

    kind: str
    text: str
    loc: Loc
    glued: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token list of one file (ending in an `end` token) and the system headers it asked for."""

    tokens: list[Token]
    includes: frozenset[str]


class _Lexer:
    def __init__(self, text: str, filename: str) -> None:
        self.text = text
        self.file = filename
        self.pos = 0
        self.line = 1
        self.line_start = 0
        self.macros: dict[str, list[Token]] = {}
        self.conditions: list[tuple[Loc, bool, bool]] = []  # (where, taken now, #else seen)
        self.includes: set[str] = set()
        self.out: list[Token] = []

    def loc(self, pos: int | None = None) -> Loc:
        return Loc(self.file, self.line, (self.pos if pos is None else pos) - self.line_start + 1)

    @property
    def active(self) -> bool:
        return all(taken for _, taken, _ in self.conditions)

    def run(self) -> Tokens:
        glued = False
        while self.pos < len(self.text):
            if self.at_line_start() and (match := _DIRECTIVE.match(self.text, self.pos)):
                self.directive(match)
                continue
            token = self.scan(glued)
            if token is None:
                glued = False
                continue
            glued = True
            if self.active:
                self.expand(token, ())
        if self.conditions:
            raise P4Error(self.conditions[-1][0], "no #endif for this conditional")
        self.out.append(Token("end", "end of file", self.loc()))
        return Tokens(self.out, frozenset(self.includes))

    def at_line_start(self) -> bool:
        return not re.sub(r"/\*.*?\*/", "", self.text[self.line_start : self.pos]).strip()

    def scan(self, glued: bool) -> Token | None:
        """One token, or None after white space or a comment (which may span lines)."""
        match = _TOKEN.match(self.text, self.pos)
        if match is None:
            if not self.active:
                self.pos += 1
                return None
            if self.text.startswith("/*", self.pos):
                raise P4Error(self.loc(), "comment is never closed")
            raise P4Error(self.loc(), f"unexpected character {self.text[self.pos]!r}")
        kind, text, where = match.lastgroup or "", match.group(), self.loc()
        self.pos = match.end()
        newlines = text.count("\n")
        if newlines:
            self.line += newlines
            self.line_start = match.start() + text.rindex("\n") + 1
        if kind in ("space", "newline", "comment"):
            return None
        if kind == "name" and text in KEYWORDS:
            kind = "keyword"
        return Token(kind, text, where, glued)

    def expand(self, token: Token, active: tuple[str, ...]) -> None:
        body = self.macros.get(token.text) if token.kind in ("name", "keyword") else None
        if body is None or token.text in active:
            self.out.append(token)
            return
        for part in body:
            self.expand(replace(part, loc=token.loc), (*active, token.text))

    def directive(self, match: re.Match[str]) -> None:
        where, name = self.loc(match.start() + match.group().index("#")), match.group(1)
        rest = match.group(2)
        body = re.sub(r"//[^\n]*|/\*.*?\*/", " ", rest.replace("\\\n", " ")).strip()
        handler = {
            "include": self.include,
            "define": self.define,
            "undef": self.undef,
            "ifdef": self.ifdef,
            "ifndef": self.ifndef,
            "else": self.else_,
            "endif": self.endif,
            "pragma": self.pragma,
        }.get(name)
        if handler is not None:
            handler(where, body)
        elif self.active:
            raise P4Error(where, f"preprocessor line #{name} is not supported: expand it first (cpp -P)")
        self.line += match.group().count("\n")
        self.pos = match.end()
        if "\n" in match.group():
            self.line_start = match.start() + match.group().rindex("\n") + 1

    def include(self, where: Loc, body: str) -> None:
        if not self.active:
            return
        target = body.strip("<>\"' ")
        if target not in SYSTEM_INCLUDES:
            raise P4Error(where, f"cannot include {body}: only <core.p4> and <v1model.p4> are built in")
        self.includes.add(target)

    def define(self, where: Loc, body: str) -> None:
        if not self.active:
            return
        match = re.match(r"([A-Za-z_]\w*)(\(?)", body)
        if match is None:
            raise P4Error(where, "#define needs a name")
        if match.group(2):
            raise P4Error(where, f"function-like macro {match.group(1)}() is not supported: expand it first (cpp -P)")
        inner = _Lexer(body[match.end() :], self.file)
        self.macros[match.group(1)] = inner.run().tokens[:-1]

    def undef(self, _where: Loc, body: str) -> None:
        if self.active:
            self.macros.pop(body, None)

    def ifdef(self, where: Loc, body: str) -> None:
        self.conditions.append((where, body in self.macros, False))

    def ifndef(self, where: Loc, body: str) -> None:
        self.conditions.append((where, body not in self.macros, False))

    def else_(self, where: Loc, _body: str) -> None:
        if not self.conditions or self.conditions[-1][2]:
            raise P4Error(where, "#else without #ifdef or #ifndef")
        opened, taken, _ = self.conditions.pop()
        self.conditions.append((opened, not taken, True))

    def endif(self, where: Loc, _body: str) -> None:
        if not self.conditions:
            raise P4Error(where, "#endif without #ifdef or #ifndef")
        self.conditions.pop()

    def pragma(self, _where: Loc, _body: str) -> None:
        return


def tokenize(text: str, filename: str) -> Tokens:
    """All tokens of `text`; raises P4Error at the first character or preprocessor line it cannot take."""
    return _Lexer(text, filename).run()
