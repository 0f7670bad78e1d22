"""`freeze-environment`: time and random numbers out of a map, so that runs can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, SymbolRefAttr, UnitAttr
from xdsl.ir import Attribute, Block, Operation
from xdsl.passes import ModulePass

from fsir.dialects.ebpf import UNALLOCATED, CallOp, FuncOp, LdSymOp, functions, reg, reg_index
from fsir.dialects.ebpf.base import int_attr
from fsir.dialects.ebpf.insn import insn
from fsir.dialects.map import DeclOp
from fsir.dialects.object import SectionOp
from fsir.driver.diagnostics import fail
from fsir.interp.environment import (
    CLOCK_OF,
    CLOCKS,
    FROZEN,
    FROZEN_SIZE,
    INCREMENT,
    MULTIPLIER,
    RANDOM,
    STATE,
)
from fsir.interp.helpers import HELPERS
from fsir.passes._rewrite import replace

SHT_PROGBITS, SHF_WRITE_ALLOC, BPF_F_MMAPABLE = 1, 3, 0x400
_OFFSETS = {name: 8 * CLOCKS.index(clock) for name, clock in CLOCK_OF.items()}


@dataclass(frozen=True)
class FreezeEnvironmentPass(ModulePass):
    """Read clocks and random numbers from global data (`.data.frozen`) instead of asking the kernel.

    bpf_ktime_get_ns, _coarse_ns, _boot_ns, _tai_ns and bpf_jiffies64 become a load of a word that whoever runs the
    program sets before each packet; bpf_get_prandom_u32 becomes a step of a generator whose state is there, too.
    `fs-run` fills it from the times of the packets and `--seed`, whatever the engine. The numbers are those that the
    interpreter gives to the program as it was. Works on machine code and above; the original code is not kept.

    Programs for real traffic are not meant to be frozen: all CPUs would draw from one state.
    """

    name = "freeze-environment"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        freeze_environment(op)


def freeze_environment(module: ModuleOp) -> None:
    """What the pass does; a module in which nothing asks for time or chance stays as it is."""
    found = [(func, calls) for func in functions(module) if (calls := _calls(func))]
    if not found:
        return
    _declare(module)
    for func, calls in found:
        for call in calls:
            _freeze(call)
        func.properties.pop("original", None)


def depends_on_environment(module: ModuleOp) -> bool:
    """Whether there is anything to freeze."""
    return any(_calls(func) for func in functions(module))


def _calls(func: FuncOp) -> list[CallOp]:
    return [op for block in func.body.blocks for op in block.ops if isinstance(op, CallOp) and _name(op) in _FROZEN]


_FROZEN = frozenset({*CLOCK_OF, RANDOM})


def _name(call: CallOp) -> str:
    helper = HELPERS.get(call.helper.data)
    return helper.name if helper is not None else ""


def _declare(module: ModuleOp) -> None:
    """The global data: a section behind the others, and its map behind the others."""
    block = module.body.block
    for op in block.ops:
        if isinstance(op, DeclOp) and op.sym_name.data == FROZEN:
            if op.value_size.data != FROZEN_SIZE:
                fail(op, f"the program has a section '{FROZEN}' of its own; give it another name")
            return
    sizes = {"key_size": 4, "value_size": FROZEN_SIZE, "max_entries": 1, "flags": BPF_F_MMAPABLE}
    names = {"sym_name": StringAttr(FROZEN), "type": StringAttr("array"), "section": StringAttr(FROZEN)}
    numbers: dict[str, Attribute] = {name: int_attr(value) for name, value in sizes.items()}
    declaration = DeclOp.create(properties={**names, **numbers, "internal": UnitAttr()})
    _insert_after(block, DeclOp, declaration)
    header: dict[str, Attribute] = {
        "section": StringAttr(FROZEN),
        "type": int_attr(SHT_PROGBITS),
        "flags": int_attr(SHF_WRITE_ALLOC),
        "align": int_attr(8),
        "data": StringAttr("00" * FROZEN_SIZE),
    }
    _insert_after(block, SectionOp, SectionOp.create(properties=header))


def _insert_after(block: Block, kind: type[Operation], new: Operation) -> None:
    """Behind the last operation of a kind; a declaration, where there is none, at the front."""
    last: Operation | None = None
    for op in block.ops:
        if isinstance(op, kind):
            last = op
    if last is not None:
        block.insert_op_after(new, last)
    elif kind is DeclOp and block.first_op is not None:
        block.insert_op_before(new, block.first_op)
    else:
        block.add_op(new)


def _freeze(call: CallOp) -> None:
    name = _name(call)
    replace(call, list(_draw(call) if name == RANDOM else _read(call, _OFFSETS[name])))


def _word(call: CallOp, register: int) -> Attribute:
    """A register that the call would have clobbered, or a word where none are chosen yet."""
    return reg(register) if reg_index(call.res.type) is not None else UNALLOCATED


def _base(call: CallOp) -> LdSymOp:
    properties: dict[str, Attribute] = {
        "sym": SymbolRefAttr(FROZEN),
        "offset": int_attr(0),
        "via": StringAttr("section"),
    }
    return LdSymOp.create(properties=properties, result_types=[_word(call, 1)])


def _read(call: CallOp, offset: int) -> Iterator[Operation]:
    yield (base := _base(call))
    yield insn("ldx64", [base.res], call.res.type, off=offset)


def _draw(call: CallOp) -> Iterator[Operation]:
    """The next state by the generator; the number is its upper half."""
    yield (base := _base(call))
    yield (state := insn("ldx64", [base.res], _word(call, 0), off=STATE))
    yield (multiplier := insn("lddw", [], _word(call, 2), imm=MULTIPLIER))
    yield (product := insn("mul", [state.results[0], multiplier.results[0]], _word(call, 0)))
    yield (increment := insn("lddw", [], _word(call, 2), imm=INCREMENT))
    yield (following := insn("add", [product.results[0], increment.results[0]], _word(call, 0)))
    yield insn("stx64", [base.res, following.results[0]], off=STATE)
    yield insn("rshi", [following.results[0]], call.res.type, imm=32)
