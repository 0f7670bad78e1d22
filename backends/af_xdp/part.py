"""The part of a module that goes to user space: its functions, the maps it touches, the packets it is handed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from xdsl.dialects.builtin import ModuleOp, SymbolRefAttr
from xdsl.ir import Operation, SSAValue

from fsir.analysis.effects import EffectTable
from fsir.analysis.libraries import Prototype, Unknown, prototype
from fsir.analysis.ranges import LayoutEffects
from fsir.backends.af_xdp.capabilities import READ_ONLY_VALUES, supported_map
from fsir.backends.af_xdp.names import Names
from fsir.backends.handoff import Layout
from fsir.dialects import ebpf
from fsir.dialects.map import DeclOp, MapsType, ValueType
from fsir.dialects.object import SectionOp
from fsir.dialects.placement import EdgeOp, PartOp, ShareOp
from fsir.driver.diagnostics import fail
from fsir.placement.symbols import Symbols

TARGET = "af-xdp"
BPF_F_RDONLY_PROG = 1 << 7
IN_FRAME_TRANSPORTS = frozenset({"head", "cpu-port"})


@dataclass
class MapUse:
    """A map that the part touches. `sharing` is the mechanism of its `placement.share`, `private` without one;
    `shared` says whether other parts touch it, too."""

    name: str
    decl: DeclOp
    enumerator: str
    sharing: str
    shared: bool
    content: bytes
    written: bool = True
    """Whether the program may write through the address of a value."""

    @property
    def type_name(self) -> str:
        return self.decl.type.data

    @property
    def counted(self) -> bool:
        """Whether additions to its values are made in the kernel, where other parts add to them at the same time."""
        return self.sharing in ("counted", "turns")

    @property
    def read_only(self) -> bool:
        """Whether values cannot be changed through their address."""
        return self.type_name in READ_ONLY_VALUES or bool(self.decl.int_prop("flags") & BPF_F_RDONLY_PROG)


@dataclass
class Part:
    """What the C file is made of. Implements `function.Unit`."""

    name: str
    functions: dict[str, ebpf.FuncOp]
    entry: ebpf.FuncOp
    arrivals: dict[int, tuple[Layout, str]]
    """By resume point: the header's layout, and the transport it comes by."""
    tickets: set[int] = field(default_factory=set)
    """The resume points at which packets are counted, to keep their order."""
    maps: dict[str, MapUse] = field(default_factory=dict)
    c_names: dict[str, str] = field(default_factory=dict)
    module: ModuleOp = field(default_factory=lambda: ModuleOp([]))
    library: dict[str, Prototype] = field(default_factory=dict)
    """Functions that a library of user space has to define."""
    callbacks: list[str] = field(default_factory=list)
    """Functions whose address is taken."""
    _decls: dict[str, DeclOp] = field(default_factory=dict)
    _shares: dict[str, ShareOp] = field(default_factory=dict)
    _sections: dict[str, SectionOp] = field(default_factory=dict)
    _map_names: Names = field(default_factory=Names)

    @property
    def takes_turns(self) -> bool:
        """Whether it works on copies of what the kernel's part changes, too, when that waits."""
        return any(use.sharing == "turns" for use in self.maps.values())

    @property
    def calls_entry(self) -> bool:
        """Whether the program's main function is called from itself or another one."""
        return any(self.entry.symbol in _named(op) for func in self.functions.values() for op in func.walk())

    # function.Unit

    @cached_property
    def layout_effects(self) -> LayoutEffects:
        return LayoutEffects(EffectTable(self.module), self.functions)

    def map_index(self, op: Operation, name: str) -> str:
        return self._map(op, name).enumerator

    def map_sizes(self, name: str) -> tuple[int, int]:
        decl = self.maps[name].decl
        return decl.key_size.data, decl.value_size.data

    def map_counted(self, op: Operation, address: SSAValue) -> bool:
        return isinstance(address.type, ValueType) and any(self._map(op, name).counted for name in address.type.names)

    def map_writable(self, op: Operation, name: str) -> None:
        use = self._map(op, name)
        if use.read_only:
            what = "is read-only" if use.type_name not in READ_ONLY_VALUES else f"is a {use.type_name}"
            fail(
                op,
                f"a value of map {name}, which {what}, cannot be written from user space; place this in the kernel",
            )

    def symbol(self, op: ebpf.LdSymOp) -> str:
        name, offset = op.symbol_prop("sym"), op.int_prop("offset")
        if name in self._decls:
            use = self._map(op, name)
            if "internal" in use.decl.properties or isinstance(op.res.type, ValueType):
                return f"fs_global(run, {use.enumerator}, {offset})"
            return f"fs_map_word({use.enumerator})"
        if name in self.functions:
            if name not in self.callbacks:
                self.callbacks.append(name)
            return f"fs_function_word({self.callbacks.index(name)})"
        return fail(
            op,
            f"'{name}' is neither a map nor a function of part {self.name}; it cannot be had in user space",
        )

    def function(self, op: Operation, name: str) -> tuple[str, list[SSAValue]]:
        if name not in self.functions:
            fail(op, f"there is no function '{name}' in part {self.name}")
        return self.c_names[name], list(self.functions[name].entry.args)

    def library_function(self, op: Operation, name: str) -> Prototype:
        if Symbols(self.module).in_kernel(name):
            fail(op, f"kernel function {name} cannot be called on AF_XDP; place this code in the kernel")
        try:
            self.library[name] = found = prototype(self.module, name)
        except Unknown as error:
            fail(op, str(error))
        return found

    def carried(self, op: Operation, resume: int, index: int) -> tuple[int, int]:
        if resume not in self.arrivals:
            fail(op, f"no placement.edge of resume point {resume} leads to part {self.name}")
        layout = self.arrivals[resume][0]
        if index >= len(layout.widths):
            fail(op, f"resume point {resume} carries {len(layout.widths)} values; there is no number {index}")
        return layout.offsets[index], layout.widths[index]

    # Maps

    def _map(self, op: Operation, name: str) -> MapUse:
        if name not in self.maps:
            decl = self._decls.get(name)
            if decl is None:
                fail(op, f"map '{name}' is not declared")
            if (reason := supported_map(decl.type.data)) is not None:
                fail(op, f"map {name}: {reason}; place this code in the kernel")
            if decl.max_entries.data == 0:
                fail(
                    decl,
                    f"map {name} has no size (max_entries is 0, left to the loader); give it one: --map-size {name}=N",
                )
            enumerator = f"FS_MAP_{self._map_names.fresh(name)}"
            content = self._content(decl, name)
            share = self._shares.get(name)
            mechanism = share.mechanism.data if share is not None else "private"
            shared = share is not None and len(share.parts) > 1
            self.maps[name] = MapUse(name, decl, enumerator, mechanism, shared, content)
        return self.maps[name]

    def _content(self, decl: DeclOp, name: str) -> bytes:
        section = self._sections.get(name)
        if "internal" not in decl.properties or section is None:
            return b""
        if section.relocs is not None and section.relocs.data:
            fail(
                section,
                f"section {name} holds addresses, which user space cannot fill in; place its users in the kernel",
            )
        return section.content


