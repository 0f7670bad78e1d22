"""Reads what the user names: objects, IR text, C source, from files or stdin, into modules."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import ParseError, VerifyException
from xdsl.utils.lexer import Span

from fsir.driver.errors import UsageError
from fsir.driver.garbage import collector_paused
from fsir.driver.ir_text import LocatingParser
from fsir.object.sections import PROGRAM_TYPES

ELF_MAGIC = b"\x7fELF"
SPLIT_MARKER = "// -----"
STDIN = "-"
LARGEST = 256 << 20
"""Bytes of an input. No object comes near; a device that never ends must not fill the memory."""
FORMATS = {".mlir": "mlir", ".o": "elf", ".elf": "elf", ".c": "c"}


@dataclass(frozen=True)
class ProgramTypes:
    """Types of programs: of those whose section name does not say it, and by section. For objects and C; IR text says
    the types itself."""

    default: str | None = None
    sections: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(default: str | None, sections: Sequence[str]) -> ProgramTypes:
        """From `TYPE` and a list of `SECTION=TYPE`. Raises `UsageError`."""
        pairs = [text.rpartition("=") for text in sections]
        if wrong := next((text for text, (name, _, _) in zip(sections, pairs, strict=True) if not name), None):
            raise UsageError(f"--section-type '{wrong}' is not SECTION=TYPE, like 'from-netdev=sched_cls'")
        types = ProgramTypes(default, {name: type_ for name, _, type_ in pairs})
        for type_ in (default, *types.sections.values()):
            if type_ is not None and type_ not in PROGRAM_TYPES:
                raise UsageError(f"there is no program type '{type_}'; there are: {', '.join(PROGRAM_TYPES)}")
        return types


@dataclass(frozen=True)
class Source:
    """An input before it is a module. `format` is "mlir", "elf" or "c"."""

    name: str
    format: str
    data: bytes
    types: ProgramTypes = ProgramTypes()
    flags: tuple[str, ...] = ()
    """For clang, where this is C."""
    map_sizes: Mapping[str, int] = field(default_factory=dict)
    """Sizes to give to maps; for objects and C."""

    def text(self) -> str:
        """The contents as text; raises `UsageError` where they are none."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise UsageError(
                f"line {line} is not UTF-8 text (byte {self.data[error.start]:#04x}); "
                "IR text is .mlir, objects begin with the ELF magic"
            ) from error

    def chunks(self) -> list[Source]:
        """The parts between `// -----` lines, each with the line numbers that it has in the whole."""
        parts, start, lines = [], 0, self.text().splitlines(keepends=True)
        for number, line in enumerate(lines):
            if line.strip().startswith(SPLIT_MARKER):
                parts.append((start, lines[start:number]))
                start = number + 1
        parts.append((start, lines[start:]))
        return [replace(self, data=("\n" * at + "".join(part)).encode()) for at, part in parts]

    def load(self, ctx: Context) -> ModuleOp:
        """The module; `ParseError`, `ObjectError`, `UsageError` where the input does not give one."""
        with collector_paused():
            if self.format == "mlir":
                if self.types != ProgramTypes():
                    raise UsageError("--prog-type and --section-type are for objects and C; change the text instead")
                if self.map_sizes:
                    raise UsageError("--map-size is for objects and C; change the map.decl in the text instead")
                return parse_text(ctx, self.text(), self.name)
            if self.format == "c":
                from fsir.driver.clang import compile_c

                return import_elf(compile_c(Path(self.name), self.flags), self.name, self.types, self.map_sizes)
            return import_elf(self.data, self.name, self.types, self.map_sizes)


def read_source(name: str, format: str | None = None) -> Source:
    """Read the file `name`, or stdin for "-". The format comes from the contents (ELF) and the suffix."""
    data = read_bytes(name)
    shown = "<stdin>" if name == STDIN else name
    if format is None:
        format = "elf" if data.startswith(ELF_MAGIC) else FORMATS.get(Path(name).suffix)
    if format is None:
        if name != STDIN:
            raise UsageError("cannot tell what this is: objects end in .o, IR text in .mlir, C in .c; or use --from")
        format = "mlir"
    if format == "c" and name == STDIN:
        raise UsageError("C is read from a file only, so that its includes and line numbers mean something")
    return Source(shown, format, data)


def read_bytes(name: str) -> bytes:
    """The contents of the file `name`, or of stdin for "-". Raises `UsageError` where they are too long, `OSError`."""
    if not name:
        raise UsageError("the name of the input is empty; name a file, or - for stdin")
    if name == STDIN:
        return _read_stream(sys.stdin.buffer)
    with open(name, "rb") as stream:
        return _read_stream(stream)


def _read_stream(stream: IO[bytes]) -> bytes:
    data = bytearray()
    while piece := stream.read(1 << 20):
        data += piece
        if len(data) > LARGEST:
            raise UsageError(f"more than {LARGEST >> 20} MiB; no object or IR text is that long: check what this is")
    return bytes(data)


def load_module(name: str, ctx: Context | None = None, format: str | None = None) -> ModuleOp:
    """The verified module in the file `name` ("-" is stdin)."""
    from fsir.analysis.verify import verify_module
    from fsir.driver.context import make_context

    module = read_source(name, format).load(ctx or make_context())
    verify_module(module)
    return module


def import_elf(
    data: bytes, name: str, types: ProgramTypes = ProgramTypes(), map_sizes: Mapping[str, int] | None = None
) -> ModuleOp:
    """The module of an object file, after setting the sizes of maps in it."""
    from fsir.object.importer import import_object

    if map_sizes:
        from fsir.object.elf import read_elf, write_elf
        from fsir.object.map_resize import resize_maps

        obj = read_elf(data, name)
        resize_maps(obj, map_sizes)
        data = write_elf(obj)
    return import_object(data, name, prog_type=types.default, sections=dict(types.sections))


def parse_text(ctx: Context, text: str, name: str) -> ModuleOp:
    """The module of IR text; an operation without a `loc(...)` gets the position where it begins."""
    if not text.strip() or all(line.strip()[:2] in ("", "//") for line in text.splitlines()):
        return ModuleOp([])
    parser = LocatingParser(ctx, text, name)
    try:
        return parser.parse_module()
    except ParseError:
        raise
    except (VerifyException, ValueError, KeyError, TypeError, NotImplementedError) as error:
        # Attributes that check themselves when they are made know nothing of the text.
        span = Span(parser.pos, parser.pos, parser.lexer.input)
        raise ParseError(span, f"{error} (just before here)") from error
