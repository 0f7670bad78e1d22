"""What every operation reads and writes besides its operands and results.

    table = EffectTable(module)
    effects = table.of(op)
    effects.writes & PACKET        whether it may change packet bytes
    effects.removable              whether it may go when its results are unused
    effects.pure                   whether equal operands give equal results, wherever it stands

Memory is divided into *resources* that cannot overlap, one bit each: the packet's bytes, its layout (where it starts
and ends), the other fields of the context, the stack frame, whatever else there is, and for each map the bytes of
its values and its entries (which keys it holds, in which order of age).  `ANYTHING` is all of them.

The answer is for one packet at a time (design section 3): other CPUs are not asked.  Verified code cannot fault, so a
load whose result is unused may go.  An operation that this table does not know, from whatever dialect, is pure if it
says so (`Pure`), and otherwise a barrier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.traits import Pure

from fsir.dialects import ebpf, map, packet, placement
from fsir.dialects.ebpf import FramePointerType, form_of
from fsir.dialects.map import DeclOp, HandleType, ValueType, described
from fsir.dialects.packet import CtxType, EndType, MetaType, PtrType
from fsir.interp.helpers import HELPERS, ArgKind, Helper

PACKET = 1
"""The bytes of the packet and of its metadata area."""
LAYOUT = 2
"""Where metadata, packet and packet end are: what `packet.data`, `packet.end` and `packet.meta` give."""
CTX = 4
"""The fields of the context other than these."""
FRAME = 8
"""The stack frame of the function."""
OTHER = 16
"""Everything else: kernel objects, memory of unknown kind, output, the clock, redirection state."""
_FIRST_MAP = 8
MAPS = -(1 << _FIRST_MAP)
"""Values and entries of all maps."""
ANYTHING = -1
MEMORY = ANYTHING & ~LAYOUT
"""What an address of unknown kind may point to."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What an operation does: masks of resources, and whether it may go when nothing uses its results."""

    reads: int = 0
    writes: int = 0
    removable: bool = True

    @property
    def pure(self) -> bool:
        """Whether it depends on its operands only and does nothing but give a result."""
        return not self.reads and not self.writes and self.removable

    @property
    def barrier(self) -> bool:
        """Whether nothing is known of it."""
        return self.writes == ANYTHING


PURE = Effects()
BARRIER = Effects(ANYTHING, ANYTHING, False)
JUMP = Effects(removable=False)
LEAVE = Effects(reads=ANYTHING, removable=False)
"""The end of a function: whoever comes next sees everything."""

QUIET_LOOKUPS = frozenset(
    {"array", "percpu_array", "hash", "percpu_hash", "lpm_trie", "devmap", "devmap_hash", "cpumap"}
    | {"array_of_maps", "hash_of_maps"}
)
"""Maps of which a lookup changes nothing. (An LRU's keeps the entry alive; a socket's takes a reference.)"""

_REMOVABLE_HELPERS = frozenset(
    {"ktime_get_ns", "ktime_get_boot_ns", "ktime_get_coarse_ns", "ktime_get_tai_ns", "jiffies64"}
    | {"get_smp_processor_id", "get_numa_node_id", "get_current_pid_tgid", "get_current_uid_gid"}
    | {"get_current_cgroup_id", "get_current_task", "xdp_get_buff_len", "ringbuf_query"}
)
"""Helpers that do nothing but answer. Random numbers are not here: each call moves the generator on."""

_OPAQUE_ARGS = frozenset(
    {ArgKind.LOCK, ArgKind.TIMER, ArgKind.KPTR, ArgKind.FUNC, ArgKind.DYNPTR, ArgKind.DYNPTR_OUT, ArgKind.ALLOC_MEM}
)
"""Arguments that let a helper do more than its other properties say."""

_FOLLOWING_WORDS = ("probe_read", "snprintf", "seq_printf", "trace_vprintk")
"""How the names of helpers begin that read from wherever a word points to: one passed, or one in an array of words."""

_TAIL_CALL = 12
_READERS = ("map_lookup_elem", "map_lookup_percpu_elem")