def select_part(module: ModuleOp, part_name: str | None = None, program: str | None = None) -> Part:
    """The part on target `af-xdp`; the whole module where nothing is placed. `program` is needed where a part holds
    several. Fails with the names there are."""
    parts = [op for op in module.ops if isinstance(op, PartOp)]
    here = [op for op in parts if op.target.data.startswith(TARGET) and part_name in (None, op.sym_name.data)]
    if len(here) > 1:
        names = ", ".join(op.sym_name.data for op in here)
        fail(here[1], f"several parts are placed on {TARGET}: {names}; choose one with -t c{{part=NAME}}")
    if parts and not here:
        wanted = f"called '{part_name}' " if part_name else ""
        fail(
            parts[0],
            f"no part {wanted}is placed on {TARGET}; parts: {', '.join(p.sym_name.data for p in parts)}",
        )
    body = here[0].body.block.ops if here else module.ops
    name = here[0].sym_name.data if here else "program"
    functions = {op.symbol: op for op in body if isinstance(op, ebpf.FuncOp)}
    entry = _entry(module, functions, program, "decompose{program=NAME}" if here else "-t c{program=NAME}")
    common = {op.symbol: op for op in module.ops if isinstance(op, ebpf.FuncOp)}
    functions = _reachable(entry, common | functions)
    part = Part(name, functions, entry, _arrivals(module, name) if here else {}, module=module)
    part.tickets = {op.int_prop("resume") for op in module.ops if isinstance(op, EdgeOp) and op.has_ticket}
    part.tickets &= part.arrivals.keys()
    c_names = Names()
    part.c_names = {symbol: f"fn_{c_names.fresh(symbol)}" for symbol in functions}
    for op in (*module.ops, *body):
        if isinstance(op, DeclOp):
            part._decls[op.sym_name.data] = op
        elif isinstance(op, ShareOp):
            part._shares[op.symbol_prop("map")] = op
        elif isinstance(op, SectionOp):
            part._sections[op.section.data] = op
    _declare_maps(part)
    return part


