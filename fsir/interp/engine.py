"""Running a module packet by packet, at whatever level it is; also placed, part by part.

    with InterpProgram(module, "xdp_router", maps={"routes": [{"key": "…", "value": "…"}]}) as program:
        outcome = program.run(packet, ifindex=3)
        contents = program.dump_maps()

The protocol is that of `fsir.kernel.engine.KernelProgram`. Redirects are verdicts; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.dialects import ebpf
from fsir.dialects.placement import EdgeOp, PartOp
from fsir.interp.branches import Branches
from fsir.interp.codegen_link import DEFAULT_BUDGET, ExecutionLimit, Handoff, Link, Sources, Unsupported
from fsir.interp.core_relocations import has_relocations, relocated
from fsir.interp.emit_base import UnsupportedOp
from fsir.interp.emit_scalar import UndefinedResult
from fsir.interp.engine_maps import ModuleData, create_maps
from fsir.interp.environment import FROZEN, FROZEN_SIZE, Frozen
from fsir.interp.helper_base import Call
from fsir.interp.helpers import HELPERS
from fsir.interp.kernel_types import KernelTypes
from fsir.interp.machine import HelperError, Machine, Redirect
from fsir.interp.maps_array import ArrayMap
from fsir.interp.memory import MemoryFault

Hook = Literal["xdp", "skb"]
Contents = dict[str, list[dict[str, Any]]]

HOOKS: dict[str, Hook] = {
    "xdp": "xdp",
    "sched_cls": "skb",
    "sched_act": "skb",
    "socket_filter": "skb",
    "cgroup_skb": "skb",
    "lwt_in": "skb",
    "lwt_out": "skb",
    "lwt_xmit": "skb",
    "sk_skb": "skb",
}
"""What context a program type gets."""

ETH_HLEN = 14

_FAULTS = (
    MemoryFault,
    HelperError,
    ExecutionLimit,
    Unsupported,
    UndefinedResult,
    Handoff,
    ZeroDivisionError,
    RecursionError,
)


class ExecutionError(Exception):
    """The program did something that no verifier would let through, or that is not interpreted.

    `op` is the operation at fault, where one is known.
    """

    def __init__(self, message: str, op: Operation | None = None):
        super().__init__(message)
        self.op = op


class SelectionError(Exception):
    """The program to run is not named, or there is none of that name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left. `instructions` counts eBPF instructions, `helpers` calls of helpers and kernel functions by
    name; `parts` gives the instructions of each part that saw the packet, in order, for a placed module."""

    verdict: int
    data: bytes
    meta: bytes
    redirect: Redirect | None = None
    instructions: int = 0
    helpers: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class _Part:
    """A placed part: its functions linked, and the one it starts in."""

    name: str
    link: Link
    entry: str


class InterpProgram:
    """One program of a module, with its maps.

    - `program` names a function; needed when there are several programs.
    - `maps` fills maps (the form of maps.json), `map_sizes` sets `max_entries`.
    - `rodata` sets global variables by name, or a whole section (`.rodata`); bytes in memory order.
    - `externs` gives configuration variables (`CONFIG_HZ`); LINUX_KERNEL_VERSION follows `kernel`.
    - `cpu` of `ncpu` runs the program; `seed` is for bpf_get_prandom_u32; `budget` bounds instructions per packet.
    - `poison` puts garbage above narrow values where the whole register is read; results must not depend on it.
    - `kernel_types` are those that CO-RE relocations are resolved against; without, they stand as compiled.
    - `prog_type` overrides the type of the function.
    - `library` implements functions that only user space has (`library.load_library`).
    - `branches` gets to know what runs reach.
    - `sources` keeps what is generated for the next program of the same functions.

    A placed module runs from its first part on. Raises SelectionError, MapError, ExecutionError.
    """

    def __init__(
        self,
        module: ModuleOp,
        program: str | None = None,
        *,
        prog_type: str | None = None,
        maps: Contents | None = None,
        map_sizes: Mapping[str, int] | None = None,
        rodata: Mapping[str, bytes] | None = None,
        externs: Mapping[str, int] | None = None,
        cpu: int = 0,
        ncpu: int | None = None,
        seed: int = 0,
        kernel: tuple[int, int] = (6, 18),
        budget: int = DEFAULT_BUDGET,
        poison: bool = False,
        branches: Branches | None = None,
        kernel_types: KernelTypes | None = None,
        library: Mapping[str, Call] | None = None,
        sources: Sources | None = None,
    ):
        if kernel_types is not None and has_relocations(module):
            module = relocated(module, kernel_types)
        parts = [op for op in module.body.block.ops if isinstance(op, PartOp)]
        scopes: list[ModuleOp | PartOp] = [*parts] if parts else [module]
        chosen = choose_program(scopes[0], program)
        self.name = chosen.symbol
        self.type = prog_type or chosen.type_name or "xdp"
        hook = HOOKS.get(self.type)
        if hook is None:
            if self.type == "unspec":
                raise SelectionError(f"{self.name} is of no known type; give it with --prog-type, as xdp or sched_cls")
            raise SelectionError(f"{self.name} is a {self.type} program, which takes no packets")
        self.machine = Machine(hook, ncpu=max(ncpu or 1, cpu + 1), seed=seed, kernel=kernel)
        self.machine.cpu = cpu
        self.machine.library.update(library or {})
        data = ModuleData(module)
        values = {"LINUX_KERNEL_VERSION": version_code((*kernel, 0))} | dict(externs or {})
        addresses = create_maps(self.machine, data, sizes=map_sizes or {}, rodata=rodata or {}, externs=values)
        self._frozen = _frozen(self.machine, seed)
        if branches is not None:
            branches.attach(self.machine)
        shared = _functions_of(module)
        self._parts: list[_Part] = []
        for scope in scopes:
            functions = shared | (_functions_of(scope) if isinstance(scope, PartOp) else {})
            link = Link(
                self.machine,
                functions,
                externs=addresses,
                weak=data.weak,
                data=data.internal,
                budget=budget,
                poison=poison,
                branches=branches,
                sources=sources,
            )
            entry = self.name if scope is scopes[0] else choose_program(scope, None, self.name).symbol
            self._parts.append(_Part(scope.sym_name.data if isinstance(scope, PartOp) else "", link, entry))
        placed = module.walk() if parts else ()
        self._edges = {op.int_prop("resume"): op for op in placed if isinstance(op, EdgeOp)}
        self._compile()
        if maps:
            self.set_maps(maps)

    def _compile(self) -> None:
        for part in self._parts:
            try:
                part.link.function(part.entry)
            except UnsupportedOp as error:
                raise ExecutionError(str(error), error.op) from error
            except HelperError as error:
                raise ExecutionError(str(error)) from error

    # Running

    def run(
        self,
        packet: bytes,
        *,
        ifindex: int = 1,
        rx_queue: int = 0,
        meta: bytes = b"",
        clock_ns: int | None = None,
    ) -> Outcome:
        """Run on one frame (at least 14 bytes). `meta` is what stands before `data` when the program starts."""
        if len(packet) < ETH_HLEN:
            raise ExecutionError(f"a frame has at least {ETH_HLEN} bytes, this one {len(packet)}")
        machine = self.machine
        if self._frozen is not None and clock_ns is not None:
            self._frozen.set_clock(clock_ns)
        ctx = machine.begin_packet(packet, metadata=meta, ifindex=ifindex, queue=rx_queue, clock_ns=clock_ns)
        link = self._parts[0].link
        link.arrival = (0, ())
        try:
            link.reset()
            verdict = link.run(self._parts[0].entry, ctx)
            counts = self._follow_handoffs(ctx, verdict) if link.departure is not None else None
            machine.end_packet()
        except _FAULTS as error:
            raise self._located(error) from error
        if counts is not None:
            verdict, parts = counts
        else:
            parts = ((self._parts[0].name, link.state[0]),) if len(self._parts) > 1 else ()
        buffer = machine.packet
        return Outcome(
            verdict & 0xFFFFFFFF,
            buffer.packet,
            buffer.metadata,
            machine.redirect,
            sum(count for _, count in parts) if parts else link.state[0],
            {_called(which): count for which, count in machine.helper_calls.items()},
            parts,
        )

    def _follow_handoffs(self, ctx: int, verdict: int) -> tuple[int, tuple[tuple[str, int], ...]]:
        """Go on in the parts that the packet is handed to; the verdict, and instructions by part."""
        names = [part.name for part in self._parts]
        at = 0
        counts = [(names[0], self._parts[0].link.state[0])]
        while (departure := self._parts[at].link.departure) is not None:
            target, resume, values = departure
            if target not in names or names.index(target) <= at:
                raise Handoff(f"part {names[at]} hands over to {target}, which is not a later part")
            at = names.index(target)
            part = self._parts[at]
            part.link.reset()
            part.link.arrival = (resume, self._truncated(resume, values))
            verdict = part.link.run(part.entry, ctx)
            counts.append((part.name, part.link.state[0]))
        return verdict, tuple(counts)

    def _truncated(self, resume: int, values: tuple[int, ...]) -> tuple[int, ...]:
        """The values as the header carries them: cut to the widths of the edge."""
        edge = self._edges.get(resume)
        if edge is None:
            return values
        widths = edge.widths
        if len(widths) != len(values):
            raise Handoff(f"resume point {resume} is declared with {len(widths)} values and gets {len(values)}")
        return tuple(value & ((1 << width) - 1) for value, width in zip(values, widths, strict=True))

    def _located(self, error: BaseException) -> ExecutionError:
        op = None
        for part in self._parts:
            op = part.link.operation_at(error.__traceback__) or op
        what = "division by zero" if isinstance(error, ZeroDivisionError) else str(error)
        if isinstance(error, RecursionError):
            what = "calls nest too deeply"
        where = f" in {func.symbol}" if (func := _function_around(op)) is not None else ""
        name = f" ({op.name})" if op is not None else ""
        return ExecutionError(f"{what}{where}{name}", op)

    def run_all(self, packets: Iterable[bytes], *, ifindex: int = 1, rx_queue: int = 0) -> list[Outcome]:
        """Run on each frame in turn."""
        return [self.run(packet, ifindex=ifindex, rx_queue=rx_queue) for packet in packets]

    # Maps

    def set_maps(self, maps: Contents) -> None:
        """Store entries, in the form of maps.json. Raises MapError."""
        from fsir.interp.mapfile import fill_maps

        fill_maps(self.machine, maps)

    def dump_maps(self) -> Contents:
        """The contents of every map; changes nothing."""
        from fsir.interp.mapfile import dump_maps

        return dump_maps(self.machine)

    def close(self) -> None:
        """Nothing to release; for the protocol."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def version_code(version: tuple[int, int, int]) -> int:
    """KERNEL_VERSION(a, b, c)."""
    major, minor, patch = version
    return (major << 16) + (minor << 8) + min(patch, 255)