class EffectTable:
    """The effects of the operations of one module (map types are those that it declares)."""

    def __init__(self, module: ModuleOp) -> None:
        self._maps = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, DeclOp)}
        self._bits = {name: _FIRST_MAP + 2 * i for i, name in enumerate(self._maps)}

    def of(self, op: Operation) -> Effects:
        """The effects of an operation."""
        rule = _RULES.get(form_of(op))
        return rule(self, op) if rule is not None else _by_traits(type(op))

    def values(self, name: str) -> int:
        """The bytes of the values of a map; of all maps for one that is in a map of maps, which may be any of them."""
        return 1 << self._bits[name] if name in self._bits else MAPS

    def entries(self, name: str) -> int:
        """Which keys a map holds."""
        return 2 << self._bits[name] if name in self._bits else MAPS

    def memory(self, type_: Attribute) -> int:
        """What an address of this type may point to."""
        if isinstance(type_, PtrType | MetaType | EndType):
            return PACKET
        if isinstance(type_, FramePointerType):
            return FRAME
        if isinstance(type_, ValueType):
            return _union(self.values(name) if described(self._maps, name) else MEMORY for name in type_.names)
        return CTX if isinstance(type_, CtxType) else MEMORY

    def quiet_lookup(self, name: str) -> bool:
        """Whether looking a key up leaves the map as it was."""
        found = described(self._maps, name)
        return found is not None and found.type.data in QUIET_LOOKUPS


@cache
def _by_traits(cls: type[Operation]) -> Effects:
    return PURE if cls.has_trait(Pure) else BARRIER


def _fixed(effects: Effects) -> Callable[[EffectTable, Operation], Effects]:
    return lambda table, op: effects


def _load(table: EffectTable, op: Operation) -> Effects:
    return Effects(reads=table.memory(op.operands[0].type))


def _ldx(table: EffectTable, op: Operation) -> Effects:
    assert isinstance(op, ebpf.LdxOp)
    reads = table.memory(op.base.type)
    return Effects(reads) if op.row.op == "ldx" else Effects(reads, ANYTHING, False)


def _store(table: EffectTable, op: Operation) -> Effects:
    return Effects(0, table.memory(op.operands[0].type), False)


def _atomic(table: EffectTable, op: Operation) -> Effects:
    if isinstance(op, ebpf.AtomicOp) and op.row.op == "store_rel":
        return Effects(0, ANYTHING, False)
    place = table.memory(op.operands[0].type)
    return Effects(place, place, False)


def _key_memory(table: EffectTable, op: Operation) -> int:
    """The memory at addresses among the operands: keys and values."""
    return _union(table.memory(value.type) for value in op.operands if _is_address(value))


def _lookup(table: EffectTable, op: Operation) -> Effects:
    assert isinstance(op, map.LookupOp | map.LookupAtOp)
    name = op.map.root_reference.data
    quiet = table.quiet_lookup(name)
    entries = table.entries(name)
    key = _key_memory(table, op) if isinstance(op, map.LookupAtOp) else 0
    return Effects(entries | key, 0 if quiet else entries, quiet)


def _change(table: EffectTable, op: Operation) -> Effects:
    name = op.symbol_prop("map") if isinstance(op, ebpf.EbpfOp) else ""
    changed = table.values(name) | table.entries(name)
    read = _key_memory(table, op) if isinstance(op, map.UpdateAtOp | map.DeleteAtOp) else 0
    return Effects(table.entries(name) | read, changed, False)


def _redirect(table: EffectTable, op: Operation) -> Effects:
    assert isinstance(op, map.RedirectOp)
    return Effects(table.entries(op.map.root_reference.data) | OTHER, OTHER, False)


def _call(table: EffectTable, op: Operation) -> Effects:
    assert isinstance(op, ebpf.CallOp)
    helper = HELPERS.get(op.helper.data)
    if helper is None or helper.sleeps or helper.number == _TAIL_CALL or _opaque(helper):
        return BARRIER
    reads = OTHER if not helper.pure else 0
    writes = 0 if helper.pure or helper.name in _REMOVABLE_HELPERS else OTHER
    reads |= LAYOUT * (helper.reads_packet or helper.changes_packet) | PACKET * helper.reads_packet
    writes |= PACKET * helper.writes_packet | (PACKET | LAYOUT | CTX) * helper.changes_packet
    for arg, value in zip(helper.args, op.operands, strict=False):
        if arg.kind is ArgKind.MAP:
            reads |= _of_handle(table, value)
            writes |= _of_handle(table, value) * helper.writes_map
        elif arg.kind is ArgKind.CTX:
            reads |= CTX
            writes |= CTX * (writes != 0)
        elif arg.reads_memory or arg.writes_memory:
            reads |= table.memory(value.type) * arg.reads_memory
            writes |= table.memory(value.type) * arg.writes_memory
    if helper.variadic or helper.name.startswith(_FOLLOWING_WORDS):
        reads |= MEMORY
    if helper.name in _READERS:
        return _lookup_call(table, op, reads)
    return Effects(reads, writes, not writes)


