"""Pass pipelines as text.

    pipeline ::= element (`,` element)*
    element  ::= pass-name (`{` options `}`)?        decompose{targets=xdp,af-xdp order=per-flow}
               | anchor `(` pipeline `)`             builtin.module(raise,func.func(dce))

Both spellings, xDSL's flat one and MLIR's nested one, give the same flat sequence of passes: every pass works
on the whole module, so an anchor (an operation name, recognised by its dot, or `any`) only groups.
Options are xDSL's: `key=value`, `key=value,value`, `key` alone; values with other characters than letters,
digits, `_`, `-` and those of file names (`./~+`) are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

from xdsl.utils.arg_spec import ArgSpec, parse_spec
from xdsl.utils.exceptions import ArgSpecParseError

from fsir.driver.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_SPACE = re.compile(r"\s*")
_OPTIONS = re.compile(r"""\{((?:"(?:\\.|[^"\\])*"|[^{}"])*)\}""")
_FILE = re.compile(r"""("(?:\\.|[^"\\])*")|(?<=[=,])(\s*)([\w~+-]*[./~+][\w./~+-]*)""")
_NUMBER = re.compile(r"[+-]?\d*\.?\d*(e[+-]?\d+)?")
_MLIR_OPT = re.compile(r"\[[^\]]*\]")


def parse_pipeline(text: str) -> tuple[ArgSpec, ...]:
    """The passes of `text` in order. Raises `UsageError` with the column for text that is no pipeline."""
    return tuple(_Parser(text).elements(""))


def print_pipeline(specs: Iterable[ArgSpec]) -> str:
    """The flat spelling of `specs`, which parses to the same."""
    return ",".join(str(spec) for spec in specs)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0

    def elements(self, closing: str) -> list[ArgSpec]:
        """Elements up to the character `closing` (the end of the text for ""), which is left in place."""
        specs: list[ArgSpec] = []
        if self._peek() == closing:
            return specs
        while True:
            specs += self._element()
            if self._peek() == closing:
                return specs
            if not self._accept(","):
                if closing:
                    self._error("expected ',' or ')' here")
                self._error("expected ',' between passes here")

    def _element(self) -> list[ArgSpec]:
        start = self.pos + len(self._match(_SPACE))
        self.pos = start
        name = self._match(_NAME)
        if not name:
            self._error("expected the name of a pass here")
        self.pos += len(name)
        if self._accept("("):
            if "." not in name and name != "any":
                self._error(f"'{name}' is no operation that passes could be nested in", start)
            inner = self.elements(")")
            self.pos += 1
            return inner
        if "." in name:
            self._error(f"expected '(' after the anchor '{name}'")
        options = ""
        if self._peek() in ("{", "["):
            options = self._match(_OPTIONS) or self._match(_MLIR_OPT)
            if not options:
                self._error("the options that begin here have no end")
            self.pos += len(options)
        return [self._spec(name, options, start)]

    def _spec(self, name: str, options: str, start: int) -> ArgSpec:
        body = options[1:-1].strip()
        if options and not body:
            return ArgSpec(name, {})
        try:
            return parse_spec(name + options[:1] + _FILE.sub(_quoted, body) + options[-1:] if options else name)
        except ArgSpecParseError as error:
            what = str(error).rstrip().rsplit("\n", 1)[-1].strip(" ^~")
            self._error(
                f"the options of '{name}' are not of the form {{key=value other=a,b}} "
                f'({what}); quote unusual values: key="..."',
                start,
            )

    def _peek(self) -> str:
        """The next character after white space, "" at the end."""
        self.pos += len(self._match(_SPACE))
        return self.text[self.pos : self.pos + 1]

    def _accept(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self.pos += 1
        return True

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.pos)
        return found.group() if found else ""

    def _error(self, message: str, at: int | None = None) -> NoReturn:
        column = (self.pos if at is None else at) + 1
        raise UsageError(f"pass pipeline, column {column}: {message}: '{self.text}'")


def _quoted(found: re.Match[str]) -> str:
    """A file name in quotes; strings and numbers as they are."""
    quoted, space, name = found.groups()
    return found.group() if quoted or _NUMBER.fullmatch(name) else f'{space}"{name}"'
