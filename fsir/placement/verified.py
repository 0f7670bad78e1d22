"""The kernel's word on a placement: the candidate for XDP is loaded, and what the verifier refuses is kept off XDP.

The verifier names an instruction. Each operation of the candidate has as its location the piece of the flow graph that
it was made of, and keeps it down to machine code: so the instruction says which piece is to blame. Where the verifier
gives up (too many instructions, too many states), branches and loops that it spent its time in are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FileLineColLoc, IntAttr, LocationAttr, ModuleOp, StringAttr
from xdsl.ir import Operation

from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.driver.diagnostics import Diagnostics, collecting, fail
from fsir.driver.pass_manager import run_pipeline
from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError, KernelUnavailable
from fsir.object.encode import size_of
from fsir.object.exporter import export_object
from fsir.placement.assemble import Assembler
from fsir.placement.cuts import PartCuts
from fsir.placement.decide import Decision, Placed, Program
from fsir.placement.lowering import lowered_of, parts_of
from fsir.placement.targets import load
from fsir.run.kernel import running_kernel

VISITED = re.compile(r"^(?:from \d+ to )?(\d+): \([0-9a-f]{2}\)", re.MULTILINE)
GAVE_UP = re.compile(r"too large|too complex|too many|exceeded", re.IGNORECASE)
_NOISE = ("processed ", "libbpf:", "-- ", "verification time", "stack depth", "mark_precise", "(the last")
_LOG = 1 << 20  # its end is what matters
_SIZE = 64  # entries of a map whose size is left to the loader
_PAGE = 4096
_MARK = "\0piece"


@dataclass(frozen=True)
class Refusal:
    """What the verifier refused: `words` are its own, `pieces` those to blame, most to blame first. `gave_up` says that
    it was too much for it: then any of them may do. `compiled` is false where the refused code is the original's, whose
    instructions are of no known piece."""

    words: str
    program: Program
    pieces: list[int]
    gave_up: bool
    compiled: bool


class NotTried(Exception):
    """The candidate could not be offered to the verifier; the message says why."""


class Verifier:
    """The kernel's verifier as the last rule of feasibility, for one module."""

    def __init__(self, ctx: Context, module: ModuleOp) -> None:
        self.ctx, self.module = ctx, module
        self._at_once = 1
        """Pieces to take away where the verifier gives up: twice as many each time."""

    def accepts(self, decision: Decision, cuts: list[list[PartCuts]]) -> bool:
        """Whether the kernel takes a placement; if it does not, what it refuses is forbidden there from now on. Fails
        where that cannot be found out, or helps no more."""
        candidate = self.module.clone()
        programs = [placed.program for placed in decision.placed]
        with _marked(programs):
            Assembler(candidate, decision, "aborted").run(cuts)
        try:
            refused = _refusal(self.ctx, candidate, programs)
        except KernelUnavailable as error:
            fail(self.module, f"verify: {error}")
        except NotTried as error:
            fail(programs[0].func, f"verify: the kernel cannot say whether it takes this: {error}")
        if refused is None:
            return True
        (t,) = [t for t, target in enumerate(decision.targets) if target.kind == "xdp"]
        (placed,) = [placed for placed in decision.placed if placed.program is refused.program]
        if not self._learn(placed, t, refused):
            fail(refused.program.func, f"verify: the kernel's verifier refuses it whatever is moved: {refused.words}")
        return False

    def _learn(self, placed: Placed, t: int, refused: Refusal) -> bool:
        """Forbid what is to blame; whether there was anything."""
        func, learned = refused.program.func, 0
        if not refused.compiled and "original" in func.properties:
            func.properties.pop("original")  # when compiled, its instructions say where they come from
            return True
        why = f"the kernel's verifier refuses it: {refused.words}"
        for number in refused.pieces:
            learned += placed.refuse(number, t, why)
            if refused.gave_up and learned == self._at_once:
                break
        if refused.gave_up:
            self._at_once *= 2
        return learned > 0


@contextmanager
def _marked(programs: Sequence[Program]) -> Iterator[None]:
    """Within the block, the location of each operation of the programs is its piece."""
    before: list[tuple[Operation, LocationAttr]] = []
    for program in programs:
        name = StringAttr(_MARK + program.func.symbol)
        for number, piece in enumerate(program.graph.pieces):
            mark = FileLineColLoc(name, IntAttr(number), IntAttr(0))
            for block in piece.blocks:
                for op in block.ops:
                    before.append((op, op.location))
                    op.location = mark
    try:
        yield
    finally:
        for op, location in before:
            op.location = location


def _refusal(ctx: Context, candidate: ModuleOp, programs: Sequence[Program]) -> Refusal | None:
    """What the kernel refuses of the XDP part of a placed module, made while the programs were `_marked`; None when it
    takes all. `candidate` is changed. Raises NotTried, and KernelUnavailable."""
    with collecting(Diagnostics()):  # remarks are for the placement that stays
        run_pipeline(ctx, candidate, "share-maps,lower")
    for part in parts_of(candidate):
        if load(part.target.data).kind != "xdp":
            continue
        lowered = lowered_of(candidate, part)
        assert lowered is not None
        elf, sizes = export_object(lowered), sizes_of(lowered)
        here = {op.symbol for op in lowered.body.block.ops if isinstance(op, FuncOp)}
        for program in (program for program in programs if program.func.symbol in here):
            try:
                KernelProgram(elf, program.func.symbol, map_sizes=sizes, log_size=log_size()).close()
            except KernelError as error:
                if not VISITED.search(error.log):
                    raise NotTried(str(error)) from error
                return _blamed(error.log, lowered, program)
    return None


