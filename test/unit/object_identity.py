"""What must hold of every object that comes in and goes out unchanged."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.verify import verify_module
from fsir.analysis.verify_allocated import verify_allocated
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.emitters import print_module
from fsir.driver.inputs import parse_text
from fsir.object.elf import ElfObject, read_elf, write_elf
from fsir.object.exporter import export_object
from fsir.object.importer import import_object


def code_of(obj: ElfObject) -> dict[str, tuple[bytes, list[tuple[int, int, str, int]]]]:
    """Bytes and relocations (offset, type, symbol name, symbol value) of every code section."""
    result = {}
    for index, section in enumerate(obj.sections):
        if section.is_code:
            relocs = sorted(
                (r.offset, r.type, obj.symbols[r.symbol].name, obj.symbols[r.symbol].value)
                for r in obj.relocs.get(index, ())
            )
            result[section.name] = (bytes(section.data), relocs)
    return result


def check_identity(data: bytes, name: str = "source.o") -> ModuleOp:
    """The module of an object, after exporting it: directly and by way of text with locations the whole object is the
    same but for the layout of the file; by way of plain text the code is. Texts are printed again as they were."""
    module = import_object(data, name)
    verify_module(module)
    for func in functions(module):
        verify_allocated(func)
    whole = write_elf(read_elf(data, name))  # laid out as our writer does
    assert export_object(module) == whole
    assert export_object(reread(module, name, True)) == whole
    plain = read_elf(export_object(reread(module, name, False)), name)
    assert code_of(plain) == code_of(read_elf(data, name))
    return module


def reread(module: ModuleOp, name: str, locations: bool) -> ModuleOp:
    """The module that the text of a module gives."""
    text = print_module(module, debuginfo=locations)
    again = parse_text(make_context(), text, name)
    verify_module(again)
    assert print_module(again, debuginfo=locations) == text
    return again
