"""Running an object's program in the kernel, packet by packet.

    with KernelProgram(Path("router.o").read_bytes(), maps={"routes": [{"key": "…", "value": "…"}]}) as program:
        verdict, data, meta = program.run(packet)
        contents = program.dump_maps()

Redirects are verdicts here: nothing is sent (`live` does that). Interfaces named in maps or by `ifindex` must
exist in this thread's network namespace; `interfaces.private_interfaces` makes any set of them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from fsir.interp.environment import FROZEN, FROZEN_SIZE, Frozen
from fsir.kernel import availability, contents, syscalls
from fsir.kernel.contents import Contents, Shape, World
from fsir.kernel.errors import KernelError
from fsir.kernel.libbpf import Map, Object, Program
from fsir.kernel.perf import PerfReader
from fsir.kernel.uapi import MapType, ProgType, SkBuff, XdpMd
from fsir.object.btf import Btf, load_btf
from fsir.object.elf import ElfObject, read_elf, write_elf
from fsir.object.map_read import is_legacy_section
from fsir.object.mapdefs import modernise_maps

ETH_HLEN = 14
LOOPBACK = 1
LINEAR = mmap.PAGESIZE - 256 - 320  # less headroom and skb_shared_info: what a program without frags sees

CONTEXTS: dict[ProgType, type[XdpMd] | type[SkBuff]] = {
    ProgType.XDP: XdpMd,
    ProgType.SCHED_CLS: SkBuff,
    ProgType.SCHED_ACT: SkBuff,
    ProgType.SOCKET_FILTER: SkBuff,
    ProgType.CGROUP_SKB: SkBuff,
    ProgType.LWT_IN: SkBuff,
    ProgType.LWT_OUT: SkBuff,
    ProgType.LWT_XMIT: SkBuff,
}


class Outcome(NamedTuple):
    """What a run left: the return value, the frame, and the metadata in front of it."""

    verdict: int
    data: bytes
    meta: bytes


class KernelProgram:
    """One program of an object, loaded, with its maps.

    - `program` names it (a function, or a section with one function); needed when there are several.
    - `prog_type` overrides what libbpf makes of the section's name (and is needed where it makes nothing).
    - `map_sizes` sets `max_entries`, above all where the object leaves it 0.
    - `rodata` sets read-only variables by name, or a whole section (`.rodata`); values are bytes in memory order.
    - `maps` fills maps: see `contents`.
    - `shared` gives existing maps (file descriptors) to use in place of the object's own.
    - `seed` is for the random numbers of a program that `freeze-environment` changed.
    - `log_size` bounds the verifier's log that a refusal comes with (its end; megabytes where the verifier gave up).
    - `short_log` leaves the instructions out of it, which is faster.
    - `kernel_btf` is a file with the types that CO-RE relocations are resolved against (by default this kernel's).
    - `cpu` is where `run_all` runs (by default the first that this thread may use).

    Raises `KernelError`, with the verifier's log where it is the verifier that refuses, and
    `KernelUnavailable` where this machine has no libbpf or this user is not root.
    """

    def __init__(
        self,
        elf: bytes,
        program: str | None = None,
        *,
        prog_type: ProgType | None = None,
        map_sizes: Mapping[str, int] | None = None,
        rodata: Mapping[str, bytes] | None = None,
        maps: Contents | None = None,
        shared: Mapping[str, int] | None = None,
        cpu: int | None = None,
        seed: int = 0,
        log_size: int | None = None,
        short_log: bool = False,
        kernel_btf: Path | None = None,
    ) -> None:
        availability.require()
        elf = _for_libbpf(elf)
        parsed = read_elf(elf, "object")
        self._world = World()
        self._readers: list[PerfReader] = []
        self._frozen: Frozen | None = None
        self._object = Object(elf, kernel_btf)
        try:
            self._program = _choose(self._object.programs, program)
            companions = _tail_programs(parsed) | _named_programs(maps or {})
            self._prepare_programs(prog_type, companions)
            self._prepare_maps(map_sizes or {}, shared or {})
            self._prepare_data(parsed, rodata or {}, maps or {})
            self._inner = {m.name: shape(inner) for m in self._object.maps if (inner := m.inner())}
            if short_log:
                self._program.keep_log_short()
            log = self._program.keep_log(log_size) if log_size is not None else None
            try:
                self._object.load()
            except KernelError as error:
                said = log.value.decode(errors="replace") if log is not None else ""
                raise KernelError(error.what, error.errno, f"{error.log}\n{said}" if said else error.log) from error
            self._world.programs = {p.name: p.fd for p in self._object.programs if p.loaded}
            internal = {m.name for m in self._object.maps if m.internal}  # filled before loading
            self.set_maps({name: entries for name, entries in (maps or {}).items() if name not in internal})
            self._start_readers(shared or {})
            self._map_clocks(seed)
        except BaseException:
            self.close()
            raise
        self.cpu = current_cpu() if cpu is None else cpu
        self.fd = self._program.fd
        self.name = self._program.name
        self.type = self._program.type
        context = CONTEXTS.get(self.type)
        self.ctx = context() if context else None
        self._run = syscalls.TestRun(self.fd, self.ctx)

    # Loading

    def _prepare_programs(self, prog_type: ProgType | None, companions: set[str]) -> None:
        wanted = self._program
        if prog_type is not None:
            wanted.set_type(prog_type)
        if wanted.type == ProgType.UNSPEC:
            raise KernelError(
                f"the section name {wanted.section!r} of {wanted.name} says no program type; give the type"
            )
        for program in self._object.programs:
            needed = program is wanted or program.name in companions
            program.set_autoload(needed)
            if needed and program.type == ProgType.UNSPEC:
                program.set_type(wanted.type)

    def _prepare_maps(self, sizes: Mapping[str, int], shared: Mapping[str, int]) -> None:
        named = {m.name: m for m in self._object.maps}
        for name in (*sizes, *shared):
            if name not in named:
                raise KernelError(f"there is no map {name!r}; there are: {', '.join(sorted(named)) or 'none'}")
        for name, size in sizes.items():
            named[name].set_max_entries(size)
        for name, fd in shared.items():
            named[name].reuse(fd)
        for m in self._object.maps:
            if not m.internal:
                m.unpin()
            elif m.name == FROZEN and m.value_size == FROZEN_SIZE:
                m.make_mappable()
            if m.max_entries == 0 and m.type in SIZED:
                raise KernelError(f"map {m.name} has no size (max_entries is 0); give one")

    def _prepare_data(self, elf: ElfObject, rodata: Mapping[str, bytes], maps: Contents) -> None:
        internal = {m.name: m for m in self._object.maps if m.internal}
        for name, value in rodata.items():
            section, offset, size = _variable(elf, name, internal)
            if len(value) > size or (len(value) < size and not name.startswith(".")):
                raise KernelError(f"{name} has {size} bytes, not {len(value)}")
            _patch(internal[section], offset, value)
        for name, entries in maps.items():
            if name in internal:
                size = internal[name].value_size
                for value in [contents.value_of(entry, name, size) for entry in entries] or [bytes(size)]:
                    _patch(internal[name], 0, value)

    def _start_readers(self, shared: Mapping[str, int]) -> None:
        for m in self._object.maps:
            if m.type == MapType.PERF_EVENT_ARRAY and m.name not in shared:
                self._readers.append(PerfReader(m.fd, self._world.events.setdefault(m.name, [])))

    def _map_clocks(self, seed: int) -> None:
        found = self.maps.get(FROZEN)
        if found is not None and found.value_size == FROZEN_SIZE:
            memory = mmap.mmap(found.fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._frozen = Frozen(memoryview(memory), seed)

    # Running

    def set_clock(self, clock_ns: int) -> None:
        """The time for a program that `freeze-environment` changed, until it is set again."""
        if self._frozen is not None:
            self._frozen.set_clock(clock_ns)

    def run(
        self,
        packet: bytes,
        *,
        ifindex: int = LOOPBACK,
        rx_queue: int = 0,
        meta: bytes = b"",
        repeat: int = 1,
        clock_ns: int | None = None,
    ) -> Outcome:
        """Run on one frame (at least 14 bytes). `meta` is what stands before `data` when the program starts.

        `clock_ns` is the time for a program that `freeze-environment` changed; others see the kernel's clocks.
        `repeat` > 1 runs on the frame as the run before left it; `duration` then is the mean.
        """
        if len(packet) < ETH_HLEN:
            raise KernelError(f"a frame has at least {ETH_HLEN} bytes, this one {len(packet)}")
        if clock_ns is not None:
            self.set_clock(clock_ns)
        ctx = self.ctx
        if isinstance(ctx, XdpMd):
            if len(packet) > LINEAR and not self._program.sees_frags:
                raise KernelError(
                    f"a frame of {len(packet)} bytes is more than the {LINEAR} that a program without frags "
                    "sees; use shorter frames, or the section 'xdp.frags'"
                )
            ctx.data, ctx.data_end = len(meta), len(meta) + len(packet)
            ctx.ingress_ifindex, ctx.rx_queue_index = ifindex, rx_queue
        elif meta:
            raise KernelError(f"a {self.type.name} program takes no metadata")
        elif isinstance(ctx, SkBuff):
            ctx.ifindex = ctx.ingress_ifindex = ifindex
        verdict, data = self._run(meta + packet if meta else packet, repeat)
        for reader in self._readers:
            reader.collect()
        after = self._run.ctx_out
        split = after.data if isinstance(after, XdpMd) else 0
        return Outcome(verdict, data[split:], data[:split])

    def run_all(self, packets: Iterable[bytes], *, ifindex: int = LOOPBACK, rx_queue: int = 0) -> list[Outcome]:
        """Run on each frame in turn, on one CPU throughout."""
        with on_cpu(self.cpu):
            return [self.run(packet, ifindex=ifindex, rx_queue=rx_queue) for packet in packets]

    @property
    def duration(self) -> int:
        """Nanoseconds of the last run, per repetition."""
        return self._run.duration

    @property
    def facts(self) -> syscalls.ProgramFacts:
        return syscalls.prog_facts(self.fd)

    # Maps

    @property
    def maps(self) -> dict[str, Map]:
        return {m.name: m for m in self._object.maps}

    def map_fd(self, name: str) -> int:
        """The descriptor of a map; it stays the program's."""
        return self.maps[name].fd

    def set_maps(self, maps: Contents) -> None:
        """Store entries; those already there stay, unless a key is the same."""
        named = self.maps
        for name, entries in maps.items():
            if name not in named:
                raise KernelError(
                    f"maps.json: there is no map {name!r}; there are: {', '.join(sorted(named)) or 'none'}"
                )
            contents.write_map(named[name].fd, self._shape(named[name]), entries, self._world)

    def _shape(self, m: Map) -> Shape:
        return replace(shape(m), inner=self._inner.get(m.name))  # libbpf forgets inner definitions in load

    def dump_maps(self) -> Contents:
        """The contents of every map; changes nothing."""
        return {
            m.name: contents.read_map(m.fd, self._shape(m), self._world)
            for m in sorted(self._object.maps, key=lambda m: m.name)
        }

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self._frozen = None
        self._world.close()
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


SIZED = frozenset(
    {
        MapType.HASH,
        MapType.ARRAY,
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
        MapType.LPM_TRIE,
        MapType.PROG_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
        MapType.DEVMAP,
        MapType.DEVMAP_HASH,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.QUEUE,
        MapType.STACK,
        MapType.RINGBUF,
        MapType.USER_RINGBUF,
    }
)


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Keep this thread on one CPU: programs see it, and per-CPU maps have one slot that matters."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def current_cpu() -> int:
    """A CPU this thread may run on."""
    return min(os.sched_getaffinity(0))


def shape(m: Map) -> Shape:
    """What `contents` needs to know about a map that is not a map of maps."""
    return Shape(m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags)


def _for_libbpf(elf: bytes) -> bytes:
    """The object with what libbpf 1.x no longer takes, legacy map sections, put in the form that it does."""
    parsed = read_elf(elf, "object")
    if not any(is_legacy_section(section.name) for section in parsed.sections):
        return elf
    modernise_maps(parsed, load_btf(parsed) or Btf())
    return write_elf(parsed)


def _choose(programs: list[Program], wanted: str | None) -> Program:
    named = [p for p in programs if p.name == wanted] or [p for p in programs if p.section == wanted]
    found = programs if wanted is None else named
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{p.name} ({p.section})" for p in programs) or "none"
    if wanted is None:
        raise KernelError(f"the object has {len(programs)} programs, name one: {names}")
    raise KernelError(f"{'several programs' if named else 'no program'} called {wanted!r}; there are: {names}")


def _tail_programs(elf: ElfObject) -> set[str]:
    """The functions that map definitions refer to: statically initialised program arrays."""
    index = elf.section_index(".maps")
    symbols = [elf.symbols[r.symbol] for r in elf.relocs.get(index, ())] if index is not None else []
    code = {i for i, section in enumerate(elf.sections) if section.is_code}
    return {symbol.name for symbol in symbols if symbol.shndx in code}


def _named_programs(maps: Contents) -> set[str]:
    entries = (entry for found in maps.values() for entry in found)
    return {str(entry["program"]) for entry in entries if "program" in entry}


def _variable(elf: ElfObject, name: str, internal: Mapping[str, Map]) -> tuple[str, int, int]:
    """Section, offset and size of a global variable, or of a whole section."""
    if name in internal:
        return name, 0, internal[name].value_size
    symbol = elf.symbol_by_name(name)
    section = elf.sections[symbol.shndx].name if symbol and symbol.shndx < len(elf.sections) else ""
    if symbol is None or section not in internal:
        raise KernelError(
            f"there is no variable or data section {name!r}; the data sections are: "
            f"{', '.join(sorted(internal)) or 'none'}"
        )
    return section, symbol.value, symbol.size


def _patch(target: Map, offset: int, value: bytes) -> None:
    buffer = target.initial_value()
    if buffer is None:
        raise KernelError(f"{target.name} has no contents to set before loading")
    ctypes.memmove(ctypes.addressof(buffer) + offset, value, len(value))
