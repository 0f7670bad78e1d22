"""Constants: made where they are used rather than kept in a register.

Every constant is a copy from a template. One with a single use is made there; a copy of one to a node that did not get
the same register makes it again, at the price of the copy. A block argument that holds a constant already is not given
it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fsir.dialects.ebpf import LddwOp, LdSymOp, MovRIOp, UndefOp
from fsir.regalloc.model import FIRST, CodeBlock, Copies, Insn, Kind, MachineCode, Step


def template_cost(code: MachineCode, template: int) -> int:
    """Instruction slots that making the value takes."""
    maker = code.makers[template]
    if isinstance(maker, UndefOp):
        return 0
    if isinstance(maker, LddwOp | LdSymOp):
        return 2
    return 2 if maker.operands else 1


def template_key(code: MachineCode, template: int) -> object:
    """Equal for templates of equal values; None for those equal to no other."""
    maker = code.makers[template]
    if isinstance(maker, UndefOp):
        return None
    return maker.name, tuple(sorted(((k, v) for k, v in maker.properties.items()), key=lambda item: item[0]))


@dataclass(slots=True)
class _Copy:
    """A copy of a constant: number `index` of parallel copies in a block."""

    block: CodeBlock
    copies: Copies
    index: int

    @property
    def destination(self) -> int:
        return self.copies.pairs[self.index][0]

    def take(self, source: int) -> None:
        """Copy from another node, or a template."""
        self.copies.pairs[self.index] = (self.destination, source)


@dataclass(slots=True)
class _Uses:
    """Where a constant is made and used: blocks and indices of steps; copies."""

    made: tuple[CodeBlock, int] | None = None
    copied: list[_Copy] = field(default_factory=list)
    read: list[tuple[CodeBlock, int]] = field(default_factory=list)


def localise(code: MachineCode, apart: bool = True) -> None:
    """Make constants where they are used, if that takes no more instructions: those with a single use; cheap ones for
    machine registers (arguments of calls, results) and, if `apart`, for each block argument that gets them."""
    uses = {node: found for node, found in _find_uses(code).items() if found.made is not None}
    before = _separate(code, uses, apart)
    for node, found in uses.items():
        template = code.template[node]
        if len(found.copied) == 1 and not found.read:
            found.copied.pop().take(template)
        if not found.copied and not found.read:
            _unmake(found, node)
        elif not found.copied and len(found.read) == 1 and _should_sink(found):
            block, at = found.read[0]
            _unmake(found, node)
            before.append((block, block.steps[at], Copies([(node, template)], code.makers[template])))
    for block, step, made in before:
        at = next(at for at, other in enumerate(block.steps) if other is step)
        block.steps.insert(at - 1 if isinstance(step, Insn) and step.tied else at, made)


_Place = tuple[CodeBlock, Step, Copies]
"""Copies to make in front of a step of a block."""


def _separate(code: MachineCode, uses: dict[int, _Uses], apart: bool) -> list[_Place]:
    """Make cheap constants in the place of each copy to a machine register; where several other nodes get one by
    copies, in the place of the only copy to a node, or once before all of them by a node of its own."""
    made: list[_Place] = []
    for node, found in uses.items():
        template = code.template[node]
        if template_cost(code, template) > 1:
            continue
        groups: dict[int, list[_Copy]] = {}
        for copy in found.copied:
            if copy.destination < FIRST:
                copy.take(template)
            else:
                groups.setdefault(copy.destination, []).append(copy)
        if not apart and len(groups) + bool(found.read) > 1:
            found.copied = [copy for copies in groups.values() for copy in copies]
            continue
        found.copied = []
        for copies in groups.values():
            source = template
            if len(copies) > 1:
                block, step = _before_all(code, copies)
                if len(groups) + bool(found.read) < 2 or block.weight > _weight(found):
                    found.copied += copies
                    continue
                source = code.node(code.hint[node], template=template)
                made.append((block, step, Copies([(source, template)], code.makers[template])))
            for copy in copies:
                copy.take(source)
    return made


def _weight(found: _Uses) -> float:
    return found.made[0].weight if found.made is not None else 0.0


def _before_all(code: MachineCode, copies: list[_Copy]) -> tuple[CodeBlock, Step]:
    """A block and a step in it that come before all of the copies on every path."""
    index = copies[0].block.index
    for copy in copies:
        index = code.common_dominator(index, copy.block.index)
    block = code.blocks[index]
    own = [copy.copies for copy in copies if copy.block is block]
    first = next((step for step in block.steps if any(step is other for other in own)), None)
    if first is None:
        first = block.steps[-1]
        if len(block.steps) > 1 and isinstance(block.steps[-2], Copies):
            first = block.steps[-2]
    return block, first


def _find_uses(code: MachineCode) -> dict[int, _Uses]:
    uses: dict[int, _Uses] = {}
    for block in code.blocks:
        for at, step in enumerate(block.steps):
            if isinstance(step, Insn):
                for node in step.uses:
                    if code.template[node]:
                        uses.setdefault(node, _Uses()).read.append((block, at))
                continue
            for index, (node, source) in enumerate(step.pairs):
                if code.template[node]:
                    uses.setdefault(node, _Uses()).made = (block, at)
                if code.template[source]:
                    uses.setdefault(source, _Uses()).copied.append(_Copy(block, step, index))
    return uses


def _unmake(found: _Uses, node: int) -> None:
    assert found.made is not None
    block, at = found.made
    made = block.steps[at]
    assert isinstance(made, Copies)
    made.pairs = [pair for pair in made.pairs if pair[0] != node]


def _should_sink(found: _Uses) -> bool:
    """Whether the only reader is elsewhere, no oftener run, or behind a call."""
    assert found.made is not None
    (made_in, made_at), (read_in, read_at) = found.made, found.read[0]
    if made_in is not read_in:
        return read_in.weight <= made_in.weight
    return any(isinstance(step, Insn) and step.clobbers for step in made_in.steps[made_at:read_at])


def make_again(code: MachineCode, apart: Callable[[int, int], bool]) -> bool:
    """Replace copies of cheap constants (or of what is known to be one) to nodes that are `apart`, without a common
    register, by making them again. Gives whether there were any."""
    found = False
    for block in code.blocks:
        for step in block.steps:
            for index, (node, source) in enumerate(step.pairs if isinstance(step, Copies) else ()):
                template = code.template[source] or code.known.get((block.index, node), 0)
                if not template or code.kind[source] is not Kind.REGISTER:
                    continue
                if template_cost(code, template) <= 1 and apart(node, source):
                    assert isinstance(step, Copies)
                    step.pairs[index] = (node, template)
                    found = True
    return found


_State = dict[int, object]


def drop_repeated(code: MachineCode) -> None:
    """Drop copies of a constant to a block argument that holds it already on every path, with no call in between."""
    watched = _given_twice(code)
    if not watched:
        return
    out: dict[int, _State] = {}
    changed = True
    while changed:
        changed = False
        for index in code.order:
            state = _entering(code, code.blocks[index], out)
            for step in code.blocks[index].steps:
                _transfer(code, step, state, watched)
            if out.get(index) != state:
                out[index] = state
                changed = True
    for index in code.order:
        block = code.blocks[index]
        state = _entering(code, block, out)
        for step in block.steps:
            if isinstance(step, Copies):
                step.pairs = [pair for pair in step.pairs if not _is_repeated(code, pair, state)]
            _transfer(code, step, state, watched)


def _given_twice(code: MachineCode) -> set[int]:
    """The block arguments that get the same constant along several edges."""
    seen: set[tuple[int, object]] = set()
    twice: set[int] = set()
    for block in code.blocks:
        for step in block.steps:
            for node, source in step.pairs if isinstance(step, Copies) else ():
                if node in code.joins and code.kind[source] is Kind.TEMPLATE:
                    key = (node, template_key(code, source))
                    if key[1] is not None and key in seen:
                        twice.add(node)
                    seen.add(key)
    return twice


def _entering(code: MachineCode, block: CodeBlock, out: dict[int, _State]) -> _State:
    states = [out[p] for p in block.preds if p in out]
    if not states:
        return {}
    first, *others = states
    return {
        node: key
        for node, key in first.items()
        if node not in block.joins and all(other.get(node) == key for other in others)
    }


def _transfer(code: MachineCode, step: Step, state: _State, watched: set[int]) -> None:
    if isinstance(step, Insn):
        if step.clobbers:
            for node in [n for n in state if (code.hint[n] or 0) < 6]:
                del state[node]
        return
    for node, source in step.pairs:
        if node in watched:
            key = template_key(code, source) if code.kind[source] is Kind.TEMPLATE else None
            if key is None:
                state.pop(node, None)
            else:
                state[node] = key


def _is_repeated(code: MachineCode, pair: tuple[int, int], state: _State) -> bool:
    node, source = pair
    return node in state and code.kind[source] is Kind.TEMPLATE and state[node] == template_key(code, source)


def small_immediate(code: MachineCode, template: int) -> int | None:
    """The value of a template that a store instruction can hold."""
    maker = code.makers[template]
    return maker.int_prop("imm") if isinstance(maker, MovRIOp) and maker.row.width == 64 else None
