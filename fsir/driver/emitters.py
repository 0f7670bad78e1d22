"""The two targets that need no backend: the IR as text, and the module as an object file."""

from __future__ import annotations

from io import StringIO

from xdsl.dialects.builtin import ModuleOp

from fsir.driver.targets import EmitOptions


def print_module(module: ModuleOp, generic: bool = False, debuginfo: bool = False) -> str:
    """The text of `module`, ending with a line break; `debuginfo` adds the locations."""
    from fsir.driver.ir_text import TextPrinter

    out = StringIO()
    TextPrinter(stream=out, print_generic_format=generic, print_debuginfo=debuginfo).print_op(module)
    return out.getvalue() + "\n"


def emit_mlir(module: ModuleOp, options: EmitOptions) -> str:
    """Target `mlir`."""
    return print_module(module, options.print_op_generic, options.print_debuginfo)


def emit_elf(module: ModuleOp, options: EmitOptions) -> bytes:
    """Target `elf`."""
    from fsir.object.exporter import export_object

    return export_object(module)
