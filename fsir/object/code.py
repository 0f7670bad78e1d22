"""A function's machine code with everything attached to it: the form between ELF bytes and SSA.

`Code` is what the importer cuts out of a section, what `lift.py` turns into blocks, what `encode.py` makes of blocks
again, and, as a dictionary attribute, what `ebpf.func` keeps as `original` for the fallback.  Offsets are bytes from
the start of the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    IntAttr,
    IntegerType,
    StringAttr,
    SymbolRefAttr,
    i32,
    i64,
)
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from fsir import isa

UNDEFINED = -1

Line = tuple[str, int, int]
"""File, line, column; line 0 where the compiler knows none."""


@dataclass(frozen=True, slots=True)
class Ref:
    """An instruction that names something of the module.

    target   IR name of a map, function, global-data section or undefined symbol
    via      how the object says it: "" (a call by distance, no relocation), "section" (symbol of the target's section,
             distance in the immediate), or the ELF name of a symbol
    type     relocation type, 0 without one
    place    for global data, the byte offset in the section; `UNDEFINED` for undefined symbols; None otherwise
    """

    target: str
    via: str
    type: int
    place: int | None = None


@dataclass(slots=True)
class Code:
    """Instruction bytes, and by instruction offset: references, source lines (file, line, column), CO-RE relocations
    (BTF type id, access string, kind). `start` is where the function began in its section, for locations."""

    data: bytes
    refs: dict[int, Ref] = field(default_factory=dict)
    lines: dict[int, Line] = field(default_factory=dict)
    cores: dict[int, tuple[int, str, int]] = field(default_factory=dict)
    start: int = 0

    @property
    def slots(self) -> int:
        """Length in 8-byte instruction slots, the unit in which programs are measured."""
        return len(self.data) // isa.INSN_SIZE

    def instructions(self) -> Iterator[int]:
        """The offset of every instruction."""
        offset = 0
        while offset < len(self.data):
            yield offset
            insn = isa.decode(self.data, offset)
            row = isa.row_of(insn) if insn is not None else None
            offset += isa.INSN_SIZE * (row.slots if row is not None else 1)

    def to_attribute(self) -> DictionaryAttr:
        """The code as an attribute; inverse of `from_attribute`."""
        entries: dict[str, Attribute] = {"code": StringAttr(self.data.hex())}
        if self.start:
            entries["start"] = IntAttr(self.start)
        if self.refs:
            entries["refs"] = ArrayAttr(_ref_to_attribute(offset, ref) for offset, ref in self.refs.items())
        if self.lines:
            files = list(dict.fromkeys(file for file, _, _ in self.lines.values()))
            rows = [(offset, files.index(file), line, col) for offset, (file, line, col) in self.lines.items()]
            entries["files"] = ArrayAttr(StringAttr(file) for file in files)
            entries["lines"] = DenseArrayBase.from_list(i32, [value for row in rows for value in row])
        if self.cores:
            entries["cores"] = ArrayAttr(
                ArrayAttr([_ints(offset, type_id, kind), StringAttr(access)])
                for offset, (type_id, access, kind) in self.cores.items()
            )
        return DictionaryAttr(entries)

    @staticmethod
    def from_attribute(attr: DictionaryAttr) -> Code:
        """Read what `to_attribute` wrote; VerifyException for anything else."""
        try:
            return Code._from_entries(attr.data)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise VerifyException(
                "the original machine code of a function is corrupt; import the object again"
            ) from error

    @staticmethod
    def _from_entries(entries: Mapping[str, Attribute]) -> Code:
        code = Code(bytes.fromhex(cast(StringAttr, entries["code"]).data))
        code.start = cast(IntAttr, entries.get("start", IntAttr(0))).data
        for ref in cast("Iterable[DictionaryAttr]", entries.get("refs", ())):
            offset, value = _ref_from_attribute(ref)
            code.refs[offset] = value
        files = [cast(StringAttr, name).data for name in cast("ArrayAttr[Attribute]", entries.get("files", ()))]
        if "lines" in entries:
            flat = [int(value) for value in cast("DenseArrayBase[IntegerType]", entries["lines"]).get_values()]
            for at in range(0, len(flat), 4):
                offset, file, line, col = flat[at : at + 4]
                code.lines[offset] = (files[file], line, col)
        for core in cast("Iterable[ArrayAttr[Attribute]]", entries.get("cores", ())):
            offset, type_id, kind = (int(v) for v in cast("DenseArrayBase[IntegerType]", core.data[0]).get_values())
            code.cores[offset] = (type_id, cast(StringAttr, core.data[1]).data, kind)
        return code


def _ints(*values: int) -> DenseArrayBase:
    return DenseArrayBase.from_list(i64, values)


def _ref_to_attribute(offset: int, ref: Ref) -> DictionaryAttr:
    place = () if ref.place is None else (ref.place,)
    return DictionaryAttr(
        {"at": _ints(offset, ref.type, *place), "target": SymbolRefAttr(ref.target), "via": StringAttr(ref.via)}
    )


def _ref_from_attribute(attr: DictionaryAttr) -> tuple[int, Ref]:
    offset, type_, *place = (int(v) for v in cast("DenseArrayBase[IntegerType]", attr.data["at"]).get_values())
    target = cast(SymbolRefAttr, attr.data["target"]).root_reference.data
    via = cast(StringAttr, attr.data["via"]).data
    return offset, Ref(target, via, type_, place[0] if place else None)