def _called(which: int | str) -> str:
    """The name of a helper or kernel function, without `bpf_`."""
    if isinstance(which, str):
        return which.removeprefix("bpf_")
    return HELPERS[which].name if which in HELPERS else str(which)


def _frozen(machine: Machine, seed: int) -> Frozen | None:
    """The clocks of a program that `freeze-environment` changed."""
    found = machine.maps.get(FROZEN)
    if not isinstance(found, ArrayMap) or found.value_size != FROZEN_SIZE:
        return None
    region = machine.memory.region_at(found.values_addr)
    assert region is not None
    return Frozen(region.buf, seed)


def _functions_of(scope: ModuleOp | PartOp) -> dict[str, ebpf.FuncOp]:
    return {op.symbol: op for op in scope.body.block.ops if isinstance(op, ebpf.FuncOp)}


def choose_program(scope: ModuleOp | PartOp, wanted: str | None, preferred: str | None = None) -> ebpf.FuncOp:
    """The function to run: the one named (by symbol, or by a section that holds one program), or the only program.

    A placed part whose functions have no program type starts in its first function.
    """
    functions = _functions_of(scope)
    programs = [func for func in functions.values() if func.type_name is not None]
    if isinstance(scope, PartOp) and not programs:
        programs = list(functions.values())[:1]
    if wanted is not None:
        if wanted in functions:
            return functions[wanted]
        programs_there = [func for func in programs if func.section.data == wanted]
        if len(programs_there) == 1:
            return programs_there[0]
    else:
        if preferred in functions:
            return functions[preferred]
        if len(programs) == 1:
            return programs[0]
    names = ", ".join(f"{func.symbol} ({func.section.data})" for func in programs) or "none"
    if wanted is not None:
        raise SelectionError(f"there is no program '{wanted}'; there are: {names}")
    if not programs:
        raise SelectionError("there is no program in it; a section name says the type, or --type does")
    raise SelectionError(f"there are {len(programs)} programs, choose one with --prog: {names}")


def _function_around(op: Operation | None) -> ebpf.FuncOp | None:
    while op is not None and not isinstance(op, ebpf.FuncOp):
        op = op.parent_op()
    return op
