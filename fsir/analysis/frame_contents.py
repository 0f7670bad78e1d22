"""Which words a load from a stack frame may give, across joins, calls and callbacks.

    contents = FrameContents(module, funcs)
    contents.stored(load)          the values that may have been stored there last, or None where that is not known

A forward analysis of what all frames hold, as the kernel's verifier keeps it: a program stores addresses into its frame
or into a struct there, hands the address of that to its functions, and these load them again. A static function is
followed for each different thing that it is called with, a callback any number of times; what it stores in its callers'
frames they find there. Whatever may have written a word in another way ends the knowledge of it: a store at an unknown
offset, a helper, a kernel function, a function that others may replace: the kernel verifies that by itself, and lets it
have no memory but what it is given.

As for the verifier, an address of a frame comes from a frame pointer or from a frame, and from no other memory. What
nobody has written on some path (a function that failed has not stored what it parsed) is undefined there: a load gives
what the other paths stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush

from xdsl.dialects.builtin import ModuleOp, i64
from xdsl.ir import Block, Operation, SSAValue
from xdsl.traits import Pure

from fsir.analysis.callbacks import CALLBACK_CONTEXT, Callbacks, called_back
from fsir.analysis.cfg import edges
from fsir.analysis.dominance import DominatorTree
from fsir.analysis.frame import How, declared_maps, is_static, touches
from fsir.analysis.frame_words import (
    ANYWHERE,
    NOTHING,
    OWN,
    UNDEFINED,
    WORD,
    Cell,
    Memory,
    Place,
    Stored,
    Word,
    backwards,
    renumbered,
    returned,
    translated,
)
from fsir.analysis.signatures import Signatures
from fsir.analysis.signs import is_field_offset, is_not_negative
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FramePointerType, FuncOp, RegType
from fsir.interp.helpers import HELPERS

_CONTEXTS = 12
"""So many different states in which a function is called are told apart; what comes then is taken together."""
_VISITS = 4_000_000
"""Operations looked at before the analysis gives up."""
_ACCESSES = (ebpf.LdxOp, ebpf.StxOp, ebpf.StOp, ebpf.AtomicOp, ebpf.AtomicFetchOp, ebpf.CmpxchgOp)


class FrameContents:
    """What loads from frames give in a module's virtual or raised functions."""

    def __init__(self, module: ModuleOp, funcs: Iterable[FuncOp]) -> None:
        self._follow = _Follow(module, funcs)

    def stored(self, load: ebpf.LdxOp) -> frozenset[Stored] | None:
        """What a load of eight bytes may give: the values last stored there, or None where that is not known."""
        return None if self._follow.spent else self._follow.found.get(load)

    def elsewhere(self, load: ebpf.LdxOp) -> bool:
        """Whether a load surely reads something else than a frame."""
        follow = self._follow
        return not follow.spent and load in follow.found and load not in follow.from_frames


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a function is called with: its arguments, and its callers' frames."""

    args: tuple[Word, ...]
    cells: frozenset[tuple[tuple[int, int], Cell]]
    spilled: frozenset[int]

    @staticmethod
    def of(args: Iterable[Word], memory: Memory) -> _Entry:
        return _Entry(tuple(args), frozenset(memory.cells.items()), memory.spilled)

    def memory(self) -> Memory:
        return Memory(dict(self.cells), self.spilled)

    def join(self, other: _Entry) -> _Entry:
        args = (a.join(b) for a, b in zip(self.args, other.args, strict=True))
        return _Entry.of(args, self.memory().join(other.memory()))


@dataclass(frozen=True, slots=True)
class _Exit:
    """What a function leaves: its callers' frames, and the value that it returns."""

    memory: Memory
    value: Word


