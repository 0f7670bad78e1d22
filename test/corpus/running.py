"""Programs of an object, loaded and run: in the kernel and in the interpreter, with the same packets and maps."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from corpus.states import INTERFACES, sizes
from fsir.dialects.ebpf import CallKfuncOp, CallLocalOp, CallOp, FuncOp, LdSymOp, functions
from fsir.dialects.map import DeclOp
from fsir.interp import kfuncs
from fsir.interp.branches import Branches
from fsir.interp.codegen_link import Sources
from fsir.interp.core_relocations import has_relocations, relocated
from fsir.interp.engine import HOOKS, InterpProgram, version_code
from fsir.interp.fib_file import fib_from
from fsir.interp.helper_calls import is_interpreted
from fsir.interp.helpers import HELPERS
from fsir.interp.kernel_types import kernel_types
from fsir.interp.results import PacketResult
from fsir.kernel.engine import KernelProgram, current_cpu, on_cpu
from fsir.kernel.errors import KernelError, error_name
from fsir.kernel.interfaces import private_interfaces
from fsir.kernel.routes import install
from fsir.kernel.syscalls import possible_cpus
from fsir.kernel.uapi import MapType, ProgType
from fsir.object.exporter import export_object
from fsir.passes.freeze_environment import depends_on_environment, freeze_environment
from fsir.run.kernel import running_kernel

PACKET_TYPES = ("xdp", "sched_cls", "sched_act")
GUESSES = ("xdp", "sched_cls")
"""Types to try for a program whose section says none."""
TAIL_CALL = 12

ROUTES = fib_from(
    {
        "interfaces": [{"ifindex": n, "mac": f"02000000000{n}"} if n > 1 else {"ifindex": n} for n in INTERFACES],
        "routes": [
            {"prefix": "10.0.0.0/8", "ifindex": 2, "gateway": "192.0.2.1"},
            {"prefix": "192.168.0.0/16", "ifindex": 3},
            {"prefix": "10.0.0.2/32", "action": "unreachable"},
            {"prefix": "fd00::/8", "ifindex": 2, "gateway": "2001:db8::1"},
            {"prefix": "::/0", "ifindex": 3, "gateway": "2001:db8::2"},
        ],
        "neighbours": [
            {"ifindex": 2, "address": "192.0.2.1", "mac": "02000000aa01"},
            {"ifindex": 2, "address": "2001:db8::1", "mac": "02000000aa02"},
        ],
    }
)
"""What bpf_fib_lookup finds for the addresses of the packets (`traffic_seeds`) and mutations of them."""

Contents = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Target:
    """A program of an object: what loaders call it, and its possible types, most likely first."""

    name: str
    section: str
    types: tuple[str, ...]


@dataclass
class Trace:
    """What a run left behind."""

    results: list[PacketResult]
    maps: Contents
    perf_maps: frozenset[str] = frozenset()
    instructions: list[int] = field(default_factory=list)


def targets(module: ModuleOp) -> list[Target]:
    """The programs of an object."""
    found = []
    for func in functions(module):
        if func.type_name is not None and func.anonymous is None:
            types = GUESSES if func.type_name == "unspec" else (func.type_name,)
            found.append(Target(func.symbol, func.section.data, types))
    return found


@contextmanager
def world() -> Iterator[None]:
    """Interfaces that map entries may name, routes, and one CPU."""
    with private_interfaces(dict.fromkeys(INTERFACES, 1)), on_cpu(current_cpu()):
        install(ROUTES)
        yield


def load(
    elf: bytes, target: Target, type_: str, module: ModuleOp, maps: Contents | None = None, to_run: bool = False
) -> KernelProgram:
    """The program in the kernel, with the type that libbpf sees in the section's name if it sees one, else `type_`.
    `to_run` has programs of device and CPU maps loaded as plain ones, as there are no test runs of them. KernelError if
    it is refused."""
    guessed = ProgType[type_.upper()] if len(target.types) > 1 or (to_run and _of_a_map(target)) else None
    try:
        return KernelProgram(elf, target.name, prog_type=guessed, map_sizes=sizes(module), maps=maps or {})
    except KernelError as refused:
        if guessed is not None or _NO_TYPE not in refused.what or type_.upper() not in ProgType.__members__:
            raise
    return KernelProgram(elf, target.name, prog_type=ProgType[type_.upper()], map_sizes=sizes(module), maps=maps or {})


def _of_a_map(target: Target) -> bool:
    """Whether an XDP program is one that entries of a device or CPU map run."""
    return any(kind in target.section for kind in ("devmap", "cpumap")) and target.section.startswith("xdp")


_NO_TYPE = "says no program type"


def try_load(elf: bytes, target: Target, module: ModuleOp) -> tuple[str | None, str]:
    """The type as which a program loads, and if none, the reason of the refusal."""
    reasons = []
    for type_ in target.types:
        try:
            load(elf, target, type_, module).close()
        except KernelError as refused:
            reasons.append(why_refused(refused))
        else:
            return type_, ""
    return None, reasons[-1]


def why_refused(refused: KernelError) -> str:
    """A refusal in one line, the same for the same cause: the verifier's last words, without numbers."""
    lines = [line.strip() for line in refused.log.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_NOISE)]
    said = telling[-1] if telling else error_name(refused.errno) if refused.errno else (lines or [""])[-1]
    return f"{refused.what.splitlines()[0]} ({said[:160]})"


_NOISE = ("libbpf: failed to load", "processed ", "-- END", "verification time", "stack depth", "libbpf: prog '")


def clock(index: int) -> int:
    """The time of a packet, in nanoseconds."""
    return 1_700_000_000_000_000_000 + 100_000 * index


