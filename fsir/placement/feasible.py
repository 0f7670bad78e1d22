"""What a target can run, block by block, with reasons that a person understands.

Each kind of target has rules: a function from an operation to the reason why not, or None. Loops are judged as a whole.
A reason is an English clause without the place; `Reason` adds that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import DictionaryAttr, ModuleOp
from xdsl.ir import Operation

from fsir.backends.p4.capabilities import P4Context, why_not
from fsir.dialects import ebpf, packet
from fsir.dialects.ebpf import int_attr
from fsir.driver.diagnostics import place_of
from fsir.interp.helpers import HELPERS
from fsir.placement.access import ANY_MAP, Kind, MapAccesses
from fsir.placement.graph import Piece
from fsir.placement.loops import Unbounded, evaluate, work_of
from fsir.placement.symbols import Symbols
from fsir.placement.targets import Target

XDP_PASS = 2
_BYTE_OFFSET = 0  # the first of enum bpf_core_relo_kind
Rule = Callable[["Rules", Operation, Target], str | None]


@dataclass(frozen=True)
class Reason:
    """Why a piece cannot run on a target."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class Rules:
    """The judgements of one module; valid until it is changed."""

    def __init__(self, module: ModuleOp, accesses: MapAccesses, functions: Mapping[str, ebpf.FuncOp]) -> None:
        self.accesses, self.symbols, self.functions = accesses, Symbols(module), functions
        self.p4 = P4Context(module)
        self._functions: dict[tuple[str, str], list[Reason]] = {}

    def reasons(self, piece: Piece, func: ebpf.FuncOp, target: Target) -> list[Reason]:
        """Why `target` cannot run a piece of `func`; none when it can."""
        found: list[Reason] = []
        for block in piece.blocks:
            for op in block.ops:
                found += self.judge(op, target)
        if piece.is_loop:
            found += self._judge_loop(piece, func, target)
        return list(dict.fromkeys(found))

    def is_unbounded(self, piece: Piece, func: ebpf.FuncOp, target: Target) -> bool:
        """Whether a piece is a loop that a target cannot run for the number of its rounds."""
        return piece.is_loop and bool(self._judge_loop(piece, func, target))

    def stops(self, op: Operation, target: Target) -> bool:
        """Whether a target cannot run an operation."""
        return bool(self.judge(op, target))

    def judge(self, op: Operation, target: Target) -> list[Reason]:
        """Why a target cannot run an operation; none when it can."""
        what = self.symbols.hint(op, target) or _relocated(op, target) or _RULES[target.kind](self, op, target)
        if what is not None:
            return [Reason(str(place_of(op)), what)]
        if isinstance(op, ebpf.CallLocalOp):
            return self._judge_function(op.callee.root_reference.data, target)
        return []

    def _judge_function(self, name: str, target: Target) -> list[Reason]:
        key = name, target.name
        if key not in self._functions:
            self._functions[key] = []  # of a recursion
            func = self.functions.get(name)
            if func is None or func.is_raw():
                self._functions[key] = [Reason("", f"'{name}' is called, whose code is not known")]
            else:
                from fsir.placement.graph import FlowGraph

                graph = FlowGraph(func, self.accesses.declarations)
                self._functions[key] = [r for piece in graph.pieces for r in self.reasons(piece, func, target)]
        return self._functions[key]

    def _judge_loop(self, piece: Piece, func: ebpf.FuncOp, target: Target) -> list[Reason]:
        where = str(place_of(piece.entries[0].first_op))
        if target.kind == "p4":
            return [Reason(where, "a loop")]
        if target.kind == "xdp" and not self._iterates(piece):
            from fsir.analysis.dominance import DominatorTree

            try:
                work = work_of(piece.blocks, piece.entries, DominatorTree(func.body), target.limits["iterations"])
            except Unbounded as error:
                where = str(place_of(error.head.first_op))
                return [Reason(where, "a loop without a bound that the kernel's verifier accepts")]
            if work > target.limits["instructions"]:
                return [Reason(where, f"a loop of up to {work} operations, more than the verifier follows")]
        return []

    def _iterates(self, piece: Piece) -> bool:
        """Whether the loop is one over a kernel iterator, which the verifier knows to end."""
        return any(
            isinstance(op, ebpf.CallKfuncOp)
            and op.callee is not None
            and op.callee.root_reference.data.startswith("bpf_iter_")
            and op.callee.root_reference.data.endswith("_next")
            for block in piece.blocks
            for op in block.ops
        )


