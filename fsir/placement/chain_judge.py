"""Whether a chain is good enough: short enough, or taken by the kernel; and if not, which link is to blame."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.ebpf import FuncOp
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.pass_manager import run_pipeline
from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.object.encode import instruction_count
from fsir.object.exporter import export_object
from fsir.placement.verified import GAVE_UP, VISITED, NotTried, linked, log_size, sizes_of, words_of


@dataclass(frozen=True)
class Blame:
    """What is wrong, in words. If `gave_up`, functions are too much, and if `by_length`, that of this `name` is too
    long; otherwise it is refused for what it does."""

    name: str | None
    words: str
    gave_up: bool
    by_length: bool = False


def lowered(ctx: Context, candidate: ModuleOp) -> dict[str, FuncOp]:
    """The functions of a module as machine code. `candidate` is changed."""
    with collecting(Diagnostics()):  # remarks are for the module that stays
        run_pipeline(ctx, candidate, "lower-to-xdp")
    return {op.symbol: op for op in candidate.body.block.ops if isinstance(op, FuncOp)}


def too_long(functions: dict[str, FuncOp], names: list[str], limit: int) -> Blame | None:
    """The longest of the functions of these names, if it has more instructions than `limit`."""
    length, name = max((instruction_count(functions[name]), name) for name in names)
    return Blame(name, f"it has {length} instructions", gave_up=True, by_length=True) if length > limit else None


def refused(candidate: ModuleOp, functions: dict[str, FuncOp], names: list[str]) -> Blame | None:
    """What the kernel refuses of a lowered program whose functions are `names`, the program's own first. Where it gave
    up, no function is to blame: what it follows counts for all of them together. Raises NotTried, KernelUnavailable."""
    elf, sizes, program = export_object(candidate), sizes_of(candidate), names[0]
    try:
        KernelProgram(elf, program, map_sizes=sizes, short_log=True).close()
    except KernelError as error:
        said = GAVE_UP.search(error.log)
        if said is not None:
            line = next(line for line in error.log.splitlines() if GAVE_UP.search(line))
            return Blame(None, line.strip(), gave_up=True)
        return _wrong(elf, sizes, functions, names)
    return None


def _wrong(elf: bytes, sizes: dict[str, int], functions: dict[str, FuncOp], names: list[str]) -> Blame:
    """The function with the instruction that the kernel refuses, or that calls the one with it."""
    program = names[0]
    try:
        KernelProgram(elf, program, map_sizes=sizes, log_size=log_size()).close()
    except KernelError as error:
        visited = [int(number) for number in VISITED.findall(error.log)]
        if not visited:
            raise NotTried(str(error)) from error
        starts = linked(functions[program], functions)
        for number in reversed(visited):
            func = max((f for f in starts if starts[f] <= number), key=lambda f: starts[f])
            if func.symbol in names:
                return Blame(func.symbol, words_of(error.log), gave_up=False)
        raise NotTried(f"it says: {words_of(error.log)}") from error
    raise NotTried("it refuses the program, and takes it when asked again")


__all__ = ["Blame", "lowered", "refused", "too_long"]
