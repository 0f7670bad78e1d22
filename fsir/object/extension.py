"""`.BTF.ext` of an object that is written: function types, source lines, CO-RE relocations from what functions carry.

Records are written as they were read wherever they still say what the functions say, so that an object of which
nothing was changed comes out with the same bytes: clang writes many line records that repeat the one before, and longer
records may come with later versions. What was changed gets one record for each change of line; source text is found
again by file and line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from fsir import isa
from fsir.object.btf import Btf
from fsir.object.btf_ext import BtfExt, CoreRelo, FuncInfo, LineInfo
from fsir.object.code import Code, Line

_Record = TypeVar("_Record", FuncInfo, LineInfo, CoreRelo)


@dataclass(slots=True)
class Emitted:
    """A function in its section: name of the section, first byte there, code, id of its BTF `FUNC`."""

    section: str
    start: int
    code: Code
    btf_func: int | None


def spread(records: Iterable[tuple[int, Line]], start: int, end: int) -> dict[int, Line]:
    """The line of every instruction slot from `start` to `end`, by distance from `start`: that of the last record
    before. Slots before the first record have none."""
    mine = sorted((at - start, line) for at, line in records if start <= at < end)
    ends = [at for at, _ in mine[1:]] + [end - start]
    return {
        offset: line for (at, line), stop in zip(mine, ends, strict=False) for offset in range(at, stop, isa.INSN_SIZE)
    }


class Rebuilder:
    """Makes the lists anew from the object's former ones; `btf` gets strings that it has not got."""

    def __init__(self, old: BtfExt, btf: Btf, section_order: dict[str, int]) -> None:
        self.old, self.btf, self.section_order = old, btf, section_order
        self.lines: dict[str, list[LineInfo]] = {}
        self.text: dict[Line, tuple[int, int]] = {}
        for line in old.line_info:
            self.lines.setdefault(line.section, []).append(line)
            self.text.setdefault(self.place(line), (line.file_name_off, line.line_off))
        self.infos = {(info.section, info.type_id): info for info in reversed(old.func_info)}
        self.cores = {(c.type_id, btf.string(c.access_str_off), c.kind): c for c in reversed(old.core_relos)}

    def place(self, record: LineInfo) -> Line:
        return self.btf.string(record.file_name_off), record.line, record.col

    def rebuild(self, functions: Iterable[Emitted]) -> BtfExt:
        """What is to be written."""
        old = self.old
        new = replace(old, func_info=[], line_info=[], core_relos=[], record_sizes=list(old.record_sizes))
        for f in functions:
            if f.btf_func is not None:
                known = self.infos.get((f.section, f.btf_func)) or FuncInfo(f.section, 0, f.btf_func)
                new.func_info.append(replace(known, insn_off=f.start))
            new.line_info += self.unchanged_lines(f) or self.changed_lines(f)
            new.core_relos += [self.core_relo(f, offset, core) for offset, core in f.code.cores.items()]
        new.func_info = self.in_order(new.func_info, old.func_info)
        new.line_info = self.in_order(new.line_info, old.line_info)
        new.core_relos = self.in_order(new.core_relos, old.core_relos)
        if old.line_info and not new.line_info:
            new.record_sizes[1] = 0
        return new

    def core_relo(self, f: Emitted, offset: int, core: tuple[int, str, int]) -> CoreRelo:
        type_id, access, kind = core
        known = self.cores.get(core) or CoreRelo(f.section, 0, type_id, self.btf.add_string(access), kind)
        return replace(known, section=f.section, insn_off=f.start + offset)

    def unchanged_lines(self, f: Emitted) -> list[LineInfo]:
        """The records that the function had, moved to where it is now, if they still say the same of every
        instruction. The function is looked for where its type says that it was, and where it is now."""
        if not f.code.lines:
            return []
        records, size = self.lines.get(f.section, []), len(f.code.data)
        info = self.infos.get((f.section, f.btf_func or 0))
        for was_at in dict.fromkeys((f.start if info is None else info.insn_off, f.start)):
            mine = [r for r in records if was_at <= r.insn_off < was_at + size]
            said = spread(((r.insn_off, self.place(r)) for r in mine), was_at, was_at + size)
            starts = (r.insn_off - was_at for r in mine)
            if all(said.get(at) == line for at, line in f.code.lines.items()) and f.code.lines.keys() >= set(starts):
                return [replace(r, insn_off=r.insn_off - was_at + f.start) for r in mine]
        return []

    def changed_lines(self, f: Emitted) -> list[LineInfo]:
        """A record for each change of line; line 0 where an instruction has none, for else it would have that of the
        one before. (The kernel wants a record for the first instruction.)"""
        records: list[LineInfo] = []
        lines = f.code.lines
        unknown: Line = (next(iter(lines.values()))[0], 0, 0) if lines else ("", 0, 0)
        last: Line | None = None
        for offset in f.code.instructions() if lines else ():
            place = lines.get(offset, unknown)
            if place != last:
                file_off, line_off = self.text.get(place) or (self.btf.add_string(place[0]), 0)
                records.append(LineInfo(f.section, f.start + offset, file_off, line_off, place[1], place[2]))
                last = place
        return records

    def in_order(self, records: list[_Record], old: list[_Record]) -> list[_Record]:
        """By section, those first that came first in the old list; then by instruction."""
        order = {section: i for i, section in enumerate(dict.fromkeys(r.section for r in old))}
        behind = len(order)
        return sorted(records, key=lambda r: (order.get(r.section, behind + self.section_order[r.section]), r.insn_off))