def _entry(module: ModuleOp, functions: dict[str, ebpf.FuncOp], program: str | None, chosen_by: str) -> ebpf.FuncOp:
    programs = {name: func for name, func in functions.items() if func.type_name is not None}
    if program is not None:
        if program not in programs:
            fail(module, f"no program is called '{program}'; there are: {', '.join(programs) or 'none'}")
        return programs[program]
    if len(programs) != 1:
        which = f"there are {', '.join(programs)}; choose one with {chosen_by}" if programs else "there is none"
        fail(module, f"the part must hold one program: {which}")
    entry = next(iter(programs.values()))
    if entry.type_name != "xdp":
        fail(entry, f"{entry.symbol} is a {entry.type_name} program; only xdp programs run on AF_XDP")
    return entry


def _reachable(entry: ebpf.FuncOp, functions: dict[str, ebpf.FuncOp]) -> dict[str, ebpf.FuncOp]:
    """The functions that `entry` calls, or takes the address of, in any number of steps; in the module's order."""
    found = {entry.symbol}
    stack = [entry]
    while stack:
        for op in stack.pop().walk():
            for name in _named(op):
                if name in functions and name not in found:
                    found.add(name)
                    stack.append(functions[name])
    return {name: func for name, func in functions.items() if name in found}


def _named(op: Operation) -> Iterable[str]:
    """The symbol that an operation calls, or takes the address of."""
    named = op.properties.get("callee") or op.properties.get("sym")
    return [named.root_reference.data] if isinstance(named, SymbolRefAttr) else []


def _arrivals(module: ModuleOp, part: str) -> dict[int, tuple[Layout, str]]:
    arrivals: dict[int, tuple[Layout, str]] = {}
    for op in module.ops:
        if isinstance(op, EdgeOp) and op.symbol_prop("to") == part and op.transport.data != "none":
            resume = op.int_prop("resume")
            layout = Layout(resume, op.widths)
            arrivals[resume] = (layout, op.transport.data)
    return arrivals


def _declare_maps(part: Part) -> None:
    """Every map that the part's code names, whether by an operation or by a type."""
    for func in part.functions.values():
        for op in func.walk():
            for name in _maps_of(op):
                if name in part._decls:
                    part._map(op, name)
    written = _written(part.functions.values())
    for name, use in part.maps.items():
        use.written = not use.read_only and (written is None or name in written)


_LOOKS = frozenset({"map.load", "map.hit", "cf.br", "cf.cond_br", "arith.cmpi"})
"""Operations that do nothing with a map value's address but read, or hand it on under its type."""
_UNTYPED_LOOKUPS = frozenset({1})  # bpf_map_lookup_elem


def _written(functions: Iterable[ebpf.FuncOp]) -> set[str] | None:
    """The maps whose values may be written through their address; None where that can be any."""
    found: set[str] = set()
    for func in functions:
        for op in func.walk():
            if isinstance(op, ebpf.CallOp) and op.int_prop("helper") in _UNTYPED_LOOKUPS:
                return None
            if op.name in _LOOKS:
                continue
            found.update(
                name for value in op.operands if isinstance(value.type, ValueType) for name in value.type.names
            )
    return found


def _maps_of(op: Operation) -> Iterable[str]:
    named = op.properties.get("map") or op.properties.get("sym")
    if isinstance(named, SymbolRefAttr):
        yield named.root_reference.data
    for value in (*op.operands, *op.results):
        if isinstance(value.type, MapsType):
            yield from value.type.names
