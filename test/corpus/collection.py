"""The collection on disk: what is in it, how it comes there, and which objects are the same code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from corpus.packages import PACKAGES, Missing, download, objects_in, unpack
from corpus.sources import Job, Toolchain
from fsir.driver import workers

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "corpus"
COMPILE_SECONDS = 120

Advance = Callable[[int, int, str], None]
"""Called with the number done, the total, and what was done last."""


@dataclass(frozen=True)
class Item:
    """An object of the corpus. `name` is its path below the collection, or that of an example; a `twin` has the same
    code as an object before it."""

    name: str
    path: Path
    twin: bool = False

    @cached_property
    def data(self) -> bytes:
        return self.path.read_bytes()


@dataclass
class Collected:
    """What `collect` could and could not get."""

    objects: dict[str, int]
    failed: dict[str, list[tuple[str, str]]]
    missing: list[str]


def collect(advance: Advance, jobs: int, clang_19: bool = False, matching: str = "") -> Collected:
    """Fetch and build everything that is not there yet."""
    report = Collected({}, {}, [])
    for package in PACKAGES:
        try:
            root = unpack(download(package.name, CACHE / "deb"), CACHE / "pkg" / package.name)
        except Missing as error:
            report.missing.append(str(error))
            continue
        folder = CACHE / "obj" / package.name
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for name, data in objects_in(package, root):
            (folder / name).write_bytes(data)
            count += 1
        report.objects[package.name] = count
    try:
        tools = Toolchain(CACHE, clang_19)
    except Missing as error:
        report.missing.append(str(error))
        return report
    _compile_all(tools, [job for job in tools.jobs() if matching in str(job.output)], advance, jobs, report)
    return report


def _compile_all(tools: Toolchain, todo: list[Job], advance: Advance, jobs: int, report: Collected) -> None:
    for number, (job, failed) in enumerate(workers.run(tools.compile, todo, jobs=jobs, timeout=COMPILE_SECONDS), 1):
        advance(number, len(todo), job.output.name)
        kind = str(job.output.parent.relative_to(CACHE / "obj"))
        if failed is None:
            report.objects[kind] = report.objects.get(kind, 0) + 1
        else:
            reason = failed.what if isinstance(failed, workers.Failure) else failed
            report.failed.setdefault(kind, []).append((job.source.name, reason))


def items(matching: list[str]) -> list[Item]:
    """The objects there are whose names contain one of `matching` (all without any), examples included."""
    found = [Item(f"examples/{p.name}", p) for p in sorted(ROOT.glob("examples/*/*.o"))]
    base = CACHE / "obj"
    found += [
        Item(str(p.relative_to(base)), p) for p in sorted(base.rglob("*")) if p.suffix in (".o", ".elf") and p.is_file()
    ]
    return [item for item in found if not matching or any(part in item.name for part in matching)]


def with_twins(found: list[Item]) -> Iterator[Item]:
    """The objects, those marked that have the code of one before: same bytes, relocations, symbols and data, whatever
    the debug information says."""
    seen: set[str] = set()
    for item in found:
        digest = code_digest(item)
        yield Item(item.name, item.path, digest in seen)
        seen.add(digest)


def code_digest(item: Item) -> str:
    """A digest of what is executed: all sections but debug information, and relocations; and whether there is BTF."""
    from fsir.object.elf import read_elf
    from fsir.object.errors import ObjectError

    digest = hashlib.sha256()
    try:
        obj = read_elf(item.data, item.name)
    except ObjectError:
        return hashlib.sha256(item.data).hexdigest()
    digest.update(b"BTF" if any(s.name == ".BTF" for s in obj.sections) else b"")
    for index, section in enumerate(obj.sections):
        if section.name.startswith((".debug", ".rel", ".BTF", ".strtab", ".symtab", ".llvm", ".eh_frame", ".shstrtab")):
            continue
        digest.update(f"{section.name} {section.type} {section.flags}\n".encode() + bytes(section.data))
        for reloc in obj.relocs.get(index, ()):
            symbol = obj.symbols[reloc.symbol]
            place = obj.sections[symbol.shndx].name if symbol.shndx < len(obj.sections) else ""
            digest.update(f"{reloc.offset} {reloc.type} {symbol.name} {place} {symbol.value}\n".encode())
    return digest.hexdigest()