class _Follow:
    """Follows all functions from where they are called."""

    def __init__(self, module: ModuleOp, funcs: Iterable[FuncOp]) -> None:
        self.module = module
        self.funcs = {func.symbol: func for func in funcs}
        self.maps = declared_maps(module)
        self.found: dict[ebpf.LdxOp, frozenset[Stored] | None] = {}
        self.from_frames: set[ebpf.LdxOp] = set()
        self.visits = 0
        self._orders: dict[str, list[Block]] = {}
        self._known: dict[tuple[str, _Entry], _Exit | None] = {}
        self._contexts: Counter[str] = Counter()
        self._common: dict[str, _Entry] = {}
        self._active: list[str] = []
        if any(func.symbol not in self.funcs for func in ebpf.functions(module)):
            self.give_up()  # nobody knows what those call
        callbacks = Callbacks(self.funcs.values())
        for func in self.funcs.values():
            if not is_static(func) or func.symbol in callbacks.taken:
                self.enter(func)

    @property
    def spent(self) -> bool:
        """Whether the analysis gave up."""
        return self.visits > _VISITS

    def give_up(self) -> None:
        """Nothing is known of any load."""
        self.visits = _VISITS + 1

    def enter(self, func: FuncOp) -> None:
        """A function may be called in a way that is not followed."""
        if func.symbol in self._active:
            self.give_up()
        else:
            self.call(func, _Entry.of([NOTHING] * len(func.entry.args), Memory()))

    def order(self, func: FuncOp) -> list[Block]:
        if func.symbol not in self._orders:
            self._orders[func.symbol] = DominatorTree(func.body).rpo
        return self._orders[func.symbol]

    def callee(self, name: str, arguments: int) -> FuncOp | None:
        """The function that a call runs, if the call can be followed."""
        func = self.funcs.get(name)
        if func is None or not is_static(func):
            return None
        if name in self._active or arguments > len(func.entry.args):
            self.enter(func)
            return None
        return func

    def given(self, call: ebpf.CallLocalOp) -> list[tuple[int, int | None]] | None:
        """For a call of a global function, which the kernel verifies by itself, the arguments that may be addresses, by
        number, and how many bytes the function gets there; None for any other call."""
        func = self.funcs.get(call.callee.root_reference.data)
        says = self._signatures
        if func is None or says.arity(func) is None:
            return None
        count = len(call.operands)
        return [(i, says.memory(func, i)) for i in range(count) if says.parameter(func, i) != i64]

    @cached_property
    def _signatures(self) -> Signatures:
        return Signatures(self.module)

    def call(self, func: FuncOp, entry: _Entry) -> _Exit | None:
        """What a function leaves; None if it does not return, as far as is known yet."""
        name = func.symbol
        if (name, entry) not in self._known and self._contexts[name] >= _CONTEXTS:
            entry = self._common[name] = entry.join(self._common.get(name, entry))
        key = name, entry
        if key not in self._known:
            self._contexts[name] += 1
            self._active.append(name)
            self._known[key] = _Run(self, func, entry).run()
            self._active.pop()
        return self._known[key]

    def note(self, load: ebpf.LdxOp, stored: frozenset[Stored] | None) -> None:
        """A load may give these, too."""
        known = self.found.get(load, frozenset())
        self.found[load] = None if stored is None or known is None else known | stored


