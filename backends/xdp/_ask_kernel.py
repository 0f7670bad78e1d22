"""What the kernel says of lowered programs; part of `lower-to-xdp`."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.ebpf import CallLocalOp, FuncOp, LdSymOp, functions
from fsir.driver.diagnostics import fail
from fsir.kernel.availability import unavailable
from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.object.exporter import export_object
from fsir.object.original import restore_original


def refused(module: ModuleOp) -> Iterator[tuple[FuncOp, str]]:
    """The functions of programs that the kernel of this machine refuses although it takes their original code, with its
    last words. Programs that it does not take either way (of a type that nobody names, for hooks that it lacks) are
    passed over. Fails where there is no such kernel."""
    if (reason := unavailable()) is not None:
        fail(module, f"ask-kernel needs a kernel to ask: {reason}")
    original: bytes | None = None
    elf = export_object(module)
    for program in [func for func in functions(module) if func.type_name is not None]:
        changed = [func for func in _reachable(module, program) if func.original is not None and func.keep is None]
        if not changed or (words := _refusal(elf, program.symbol)) is None:
            continue
        original = original or _original(module)
        if _refusal(original, program.symbol) is None:
            yield from ((func, f"the kernel refuses {program.symbol}: {words}") for func in changed)


def _refusal(elf: bytes, program: str) -> str | None:
    """Why a program does not load; None if it does."""
    try:
        KernelProgram(elf, program).close()
    except KernelError as error:
        lines = [line for line in error.log.splitlines() if line and not line.startswith(_NOISE)]
        return lines[-1].strip() if lines else str(error).splitlines()[0]
    return None


_NOISE = ("processed ", "-- END", "verification time", "stack depth", "libbpf: ")


def _original(module: ModuleOp) -> bytes:
    """The object with the original code of all functions that have one."""
    copy = module.clone()
    for func in functions(copy):
        if func.original is not None and func.keep is None:
            restore_original(func, "")
    return export_object(copy)


def _reachable(module: ModuleOp, program: FuncOp) -> list[FuncOp]:
    """A program, and what it calls or takes the address of, directly or not."""
    by_name = {func.symbol: func for func in functions(module)}
    found: dict[str, FuncOp] = {}
    work = [program.symbol]
    while work:
        name = work.pop()
        if name in by_name and name not in found:
            found[name] = by_name[name]
            for op in by_name[name].walk():
                if isinstance(op, CallLocalOp):
                    work.append(op.callee.root_reference.data)
                elif isinstance(op, LdSymOp):
                    work.append(op.sym.root_reference.data)
    return list(found.values())