def log_size() -> int | None:
    """How much of the log to take: its end, where the kernel can do that."""
    return _LOG if running_kernel() >= (6, 4) else None


def sizes_of(module: ModuleOp) -> dict[str, int]:
    """Sizes for maps that leave theirs to the loader."""
    return {
        op.sym_name.data: _PAGE if op.type.data.endswith("ringbuf") else _SIZE
        for op in module.body.block.ops
        if isinstance(op, DeclOp)
        and op.internal is None
        and op.template is None
        and not op.int_prop("max_entries")
        and op.type.data != "perf_event_array"
        and not op.type.data.endswith("_storage")
    }


def words_of(log: str) -> str:
    """Why the verifier refuses, in its own words: what it says after the last instruction that it visited."""
    last = [match.end() for match in VISITED.finditer(log)][-1]
    lines = [line.strip() for line in log[last:].splitlines()[1:]]
    telling = [line for line in lines if line and not line.startswith((*_NOISE, ";"))]
    return "; ".join(telling[:2])[:200] or "it does not say why"


def _blamed(log: str, lowered: ModuleOp, program: Program) -> Refusal:
    functions = {op.symbol: op for op in lowered.body.block.ops if isinstance(op, FuncOp)}
    words = words_of(log)
    main = functions[program.func.symbol]
    made_of = _pieces(main, functions, program)
    visited = [piece for number in VISITED.findall(log) for piece in made_of.get(int(number), ())]
    gave_up = GAVE_UP.search(words) is not None
    found = _crowded(visited, program) if gave_up else list(dict.fromkeys(reversed(visited)))[:1]
    return Refusal(words, program, found, gave_up, main.keep is None)


def _crowded(visited: list[int], program: Program) -> list[int]:
    """Where the verifier gave up: the loop that it spent its time in, or, as the ways through the program multiply with
    each branch, the last branch that it saw, and those before it."""
    graph = program.graph
    if not visited:
        return []
    number, times = Counter(visited).most_common(1)[0]
    if graph.pieces[number].is_loop and 2 * times > len(visited):
        return [number]
    branching = [n for n in visited if len(graph.exits(n)) > 1 or graph.pieces[n].is_loop]
    last = max(branching, default=max(visited))
    before = {last}
    for n in range(last, -1, -1):
        if any(successor in before for successor, _ in graph.exits(n)):
            before.add(n)
    return [n for n in sorted(before, reverse=True) if n == last or len(graph.exits(n)) > 1]


def _pieces(main: FuncOp, functions: Mapping[str, FuncOp], program: Program) -> dict[int, list[int]]:
    """By number of an instruction, as the verifier counts: the pieces of the program that it comes from. Functions
    that are called count as all the pieces that call them, directly or not."""
    found: dict[int, list[int]] = {}
    callers: dict[str, set[int]] = {}
    for number, piece in enumerate(program.graph.pieces):
        for name in (name for block in piece.blocks for op in block.ops for name in _called(op)):
            callers.setdefault(name, set()).add(number)
    for func, start in linked(main, functions).items():
        at = start
        for op in func.walk():
            size = size_of(op) // 8
            if size and func is main:
                mark = _mark_of(op)
                found.update({at + i: [] if mark is None else [mark] for i in range(size)})
            elif size:
                found.update({at + i: sorted(callers.get(func.symbol, ())) for i in range(size)})
            at += size
        for name in {name for op in func.walk() for name in _called(op)}:
            callers.setdefault(name, set()).update(callers.get(func.symbol, ()))
    return found


def linked(main: FuncOp, functions: Mapping[str, FuncOp]) -> dict[FuncOp, int]:
    """The first instruction of each function of a loaded program: called ones behind it, in the order in which a
    loader comes to them."""
    found: dict[FuncOp, int] = {}
    end = 0

    def add(func: FuncOp) -> None:
        nonlocal end
        found[func] = end
        end += sum(size_of(op) for op in func.walk()) // 8
        for op in func.walk():
            for name in _called(op):
                if name in functions and functions[name] not in found:
                    add(functions[name])

    add(main)
    return found


def _called(op: Operation) -> list[str]:
    """The functions that an operation calls, or takes the address of."""
    if isinstance(op, ebpf.CallLocalOp):
        return [op.callee.root_reference.data]
    return [op.sym.root_reference.data] if isinstance(op, ebpf.LdSymOp) else []


def _mark_of(op: Operation) -> int | None:
    location = op.location
    if isinstance(location, FileLineColLoc) and location.filename.data.startswith(_MARK):
        return location.line.data
    return None


__all__ = ["Verifier"]
