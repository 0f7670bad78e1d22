"""What a v1model program can do, operation by operation: for placement to ask, and for the emitter to rely on.

    context = P4Context(module)            # a raised module, placed or not
    reason = why_not(op, context)          # None, or why `op` cannot be in the NIC's part

The answers are local: a region that starts at the program's entry, follows its edges, and holds only operations without
a reason can be emitted (`placement.handoff` ends it anywhere).  They take care of what couples operations, too:

- *Maps* of the types in `TABLE_TYPES` are mirrored as tables (each lookup gets a table of its own, so a map may be
  looked up any number of times): the NIC only reads them, and whoever writes them (the other parts, user space) is
  their owner.  Sharing mechanism: `mirror`.
- Bytes of array elements that nothing in the whole module does anything to but add (`fsir.backends.p4.additions`) are
  counted on the NIC and added up later. Sharing mechanism: `split counters`.
- A map that would be both (read for a decision, and counted) is never counted on the NIC.

`map_uses(ops, context)` says, for the operations of a region, which maps it uses and in which way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import IntegerType, ModuleOp
from xdsl.ir import Attribute, Operation, SSAValue

from fsir.backends.p4.additions import Additions
from fsir.backends.p4.facts import FuncFacts, constant_of, width_of
from fsir.dialects import ebpf, map, packet, placement
from fsir.dialects.ebpf import FuncOp, form_of
from fsir.dialects.map import DeclOp, ValueType
from fsir.interp.helpers import HELPERS

TABLE_TYPES = frozenset({"hash", "lpm_trie", "array"})
"""Map types that are mirrored as tables."""
COUNTER_TYPES = frozenset({"array", "percpu_array"})
"""Map types whose elements can be counted on the NIC."""
REDIRECT_TYPES = frozenset({"devmap", "devmap_hash"})
"""Map types that `map.redirect` can name."""
MAX_PARSED = 512
"""Bytes of the packet that a program may look at."""
INGRESS_IFINDEX = 12
"""Offset of `ingress_ifindex` in `struct xdp_md`."""
HELPER_REDIRECT = 23
HELPER_BUFF_LEN = 188

_MAP_REASONS = {
    "lru_hash": "reading an element of an LRU map keeps it from being evicted, which the NIC cannot do",
    "lru_percpu_hash": "reading an element of an LRU map keeps it from being evicted, which the NIC cannot do",
    "percpu_array": "the NIC has none of the kernel's CPUs, whose values these are",
    "percpu_hash": "the NIC has none of the kernel's CPUs, whose values these are",
}

MapUse = Literal["table", "counters", "redirect"]


@dataclass
class P4Context:
    """What `why_not` knows of a module; valid until the module is rewritten.

    `scope` is the part of it whose accesses to maps count: all of it, unless the sharing of maps is settled already.
    """

    module: ModuleOp
    scope: Operation | None = None
    max_parsed: int = MAX_PARSED
    maps: dict[str, DeclOp] = field(init=False)
    additions: Additions = field(init=False)
    _facts: dict[FuncOp, FuncFacts] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.maps = {op.sym_name.data: op for op in self.module.walk() if isinstance(op, DeclOp)}
        self.additions = Additions(self.module, self.scope)

    def facts(self, op: Operation) -> FuncFacts:
        """The facts of the function that an operation is in."""
        func: Operation | None = op
        while func is not None and not isinstance(func, FuncOp):
            func = func.parent_op()
        assert func is not None, f"{op.name} is in no function"
        if func not in self._facts:
            self._facts[func] = FuncFacts(func)
        return self._facts[func]


def why_not(op: Operation, context: P4Context) -> str | None:
    """Why an operation cannot be in a v1model program: a clause for the user; None if it can."""
    facts = context.facts(op)
    if facts.func.type_name != "xdp":
        kind = facts.func.type_name or "a subprogram"
        return f"only whole XDP programs are placed on a NIC, and {facts.func.symbol} is {kind}"
    if op.parent is not None and op.parent in facts.cyclic:
        return "it is in a loop, and P4 has none"
    rule = _RULES.get(form_of(op))
    if rule is None:
        return f"{op.name} has no counterpart in P4"
    several = [v.type.names for v in op.operands if isinstance(v.type, ValueType) and v.type.only is None]
    if several:
        return f"it handles the address of a value of one of several maps ({', '.join(several[0])})"
    name = _named_map(op)
    if name is not None and name not in context.maps:
        return f"map {name} is not declared"
    return rule(op, context)


def _named_map(op: Operation) -> str | None:
    """The map that an operation of the `map` dialect is about."""
    if isinstance(op, map.HitOp | map.LoadOp | map.StoreOp | map.AtomicOp):
        return map_name(op.value) if isinstance(op.value.type, ValueType) else None
    return op.symbol_prop("map") if isinstance(op, ebpf.EbpfOp) and "map" in op.properties else None


def map_uses(ops: Iterable[Operation], context: P4Context) -> dict[str, set[MapUse]]:
    """How the maps that some operations (all of them without a reason against) touch are used on the NIC."""
    uses: dict[str, set[MapUse]] = {}
    for op in ops:
        if isinstance(op, map.LoadOp | map.StoreOp | map.AtomicOp):
            use: MapUse = "counters" if context.additions.of(op) is not None else "table"
            uses.setdefault(map_name(op.value), set()).add(use)
        elif isinstance(op, map.HitOp) and context.maps[map_name(op.value)].type.data not in COUNTER_TYPES:
            uses.setdefault(map_name(op.value), set()).add("table")
        elif isinstance(op, map.RedirectOp):
            uses.setdefault(op.symbol_prop("map"), set()).add("redirect")
    return uses


def map_name(pointer: SSAValue) -> str:
    """The one map that an address of type `!map.value` points into."""
    assert isinstance(pointer.type, ValueType) and pointer.type.only is not None
    return pointer.type.only


Rule = Callable[[Operation, P4Context], str | None]


def _fine(op: Operation, context: P4Context) -> str | None:
    return None


def _refuse(reason: str) -> Rule:
    return lambda op, context: reason


def _is_scalar(type_: Attribute) -> bool:
    return isinstance(type_, IntegerType)


# -- scalars -------------------------------------------------------------------------------------------------------


def _multiply(op: Operation, context: P4Context) -> str | None:
    if any(constant_of(operand) is not None for operand in op.operands):
        return None
    return "the product of two variables is not computed at line rate"


def _divide(op: Operation, context: P4Context) -> str | None:
    divisor = constant_of(op.operands[1])
    if divisor and divisor.bit_count() == 1:
        return None
    return "P4 divides by powers of two only"


def _select(op: Operation, context: P4Context) -> str | None:
    return None if all(_is_scalar(value.type) for value in op.operands) else "it chooses between addresses"


_SIMPLE = frozenset({"add", "sub", "or", "and", "xor", "lsh", "rsh", "arsh", "neg", "mov", "be", "le", "bswap"})
_SIMPLE_MOVES = frozenset({"movsx8", "movsx16", "movsx32"})


def _alu(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, ebpf.InsnOp)
    if "core" in op.properties:
        return "the loader patches it (CO-RE)"
    if isinstance(op, ebpf.AluRROp) and op.row.name == "sub" and isinstance(op.rhs.type, packet.PtrType):
        known = isinstance(op.lhs.type, packet.EndType) or context.facts(op).from_constants(op.lhs)
        if known and context.facts(op).offset(op.rhs) is not None:
            return None
        return "the distance of packet addresses is no constant, and not the packet's length"
    address = any(not _is_scalar(value.type) for value in (*op.operands, *op.results))
    if address:
        # An address that is only computed costs nothing; what is done with it is judged where it is done.
        return None if isinstance(op, ebpf.AluRIOp) and op.row.op in ("add", "sub") else "it computes with addresses"
    if op.row.op in _SIMPLE or op.row.op in _SIMPLE_MOVES:
        return None
    if op.row.op == "mul" and isinstance(op, ebpf.AluRIOp):
        return None
    return f"{op.name} has no counterpart in P4"


def _wide_constant(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, ebpf.LddwOp)
    return "only the kernel knows this constant" if op.pseudo is not None or op.core is not None else None


def _cast(op: Operation, context: P4Context) -> str | None:
    if _is_scalar(op.operands[0].type) and _is_scalar(op.results[0].type):
        return None
    return "an address becomes a number, or a number an address"


# -- packet --------------------------------------------------------------------------------------------------------


def _guard(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, packet.GuardOp)
    size = context.facts(op).guard_size(op)
    if size is None:
        return "it checks the packet's length at an offset that is no constant"
    return None


def _access(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, packet.LoadOp | packet.StoreOp)
    facts = context.facts(op)
    start = facts.offset(op.ptr)
    if start is None:
        return "the packet offset is no constant"
    start += op.off.data
    width = width_of(op.res if isinstance(op, packet.LoadOp) else op.value)
    end = start + width // 8
    assert op.parent is not None
    if width % 8 or start < 0 or end > facts.present(op.parent):
        return "no check of the packet's length covers these bytes on every path"
    if end > context.max_parsed:
        return f"it lies beyond the {context.max_parsed} bytes that the NIC parses"
    return None


def _ctx_load(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, packet.CtxLoadOp)
    if op.off.data == INGRESS_IFINDEX and width_of(op.res) == 32:
        return None
    return f"the NIC does not know this field of the context (offset {op.off.data})"


# -- maps ----------------------------------------------------------------------------------------------------------


def _lookup(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, map.LookupOp)
    decl = context.maps[op.symbol_prop("map")]
    kind = decl.type.data
    if kind not in TABLE_TYPES | COUNTER_TYPES:
        return _map_reason(decl)
    if decl.max_entries.data == 0:
        return f"the size of map {decl.sym_name.data} is left to the loader"
    if any(width_of(part) % 8 for part in op.key):
        return "a part of the key is no whole number of bytes"
    return _prefix_length(op, decl) if kind == "lpm_trie" else None


def _map_reason(decl: DeclOp) -> str:
    kind, name = decl.type.data, decl.sym_name.data
    return f"map {name} is of type {kind}: {_MAP_REASONS.get(kind, 'no P4 table works like that')}"


def _prefix_length(op: map.LookupOp, decl: DeclOp) -> str | None:
    bits = 8 * (decl.key_size.data - 4)
    given, width = 0, 0
    for part in op.key:
        value = constant_of(part)
        if width >= 32:
            break
        if value is None:
            return "the prefix length looked up is no constant"
        given |= value << width
        width += width_of(part)
    if width != 32 or given != bits:
        return f"a table matches the whole key; this lookup gives a prefix length other than {bits}, or a part of it"
    return None


def _hit(op: Operation, context: P4Context) -> str | None:
    return None if isinstance(op.operands[0].type, ValueType) else "it tests an address that comes from no lookup"


def _load(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, map.LoadOp)
    if context.additions.of(op) is not None:
        return _add(op, context)
    decl = context.maps[map_name(op.value)]
    if width_of(op.res) % 8 or op.off.data < 0:
        return "it reads no whole bytes of the value"
    return None if decl.type.data in TABLE_TYPES else _map_reason(decl)


def _store(op: Operation, context: P4Context) -> str | None:
    if context.additions.of(op) is not None:
        return _add(op, context)
    return "a table's entries are read-only for the packets that match them"


def _atomic(op: Operation, context: P4Context) -> str | None:
    if context.additions.of(op) is not None:
        return _add(op, context)
    return "only additions whose result is not used can be counted on the NIC"


def _add(op: Operation, context: P4Context) -> str | None:
    addition = context.additions.of(op)
    assert addition is not None
    decl = context.maps[map_name(addition.pointer)]
    name = decl.sym_name.data
    if decl.type.data not in COUNTER_TYPES:
        return f"it writes into a value of map {name}, whose entries are read-only on the NIC"
    if decl.max_entries.data == 0:
        return f"the size of map {name} is left to the loader"
    if isinstance(addition.pointer.owner, packet.OffsetOp | ebpf.InsnOp):
        return "the address of what is counted is computed"
    other = context.additions.other_access(name, (addition.off, addition.off + addition.width // 8))
    if other is not None:
        return f"map {name} is more than counters: {other.name} touches the same bytes"
    if context.additions.overlapping(addition) is not None:
        return f"numbers of different widths that overlap are added to in map {name}"
    return None


def _changes_map(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, ebpf.EbpfOp)
    return f"it changes map {op.symbol_prop('map')}: entries come from the control plane only"


def _redirect(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, map.RedirectOp)
    decl = context.maps[op.symbol_prop("map")]
    if decl.type.data not in REDIRECT_TYPES:
        return f"map {decl.sym_name.data} is of type {decl.type.data}, which redirects to no port"
    if decl.value_size.data != 4:
        return f"entries of map {decl.sym_name.data} can have programs that run on the way out"
    if decl.max_entries.data == 0:
        return f"the size of map {decl.sym_name.data} is left to the loader"
    flags = constant_of(op.flags)
    if flags is None or flags > 3:
        return "these flags of bpf_redirect_map are the kernel's (broadcast)"
    return None


def _ld_sym(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, ebpf.LdSymOp)
    if not isinstance(op.res.type, ValueType):
        return None
    name = op.symbol_prop("sym")
    if name not in context.maps or name == ".kconfig":
        return "only the kernel knows its value"
    return None


# -- calls and control ---------------------------------------------------------------------------------------------


def _call(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, ebpf.CallOp)
    number = op.helper.data
    if number == HELPER_BUFF_LEN and op.core is None:
        return None
    if number == HELPER_REDIRECT and len(op.operands) == 2 and constant_of(op.operands[1]) == 0:
        return None if op.core is None else "the loader patches it (CO-RE)"
    name = HELPERS[number].c_name if number in HELPERS else f"helper {number}"
    return f"{name} is the kernel's"


def _branch(op: Operation, context: P4Context) -> str | None:
    assert isinstance(op, cf.BranchOp | cf.ConditionalBranchOp | ebpf.BranchOp)
    for value in op.operands:
        if isinstance(value.type, ValueType) and isinstance(value.owner, packet.OffsetOp | ebpf.InsnOp):
            return "it passes on an address within a map value"
    return None


_RULES: dict[type[Operation], Rule] = {
    # scalars
    **dict.fromkeys((arith.ConstantOp, arith.AddiOp, arith.SubiOp, arith.AndIOp, arith.OrIOp, arith.XOrIOp), _fine),
    **dict.fromkeys((arith.ShLIOp, arith.ShRUIOp, arith.ShRSIOp, arith.CmpiOp), _fine),
    arith.SelectOp: _select,
    **dict.fromkeys((arith.ExtUIOp, arith.ExtSIOp, arith.TruncIOp), _fine),
    arith.MuliOp: _multiply,
    arith.DivUIOp: _divide,
    arith.RemUIOp: _divide,
    **dict.fromkeys((ebpf.AluRROp, ebpf.AluRIOp, ebpf.UnaryOp, ebpf.MovRROp, ebpf.MovRIOp), _alu),
    ebpf.LddwOp: _wide_constant,
    ebpf.UndefOp: _fine,
    ebpf.CastOp: _cast,
    # addresses that are only computed
    **dict.fromkeys((ebpf.FpOp, packet.DataOp, packet.EndOp, packet.MetaOp, packet.OffsetOp), _fine),
    ebpf.LdSymOp: _ld_sym,
    # packet
    packet.GuardOp: _guard,
    packet.LoadOp: _access,
    packet.StoreOp: _access,
    packet.CtxLoadOp: _ctx_load,
    packet.CtxStoreOp: _refuse("the NIC has no context to write to"),
    packet.AdvanceOp: _refuse("the packet offset is no constant"),
    packet.AdjustHeadOp: _refuse("the packet's start is moved"),
    packet.AdjustTailOp: _refuse("the packet's end is moved, which a NIC cannot do"),
    packet.AdjustMetaOp: _refuse("a NIC's packets have no metadata area"),
    packet.VerdictOp: _fine,
    # maps
    map.LookupOp: _lookup,
    map.LookupAtOp: _refuse("the key is read from memory"),
    map.HitOp: _hit,
    map.LoadOp: _load,
    map.StoreOp: _store,
    map.AtomicOp: _atomic,
    **dict.fromkeys((map.UpdateOp, map.UpdateAtOp, map.DeleteOp, map.DeleteAtOp), _changes_map),
    map.RedirectOp: _redirect,
    # control
    ebpf.CallOp: _call,
    **dict.fromkeys((cf.BranchOp, cf.ConditionalBranchOp, ebpf.JaOp, ebpf.FallthroughOp), _branch),
    ebpf.ExitOp: _refuse("it returns no verdict"),
    ebpf.CallLocalOp: _refuse("P4 has no subprograms; inline it first"),
    ebpf.LdxOp: _refuse("it reads memory that is neither packet nor map value"),
    ebpf.StxOp: _refuse("it writes memory that is neither packet nor map value"),
    ebpf.StOp: _refuse("it writes memory that is neither packet nor map value"),
    placement.HandoffOp: _fine,
}