def _relocated(op: Operation, target: Target) -> str | None:
    """CO-RE relocations are resolved where the kernel's programs are loaded. Elsewhere structures have the layout that
    the program was compiled with, and all other questions no answer."""
    core = op.properties.get("core")
    if target.kind == "xdp" or not isinstance(core, DictionaryAttr) or core.data.get("kind") == int_attr(_BYTE_OFFSET):
        return None
    return "only the loader of a kernel program can answer what it asks of the kernel's types (a CO-RE relocation)"


def _xdp(rules: Rules, op: Operation, target: Target) -> str | None:
    assert target.kernel is not None
    version = ".".join(map(str, target.kernel))
    if isinstance(op, ebpf.CallOp):
        helper = HELPERS.get(op.helper.data)
        if helper is None:
            return f"there is no helper {op.helper.data}"
        if "xdp" not in helper.types:
            return f"{helper.c_name} (helper {helper.number}) is not allowed in XDP"
        if helper.since > target.kernel:
            since = ".".join(map(str, helper.since))
            return f"{helper.c_name} (helper {helper.number}) came with kernel {since}; this is {version}"
    if isinstance(op, ebpf.CallKfuncOp) and op.callee is not None:
        name = op.callee.root_reference.data
        if not rules.symbols.in_kernel(name):
            return f"calls '{name}', which the kernel does not have"
    if isinstance(op, ebpf.InsnOp) and (needed := _isa_of(op)) > target.isa:
        return f"{op.name} is an instruction of cpu v{needed}; kernel {version} knows v{target.isa}"
    return None


def _isa_of(op: ebpf.InsnOp) -> int:
    """The cpu version that an instruction came with, where it matters to the kernel."""
    name = op.row.name
    if name.startswith(("movsx", "bswap", "sdiv", "smod", "ldxs", "gotol", "may_goto", "load_acq", "store_rel")):
        return 4
    return 3 if name.startswith(("atomic_fetch", "atomic_xchg", "atomic_cmpxchg")) else 1


def _user(rules: Rules, op: Operation, target: Target) -> str | None:
    from fsir.backends.af_xdp.capabilities import READ_ONLY_VALUES, supported_helper, supported_map

    if isinstance(op, ebpf.CallOp) and (reason := supported_helper(op.helper.data)) is not None:
        return reason
    if isinstance(op, ebpf.CallKfuncOp):
        name = op.callee.root_reference.data if op.callee is not None else f"kernel function {op.imm.data}"
        if rules.symbols.in_kernel(name):
            return f"calls '{name}', which only the kernel has"
        if (reason := rules.symbols.not_callable(name)) is not None:
            return reason
    for name, kind in _touched(rules, op):
        if name == ANY_MAP:
            return "goes through an address whose kind is not known"
        declaration = rules.accesses.declarations.get(name)
        if declaration is not None and (reason := supported_map(declaration.type.data)) is not None:
            return reason
        if declaration is not None and (field := rules.symbols.kernel_field(declaration)) is not None:
            return f"values of map '{name}' hold a {field}, which only the kernel handles"
        if kind is Kind.OPAQUE:
            return f"the address of a value of map '{name}' goes where it cannot be followed"
        if kind in (Kind.ADD, Kind.WRITE) and declaration is not None and declaration.type.data in READ_ONLY_VALUES:
            return f"values of map '{name}', a {declaration.type.data}, change in the kernel only"
    return None


def _touched(rules: Rules, op: Operation) -> Iterable[tuple[str, Kind]]:
    return [(name, kind) for name, kind, _ in rules.accesses.of_op(op)]


def _p4(rules: Rules, op: Operation, target: Target) -> str | None:
    if isinstance(op, packet.VerdictOp) and evaluate(op.value, {}) == XDP_PASS:
        return "the packet goes on in the kernel"
    return why_not(op, rules.p4)


_RULES: dict[str, Rule] = {"xdp": _xdp, "af-xdp": _user, "p4": _p4}
