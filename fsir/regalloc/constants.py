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
class _Uses:
    """Where a constant is made and used: blocks and indices of steps; copies with the number of the pair."""

    made: tuple[CodeBlock, int] | None = None
    copied: list[tuple[Copies, int]] = field(default_factory=list)
    read: list[tuple[CodeBlock, int]] = field(default_factory=list)


def localise(code: MachineCode) -> None:
    """Make constants where they are used, if that takes no more instructions: those with a single use, cheap ones for
    the machine's registers (arguments of calls, results), and for block arguments that get them from one edge each."""
    before: dict[int, list[tuple[int, Step]]] = {}
    for node, found in _find_uses(code).items():
        if found.made is None:
            continue
        template = code.template[node]
        if template_cost(code, template) <= 1:
            found.copied = [use for use in found.copied if not _make_for(use, template, to_machine=True)]
        if not found.copied and not found.read:
            _unmake(found, node)
        elif found.copied and not found.read and (len(found.copied) == 1 or _is_spread(code, found, template)):
            for use in found.copied:
                _make_for(use, template)
            _unmake(found, node)
        elif found.copied or len(found.read) != 1:
            continue
        elif _should_sink(found):
            block, at = found.read[0]
            _unmake(found, node)
            before.setdefault(block.index, []).append((at, Copies([(node, template)], code.makers[template])))
    for index, inserted in before.items():
        steps = code.blocks[index].steps
        for at, made in sorted(inserted, key=lambda item: item[0], reverse=True):
            step = steps[at]
            steps.insert(at - 1 if isinstance(step, Insn) and step.tied else at, made)


def _make_for(use: tuple[Copies, int], template: int, to_machine: bool = False) -> bool:
    """Make the constant in the place of a copy of it; with `to_machine` only if that goes to a machine register."""
    copies, index = use
    node = copies.pairs[index][0]
    if to_machine and node >= FIRST:
        return False
    copies.pairs[index] = (node, template)
    return True


def _is_spread(code: MachineCode, found: _Uses, template: int) -> bool:
    """Whether a cheap constant goes to different nodes, each of which gets it once."""
    nodes = [copies.pairs[index][0] for copies, index in found.copied]
    return template_cost(code, template) <= 1 and len(set(nodes)) == len(nodes)


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
                    uses.setdefault(source, _Uses()).copied.append((step, index))
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
    """Replace copies of cheap constants to nodes that are `apart`, without a common register, by making them again.
    Gives whether there were any."""
    found = False
    for block in code.blocks:
        for step in block.steps:
            for index, (node, source) in enumerate(step.pairs if isinstance(step, Copies) else ()):
                template = code.template[source]
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