def frozen(module: ModuleOp, elf: bytes) -> bytes:
    """The object of a module, with the time and the random numbers that the interpreter gives."""
    if not depends_on_environment(module):
        return elf
    copy = module.clone()
    freeze_environment(copy)
    return export_object(copy)


def run_in_kernel(
    elf: bytes, target: Target, type_: str, module: ModuleOp, maps: Contents, packets: Sequence[bytes]
) -> Trace:
    """All packets through the program in the kernel; those that no test run takes are left out. Raises KernelError."""
    hook = HOOKS[type_]
    with load(elf, target, type_, module, maps, to_run=True) as program:
        perf = frozenset(name for name, m in program.maps.items() if m.type == MapType.PERF_EVENT_ARRAY)
        results = []
        for index, packet in enumerate(packets):
            try:
                verdict, data, meta = program.run(packet, clock_ns=clock(index))
            except KernelError as refused:
                if hook == "xdp" or refused.errno != errno.EINVAL or not is_cut_short(packet):
                    raise
                continue
            results.append(PacketResult(index, verdict, data, meta, hook))
        return Trace(results, program.dump_maps(), perf)


def is_cut_short(packet: bytes) -> bool:
    """Whether a frame is too short for the header that its type promises; no socket buffer is made of such a frame."""
    return len(packet) < 14 + {b"\x08\0": 20, b"\x86\xdd": 40}.get(packet[12:14], 1)


def run_interpreted(
    module: ModuleOp,
    target: Target,
    type_: str,
    maps: Contents,
    packets: Sequence[bytes],
    *,
    only: Iterable[int] | None = None,
    map_sizes: dict[str, int] | None = None,
    poison: bool = False,
) -> Trace:
    """All packets (or those with the numbers `only`) through the module in the interpreter. Raises ExecutionError,
    MapError, SelectionError."""
    program = interpreted(module, target, type_, maps, map_sizes=map_sizes, poison=poison)
    hook = HOOKS[type_]
    results = []
    for index in range(len(packets)) if only is None else only:
        out = program.run(packets[index], clock_ns=clock(index))
        results.append(PacketResult(index, out.verdict, out.data, out.meta, hook, instructions=out.instructions))
    return Trace(results, program.dump_maps())


def interpreted(
    module: ModuleOp,
    target: Target,
    type_: str,
    maps: Contents,
    *,
    map_sizes: dict[str, int] | None = None,
    poison: bool = False,
    branches: Branches | None = None,
) -> InterpProgram:
    """The program in the interpreter, in the world that the kernel's test runs see. Its module may not change any more:
    what is made of it is kept."""
    kernel = running_kernel()
    program = InterpProgram(
        resolved(module),
        target.name,
        prog_type=type_,
        maps=maps,
        map_sizes=sizes(module) if map_sizes is None else map_sizes,
        cpu=current_cpu(),
        ncpu=possible_cpus(),
        kernel=kernel[:2],
        externs={"LINUX_KERNEL_VERSION": version_code(kernel)},
        poison=poison,
        branches=branches,
        sources=_sources(module),
    )
    program.machine.fib = ROUTES
    return program


@lru_cache(maxsize=4)
def _sources(module: ModuleOp) -> Sources:
    """What is generated for a module, which nobody changes any more."""
    return Sources()


@lru_cache(maxsize=4)
def resolved(module: ModuleOp) -> ModuleOp:
    """A module that changes no more, for the running kernel's types: the same for every run, as branches are told apart
    by their operations."""
    types = kernel_types() if has_relocations(module) else None
    return module if types is None else relocated(module, types)


def reachable(module: ModuleOp, name: str) -> list[FuncOp]:
    """A program with the functions that it may call, call back, or (where program arrays hold them) tail-call."""
    by_name = {func.symbol: func for func in functions(module)}
    seen: dict[str, FuncOp] = {}
    work = [name]
    while work:
        current = work.pop()
        if current in seen or current not in by_name:
            continue
        seen[current] = func = by_name[current]
        for op in func.walk():
            if isinstance(op, CallLocalOp):
                work.append(op.callee.root_reference.data)
            elif isinstance(op, LdSymOp):
                work.append(op.sym.root_reference.data)
            elif isinstance(op, CallOp) and op.helper.data == TAIL_CALL:
                work += (f.symbol for f in by_name.values() if f.type_name == func.type_name)
    return list(seen.values())


def incomparable(module: ModuleOp, name: str) -> str | None:
    """Why a program cannot be interpreted as the kernel runs it: it calls what is not interpreted, or asks
    for what only the process knows that runs it."""
    for func in reachable(module, name):
        if func.is_raw():
            return "has code that is kept raw"
        for op in func.walk():
            if isinstance(op, CallKfuncOp):
                name = op.symbol_prop("callee") if op.callee is not None else f"#{op.imm.data}"
                if not kfuncs.is_interpreted(name):
                    return f"calls a kernel function that is not interpreted: {name}"
            if isinstance(op, CallOp):
                number = op.helper.data
                helper = HELPERS.get(number)
                if helper is None or not is_interpreted(number):
                    return f"calls a helper that is not interpreted: {helper.name if helper else number}"
                if "cgroup_id" in helper.name:
                    return f"depends on the control group that it runs in: {helper.name}"
    return None


def unreadable_maps(module: ModuleOp) -> set[str]:
    """Maps whose contents say nothing: what user space cannot read."""
    kinds = {"stack_trace", "cgroup_array", "sockmap", "sockhash", "reuseport_sockarray"}
    return {d.sym_name.data for d in module.body.block.ops if isinstance(d, DeclOp) and d.type.data in kinds}