def _lookup_call(table: EffectTable, op: ebpf.CallOp, reads: int) -> Effects:
    handle = op.operands[0].type if op.operands else None
    quiet = isinstance(handle, HandleType) and all(table.quiet_lookup(name) for name in handle.names)
    return Effects(reads, 0, True) if quiet else Effects(reads, MAPS | OTHER, False)


def _opaque(helper: Helper) -> bool:
    return any(arg.kind in _OPAQUE_ARGS for arg in helper.args)


def _of_handle(table: EffectTable, value: SSAValue) -> int:
    """Values and entries of the map that a handle names."""
    if isinstance(value.type, HandleType):
        return _union(table.values(name) | table.entries(name) for name in value.type.names)
    return MAPS


def _is_address(value: SSAValue) -> bool:
    return not isinstance(value.type, IntegerType)


def _union(masks: Iterable[int]) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result


_RESIZE = Effects(LAYOUT, PACKET | LAYOUT | CTX, False)

_RULES: dict[type[Operation], Callable[[EffectTable, Operation], Effects]] = {
    # machine code
    ebpf.LdxOp: _ldx,
    ebpf.StxOp: _store,
    ebpf.StOp: _store,
    ebpf.AtomicOp: _atomic,
    ebpf.AtomicFetchOp: _atomic,
    ebpf.CmpxchgOp: _atomic,
    ebpf.CallOp: _call,
    ebpf.AllocaOp: _fixed(Effects(reads=FRAME)),  # each is an object of its own
    ebpf.JaOp: _fixed(JUMP),
    ebpf.JccRROp: _fixed(JUMP),
    ebpf.JccRIOp: _fixed(JUMP),
    ebpf.MayGotoOp: _fixed(JUMP),
    ebpf.FallthroughOp: _fixed(JUMP),
    ebpf.ExitOp: _fixed(LEAVE),
    ebpf.EndOp: _fixed(LEAVE),
    # packet
    packet.DataOp: _fixed(Effects(LAYOUT)),
    packet.EndOp: _fixed(Effects(LAYOUT)),
    packet.MetaOp: _fixed(Effects(LAYOUT)),
    packet.CtxLoadOp: _fixed(Effects(CTX)),
    packet.CtxStoreOp: _fixed(Effects(0, CTX, False)),
    packet.LoadOp: _load,
    packet.StoreOp: _store,
    packet.AdjustHeadOp: _fixed(_RESIZE),
    packet.AdjustTailOp: _fixed(_RESIZE),
    packet.AdjustMetaOp: _fixed(_RESIZE),
    packet.VerdictOp: _fixed(LEAVE),
    placement.HandoffOp: _fixed(LEAVE),
    placement.OvertakesOp: _fixed(Effects(ANYTHING, 0, False)),
    # maps
    map.LookupOp: _lookup,
    map.LookupAtOp: _lookup,
    map.UpdateOp: _change,
    map.UpdateAtOp: _change,
    map.DeleteOp: _change,
    map.DeleteAtOp: _change,
    map.RedirectOp: _redirect,
    map.LoadOp: _load,
    map.StoreOp: _store,
    map.AtomicOp: _atomic,
    # scalars and control
    cf.BranchOp: _fixed(JUMP),
    cf.ConditionalBranchOp: _fixed(JUMP),
    # divisions by a constant that is not zero, the only ones there are (docs/ir.md)
    arith.DivUIOp: _fixed(PURE),
    arith.RemUIOp: _fixed(PURE),
    arith.DivSIOp: _fixed(PURE),
    arith.RemSIOp: _fixed(PURE),
    arith.ExtSIOp: _fixed(PURE),
}
