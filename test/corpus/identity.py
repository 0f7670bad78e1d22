"""Check `identity`: an object comes out as it went in, directly and by way of text."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from corpus.collection import Item
from corpus.findings import FAIL, NOTE, OK, Findings
from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.dialects.ebpf import FuncOp, RawOp, functions
from fsir.driver.context import make_context
from fsir.driver.emitters import print_module
from fsir.driver.inputs import parse_text
from fsir.object.code import Code
from fsir.object.elf import ElfObject, read_elf, write_elf
from fsir.object.exporter import export_object
from fsir.object.importer import import_object
from fsir.object.lift import why_raw

CodeSections = dict[str, tuple[bytes, list[tuple[int, int, str, int]]]]


def check(item: Item) -> Findings:
    """Import, verify, export; print, parse, print; export what was parsed. Without locations the text makes the same
    code; with them, the same object. Twins are not printed: their text differs in locations and numbers of types."""
    result = Findings()
    original = read_elf(item.data, item.name)
    module = import_object(item.data, item.name)
    verify_module(module)
    for func in functions(module):
        verify_allocated(func)
        result.count("functions")
        if func.is_raw():
            result.add(NOTE, f"{item.name} {func.symbol}", f"kept raw: {why_raw(_code(func)) or 'unknown reason'}")
    expected = code_of(original)
    result.count("instructions", sum(len(data) // 8 for data, _ in expected.values()))
    result.count("code sections", len(expected))
    result.count("relocations of code", sum(len(relocs) for _, relocs in expected.values()))
    exported = export_object(module)
    _compare(result, item, "export", expected, exported)
    _compare_all(result, item, "export", original, exported)
    if not item.twin:
        result.count("objects printed and parsed")
        _compare(result, item, "export of the text", expected, export_object(_reread(result, item, module, False)))
        located = export_object(_reread(result, item, module, True))
        _compare_all(result, item, "export of the text with locations", original, located)
    if not any(finding.status == FAIL for finding in result.found):
        result.add(OK, item.name)
    return result


def _reread(result: Findings, item: Item, module: ModuleOp, locations: bool) -> ModuleOp:
    """The module that the text of a module gives; printed again it must be the same text."""
    text = print_module(module, debuginfo=locations)
    parsed = parse_text(make_context(), text, item.name)
    verify_module(parsed)
    again = print_module(parsed, debuginfo=locations)
    if again != text:
        result.add(FAIL, item.name, "print, parse, print is no fixed point", _first_line(text, again))
    return parsed


def code_of(obj: ElfObject) -> CodeSections:
    """Bytes and relocations (offset, type, symbol name, place of the symbol) of every code section."""
    result = {}
    for index, section in enumerate(obj.sections):
        if section.is_code:
            relocs = sorted(
                (r.offset, r.type, _symbol_name(obj, r.symbol), obj.symbols[r.symbol].value)
                for r in obj.relocs.get(index, ())
            )
            result[f"{section.name}#{index}"] = (bytes(section.data), relocs)
    return result


def _symbol_name(obj: ElfObject, number: int) -> str:
    symbol = obj.symbols[number]
    return symbol.name or (obj.sections[symbol.shndx].name if symbol.shndx < len(obj.sections) else "")


def _compare(result: Findings, item: Item, what: str, expected: CodeSections, exported: bytes) -> None:
    found = code_of(read_elf(exported, item.name))
    for name, (data, relocs) in expected.items():
        if name not in found:
            result.add(FAIL, f"{item.name} {name}", f"{what}: the section is missing")
        elif found[name][0] != data:
            where = next((i for i, (a, b) in enumerate(zip(data, found[name][0], strict=False)) if a != b), -1)
            sizes = f"{len(data)} and {len(found[name][0])} bytes, first difference at {where:#x}"
            result.add(FAIL, f"{item.name} {name}", f"{what}: other bytes", sizes)
        elif found[name][1] != relocs:
            odd = sorted(set(relocs) ^ set(found[name][1]))[:4]
            result.add(FAIL, f"{item.name} {name}", f"{what}: other relocations", str(odd))


def _compare_all(result: Findings, item: Item, what: str, original: ElfObject, exported: bytes) -> None:
    """Every section, symbol and relocation: the objects are the same file once both are laid out by one writer."""
    if exported == write_elf(original):
        return
    found = read_elf(write_elf(original), item.name), read_elf(exported, item.name)
    names = [[section.name for section in obj.sections] for obj in found]
    contents = [{section.name: bytes(section.data) for section in obj.sections} for obj in found]
    if names[0] != names[1]:
        result.add(FAIL, item.name, f"{what}: other sections", f"{names[0]} / {names[1]}"[:400])
    elif differing := [name for name in contents[0] if contents[0][name] != contents[1][name]]:
        result.add(FAIL, item.name, f"{what}: other content", " ".join(differing)[:400])
    else:
        result.add(FAIL, item.name, f"{what}: other symbols or relocations")


def _code(func: FuncOp) -> Code:
    data = b"".join(bytes.fromhex(op.bytes.data) for op in func.entry.ops if isinstance(op, RawOp))
    return Code(data)


def _first_line(a: str, b: str) -> str:
    for x, y in zip(a.splitlines(), b.splitlines(), strict=False):
        if x != y:
            return f"{x.strip()[:200]}  /  {y.strip()[:200]}"
    return "one is longer"