class _Run:
    """One function, called in one state, to its fixed point."""

    def __init__(self, shared: _Follow, func: FuncOp, entry: _Entry) -> None:
        self.shared, self.func = shared, func
        self.order = shared.order(func)
        self.number = {block: i for i, block in enumerate(self.order)}
        self.words: dict[SSAValue, Word] = dict(zip(func.entry.args, entry.args, strict=True))
        self.entering: dict[Block, Memory] = {func.entry: entry.memory().with_frame()}
        self.waiting: list[int] = [0]
        self.exit: _Exit | None = None

    def run(self) -> _Exit | None:
        while self.waiting and not self.shared.spent:
            block = self.order[heappop(self.waiting)]
            while self.waiting and self.waiting[0] == self.number[block]:
                heappop(self.waiting)
            memory = self.entering[block].copy()
            if all(self.visit(op, memory) for op in block.ops):
                self.leave(block, memory)
        return self.exit

    def leave(self, block: Block, memory: Memory) -> None:
        """Go on to the successors of a block, where something new comes to them."""
        for successor, values in edges(block):
            for value, arg in zip(values, successor.args, strict=True):
                self.learn(arg, self.words.get(value, NOTHING))
            before = self.entering.get(successor)
            after = memory.copy() if before is None else before.join(memory)
            if after != before:
                self.entering[successor] = after
                heappush(self.waiting, self.number[successor])

    def learn(self, value: SSAValue, word: Word) -> None:
        """A value may be this, too."""
        before = self.words.get(value)
        after = word if before is None else before.join(word)
        if after != before:
            self.words[value] = after
            blocks = {use.operation.parent for use in value.uses}
            for block in blocks:
                if block in self.entering:
                    heappush(self.waiting, self.number[block])

    def visit(self, op: Operation, memory: Memory) -> bool:
        """Whether control comes past an operation."""
        self.shared.visits += 1
        if op.successors:
            return True
        words = [self.words.get(value, NOTHING) for value in op.operands]
        if isinstance(op, ebpf.FpOp):
            self.learn(op.res, Word(frozenset({(OWN, Place(0))}), sure=True))
        elif isinstance(op, ebpf.LdxOp):
            self.load(op, words[0], memory)
        elif isinstance(op, ebpf.StxOp | ebpf.StOp):
            self.store(op, words, memory)
        elif isinstance(op, ebpf.CallLocalOp):
            return self.call(op, words, memory)
        elif isinstance(op, ebpf.CallOp) and op.helper.data in CALLBACK_CONTEXT:
            self.call_back(op, words, memory)
        elif isinstance(op, ebpf.ExitOp):
            self.leave_function(words, memory)
        elif any(word.places for word in words):
            self.use(op, words, memory)
        return True

    def load(self, op: ebpf.LdxOp, base: Word, memory: Memory) -> None:
        if base == UNDEFINED:
            self.learn(op.res, UNDEFINED)
            return
        if base.places:
            self.shared.from_frames.add(op)
        if op.row.width != 8 * WORD or not base.places:
            self.learn(op.res, NOTHING)
            self.shared.note(op, None)
            return
        cell = memory.load(_moved(op, base)) if op.row.op == "ldx" else None
        self.shared.note(op, None if cell is None else cell.stored)
        self.learn(op.res, memory.anything() if cell is None else cell.word)

    def store(self, op: ebpf.StxOp | ebpf.StOp, words: Sequence[Word], memory: Memory) -> None:
        value, word = (op.value, words[1]) if isinstance(op, ebpf.StxOp) else (op, NOTHING)
        memory.store(_moved(op, words[0]), op.row.width // 8, Cell(frozenset((value,)), word))

    def use(self, op: Operation, words: Sequence[Word], memory: Memory) -> None:
        """Any other operation that takes an address of a frame."""
        result = _arithmetic(op, words)
        if result is not None:
            self.learn(op.results[0], result)
            return
        if isinstance(op, ebpf.CallxOp) or self.calls_back(op):
            self.unknown(words, memory)
        for index, word in enumerate(words if not op.has_trait(Pure) else ()):
            found = touches(op, index, self.shared.maps) if "core" not in op.properties else None
            if found is None:
                memory.spill(word)
            for region, place in word.places:
                if found is None:
                    memory.forget(region, place if isinstance(op, _TAKING_OBJECTS) else ANYWHERE, None)
                for touch in found or ():
                    if touch.how in (How.STORE, How.WRITE):
                        memory.forget(region, place.moved(touch.start), touch.size)
        if op.results and _gives_memory(op):
            self.learn(op.results[0], _lost(words))

    def calls_back(self, op: Operation) -> bool:
        """Whether an operation takes the address of a function of the program."""
        symbols = [v.owner.sym.root_reference.data for v in op.operands if isinstance(v.owner, ebpf.LdSymOp)]
        return any(name in self.shared.funcs for name in symbols)

    def call(self, op: ebpf.CallLocalOp, words: Sequence[Word], memory: Memory) -> bool:
        func = self.shared.callee(op.callee.root_reference.data, len(words))
        if func is None:
            given = self.shared.given(op)
            if given is not None:
                self.call_global([(words[i], size) for i, size in given], memory)
                self.learn(op.results[0], NOTHING)
                return True
            self.unknown(words, memory)
            self.learn(op.results[0], memory.anything())
            return True
        left = self.run_callee(func, words, memory)
        if left is None:
            return False
        memory.cells, memory.spilled = left.memory.cells, left.memory.spilled
        self.learn(op.results[0], left.value)
        return True

    def call_global(self, given: Iterable[tuple[Word, int | None]], memory: Memory) -> None:
        """Code runs that can write what it is given, from the address upwards, but not keep it, or write addresses."""
        for word, size in given:
            memory.spill(word)
            for region, place in word.places:
                memory.forget(region, place, size)

    def call_back(self, op: ebpf.CallOp, words: Sequence[Word], memory: Memory) -> None:
        """A helper that calls a function of the program any number of times."""
        passed, taken = CALLBACK_CONTEXT[op.helper.data]
        name = called_back(op, self.shared.funcs)
        func = self.shared.callee(name, 0) if name is not None else None
        if func is None or passed >= len(words):
            self.unknown(words, memory)
            return
        args = [words[passed] if i == taken else NOTHING for i in range(len(func.entry.args))]
        while True:
            left = self.run_callee(func, args, memory)
            joined = memory if left is None else memory.join(left.memory)
            if joined == memory:
                return
            memory.cells, memory.spilled = joined.cells, joined.spilled

    def unknown(self, words: Iterable[Word], memory: Memory) -> None:
        """Code of the program runs that is not followed: it can reach everything."""
        memory.cells.clear()
        for word in words:
            memory.spill(word)

    def run_callee(self, func: FuncOp, words: Sequence[Word], memory: Memory) -> _Exit | None:
        """What a call leaves, as this function sees it."""
        names = renumbered(words, memory)
        inner = Memory(
            {
                (names[region][0], offset - names[region][1]): Cell(cell.stored, translated(cell.word, names))
                for (region, offset), cell in memory.cells.items()
                if region in names
            },
            frozenset(names[region][0] for region in memory.spilled),
        )
        args = [translated(word, names) for word in words]
        args += [NOTHING] * (len(func.entry.args) - len(args))
        left = self.shared.call(func, _Entry.of(args, inner))
        if left is None:
            return None
        back = backwards(names)
        cells = {key: cell for key, cell in memory.cells.items() if key[0] not in names}
        for (number, offset), cell in left.memory.cells.items():
            if number in back:
                region, start = back[number]
                cells[region, offset - start] = Cell(cell.stored, returned(cell.word, back))
        spilled = memory.spilled | {back[number][0] for number in left.memory.spilled if number in back}
        return _Exit(Memory(cells, spilled), returned(left.value, back))

    def leave_function(self, words: Sequence[Word], memory: Memory) -> None:
        kept = Memory({key: cell for key, cell in memory.cells.items() if key[0] != OWN}, memory.spilled - {OWN})
        value = words[0] if words else NOTHING
        if self.exit is not None:
            kept, value = kept.join(self.exit.memory), value.join(self.exit.value)
        self.exit = _Exit(kept, value)


def _moved(op: ebpf.LdxOp | ebpf.StxOp | ebpf.StOp, base: Word) -> Word:
    """Where an access is made. The loader writes the offset of a relocated one: that of a field, if it is one."""
    if op.core is None:
        return base.each(lambda place: place.moved(op.off.data))
    return base.each(Place.upwards if is_field_offset(op) else lambda place: ANYWHERE)


_TAKING_OBJECTS = (ebpf.CallOp, ebpf.CallKfuncOp)
"""Helpers and kernel functions do what they do with memory from an address upwards."""


def _gives_memory(op: Operation) -> bool:
    """Whether what an operation gives may be memory that it was given: of helpers and kernel functions, only those do
    that copy a part of a dynptr into a buffer if they must."""
    if not isinstance(op.results[0].type, RegType | FramePointerType):
        return False
    if isinstance(op, ebpf.CallOp):
        return op.helper.data not in HELPERS
    return not isinstance(op, ebpf.CallKfuncOp) or op.callee is None or op.callee.root_reference.data in _SLICES


_SLICES = frozenset({"bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"})


def _arithmetic(op: Operation, words: Sequence[Word]) -> Word | None:
    """The address that an operation makes of others; None for one that is no arithmetic."""
    if isinstance(op, ebpf.CastOp | ebpf.MovRROp):
        return words[0] if isinstance(op, ebpf.CastOp) or op.row.name == "mov" else _lost(words)
    if isinstance(op, ebpf.AluRIOp):
        if op.row.name not in ("addi", "subi"):
            return _lost(words)
        if op.core is not None:
            upwards = op.row.name == "addi" and is_field_offset(op)
            return words[0].each(Place.upwards) if upwards else _lost(words)
        by = op.imm.data if op.row.name == "addi" else -op.imm.data
        return words[0].each(lambda place: place.moved(by))
    if isinstance(op, ebpf.AluRROp):
        for address, number, value in ((words[0], words[1], op.rhs), (words[1], words[0], op.lhs)):
            if op.row.name == "add" and not number.places and is_not_negative(value):
                return address.each(Place.upwards)
        return _lost(words)
    return _lost(words) if isinstance(op, ebpf.UnaryOp) or op.name.startswith("arith.") else None


def _lost(words: Iterable[Word]) -> Word:
    """Somewhere in the same frames, or anything else."""
    return Word(frozenset((region, ANYWHERE) for word in words for region, _ in word.places), sure=False)
