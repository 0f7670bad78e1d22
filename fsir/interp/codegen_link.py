"""Generated functions bound to a machine: compiled on first need, and their names resolved.

A `Link` is one module (or one placed part of it) on one machine. `Link.function(symbol)` gives a Python function that
takes the machine arguments and the call depth, and returns r0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from types import CodeType, FunctionType, TracebackType
from typing import NoReturn

from xdsl.ir import Operation, Region

from fsir.dialects import ebpf
from fsir.interp import emit_alu, emit_scalar
from fsir.interp.branches import Branches
from fsir.interp.codegen import Need, Source, generate, parameters
from fsir.interp.helper_base import Call
from fsir.interp.machine import STACK_SIZE, HelperError, Machine
from fsir.interp.maps_array import ArrayMap

Compiled = Callable[..., int]

DEFAULT_BUDGET = 1_000_000
CALL_FRAMES = 8


class ExecutionLimit(Exception):
    """The program runs too long or calls too deep."""


class Unsupported(Exception):
    """Control reached something that cannot be executed."""


class Handoff(Exception):
    """Malformed use of the placement dialect at run time: a value that was not carried, a wrong resume point."""


def _unsupported(message: str) -> NoReturn:
    raise Unsupported(message)


class _Frames(dict[int, tuple[int, bytearray]]):
    """The frame at a depth: the value of r10 and the bytes of the stack below it."""

    def __init__(self, machine: Machine):
        self._machine = machine

    def __missing__(self, depth: int) -> tuple[int, bytearray]:
        region = self._machine.stack(depth)
        self[depth] = region.base + STACK_SIZE, region.buf
        return self[depth]


class _Objects(dict[int, int]):
    """The address of a function's frame objects at a depth."""

    def __init__(self, machine: Machine, size: int):
        self._machine = machine
        self._size = size

    def __missing__(self, depth: int) -> int:
        self[depth] = self._machine.memory.alloc(self._size, f"objects of frame {depth}").base
        return self[depth]


class Sources:
    """Sources that were generated, for programs that are opened again and again: by body, what is told of branches, and
    whether values are poisoned. Nobody may change a body while its source is kept here."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Region, Branches | None, bool], Source] = {}

    def source(
        self,
        func: ebpf.FuncOp,
        find: Callable[[str], ebpf.FuncOp | None],
        poison: bool,
        branches: Branches | None,
    ) -> Source:
        """The source of a function, as of `codegen.generate`."""
        key = func.body, branches, poison
        if key not in self._kept or not _still_calls(self._kept[key], find):
            self._kept[key] = generate(func, f"f{len(self._kept)}", find, poison, branches)
        return self._kept[key]

    def forget(self, body: Region) -> None:
        """Drop what is kept of a body, which is going to change."""
        self._kept = {key: source for key, source in self._kept.items() if key[0] is not body}


def _still_calls(source: Source, find: Callable[[str], ebpf.FuncOp | None]) -> bool:
    """Whether the functions that a source calls take the same as when it was made: they may have got other bodies."""
    callees = ((find(name), passed) for name, passed in source.calls.items())
    return all(func is not None and parameters(func) == passed for func, passed in callees)


class Link:
    """The functions of a module on a machine.

    functions   by symbol, those that may be called
    externs     words for undefined symbols: addresses of configuration variables
    weak        undefined symbols that are 0 when not in `externs`
    data        maps that are global data: their symbol is the address of their content
    budget      instructions per packet
    poison      see `codegen.generate`
    branches    what is told of branches taken
    sources     where sources are kept from one program to the next
    """

    def __init__(
        self,
        machine: Machine,
        functions: Mapping[str, ebpf.FuncOp],
        *,
        externs: Mapping[str, int] | None = None,
        weak: frozenset[str] = frozenset(),
        data: frozenset[str] = frozenset(),
        budget: int = DEFAULT_BUDGET,
        poison: bool = False,
        branches: Branches | None = None,
        sources: Sources | None = None,
    ):
        self.machine = machine
        self.sources = sources if sources is not None else Sources()
        self.branches = branches
        self.funcs = functions
        self.externs = dict(externs or {})
        self.weak = weak
        self.data = data
        self.poison = poison
        self.state = [0, 0, 0]
        """Executed instructions, `may_goto` counts, and the depth of the function that calls a helper."""
        self.limit = [budget, CALL_FRAMES]
        """Instructions per packet, and the depth that the program at work may not reach."""
        self.arrival: tuple[int, tuple[int, ...]] = (0, ())
        """Resume point and carried values with which the packet came in."""
        self.departure: tuple[str, int, tuple[int, ...]] | None = None
        """Part, resume point and carried values with which it leaves."""
        self._compiled: dict[str, Compiled] = {}
        self._sources: dict[str, Source] = {}
        self._by_code: dict[CodeType, Source] = {}
        self._callbacks: dict[str, int] = {}
        self._base = self._common_names()

    # Running

    def reset(self) -> None:
        """Get ready for a packet."""
        self.state[:] = (0, 0, 0)
        self.departure = None

    def run(self, symbol: str, ctx: int) -> int:
        """Run a program on the context at this address."""
        result = self.enter_program(symbol, ctx, 0)
        if self.state[0] > self.limit[0]:
            self._over_limit(self.state[0], 0)
        return result

    def enter_program(self, symbol: str, ctx: int, depth: int) -> int:
        """A program as a tail call enters it: r1 is the context, the frame is that of the caller. Entered from a
        subprogram, it may nest as deeply again, and returns to the subprogram's caller."""
        function = self.function(symbol)
        before = self.limit[1]
        self.limit[1] = depth + CALL_FRAMES
        try:
            return function(*(ctx if param.register == 1 else 0 for param in self._sources[symbol].params), depth)
        finally:
            self.limit[1] = before

    @property
    def instructions(self) -> int:
        """How many instructions the last packet took (up to the last call, where it ended with an error)."""
        return self.state[0]

    def operation_at(self, traceback: TracebackType | None) -> Operation | None:
        """The operation that was being executed where an exception was raised."""
        found: Operation | None = None
        while traceback is not None:
            source = self._by_code.get(traceback.tb_frame.f_code)
            if source is not None:
                found = source.ops.get(traceback.tb_lineno, found)
            traceback = traceback.tb_next
        return found

    # Linking

    def function(self, symbol: str) -> Compiled:
        """The compiled function, with everything that it calls."""
        found = self._compiled.get(symbol)
        return found if found is not None else self._compile(symbol)

    def _compile(self, symbol: str) -> Compiled:
        func = self.funcs.get(symbol)
        if func is None:
            raise HelperError(f"there is no program '{symbol}' in this object")
        source = self.sources.source(func, self.funcs.get, self.poison, self.branches)
        namespace = dict(self._base)
        exec(_code(source.text, f"<{symbol}>"), namespace)
        compiled = namespace[source.name]
        assert isinstance(compiled, FunctionType)
        self._compiled[symbol] = compiled
        self._sources[symbol] = self._by_code[compiled.__code__] = source
        for global_name, (kind, what) in source.needs.items():
            namespace[global_name] = PROVIDERS[kind](self, *what)
        return compiled

    def _common_names(self) -> dict[str, object]:
        names: dict[str, object] = {
            "machine": self.machine,
            "state": self.state,
            "limit": self.limit,
            "calls": self.machine.helper_calls,
            "over_limit": self._over_limit,
            "unsupported": _unsupported,
            "enter_program": self.enter_program,
            **emit_alu.FUNCTIONS,
            **emit_scalar.FUNCTIONS,
        }
        if self.branches is not None:
            names |= self.branches.names()
        for letter, width in (("H", 16), ("I", 32), ("Q", 64)):
            layout = Struct(f"<{letter}")
            names[f"pack{width}"], names[f"unpack{width}"] = layout.pack_into, layout.unpack_from
        return names

    def _over_limit(self, n: int, depth: int) -> NoReturn:
        self.state[0] = n
        if depth >= self.limit[1]:
            raise ExecutionLimit(f"calls nest deeper than {CALL_FRAMES} frames")
        raise ExecutionLimit(
            f"the program executed more than {self.limit[0]} instructions on one packet; "
            "it may loop for ever, or raise the limit with --budget"
        )

    # What names stand for

    def _symbol(self, symbol: str, offset: int) -> int:
        """The word that `ebpf.ld_sym` loads."""
        found = self.machine.maps.get(symbol)
        if found is not None:
            if symbol in self.data and isinstance(found, ArrayMap):
                return found.values_addr + offset
            return found.addr
        if symbol in self.funcs:
            return self._callback(symbol)
        return self._extern(symbol)

    def _callback(self, symbol: str) -> int:
        if symbol not in self._callbacks:
            function = self.function(symbol)
            params = [(param.register, (1 << param.width) - 1) for param in self._sources[symbol].params]
            state = self.state

            def callback(*args: int) -> int:
                passed = (args[register - 1] & mask if register <= len(args) else 0 for register, mask in params)
                return function(*passed, state[2] + 1)

            self._callbacks[symbol] = self.machine.function_address(callback, symbol)
        return self._callbacks[symbol]

    def _extern(self, symbol: str) -> int:
        """The word for an undefined symbol: the kernel's variables and functions."""
        if symbol not in self.externs and _is_kfunc(symbol):
            return self.machine.memory.alloc_handle(f"kernel function {symbol}").base
        if symbol not in self.externs and symbol not in self.weak:
            raise HelperError(f"the kernel symbol '{symbol}' does not exist here; run the program with --engine kernel")
        return self.externs.get(symbol, 0)

    def _map(self, name: str, attribute: str) -> object:
        found = self.machine.maps.get(name)
        if found is None:
            raise HelperError(f"there is no map '{name}'")
        return getattr(found, attribute)

    def _skb_load(self, offset: int, size: int) -> int | None:
        """Big-endian bytes of the packet, None when they are not all there (ld_abs)."""
        offset = (offset & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
        data = self.machine.packet.read(offset, size) if offset >= 0 else None
        return None if data is None else int.from_bytes(data, "big")

    def _observed(self, number: int) -> Call:
        call = _helper(number)
        return call if self.branches is None else self.branches.helper(number, call)

    def _call_address(self, addr: int, *args: int) -> int:
        return self.machine.call_function(addr, *args)

    def _hand_off(self, part: str, resume: int, values: tuple[int, ...]) -> int:
        self.departure = part, resume, values
        return 0

    def _carried(self, resume: int, index: int) -> int:
        arrived, values = self.arrival
        if arrived != resume or index >= len(values):
            raise Handoff(f"value {index} of resume point {resume} asked for at resume point {arrived}")
        return values[index]

    def _accept(self, resume: int) -> None:
        if self.arrival[0] != resume:
            raise Handoff(f"resume point {resume} accepts a packet of resume point {self.arrival[0]}")


def _helper(number: int) -> Call:
    from fsir.interp.helper_calls import call_of

    return call_of(number)


def _kfunc(name: str) -> Compiled:
    from fsir.interp.kfuncs import kfunc_named

    return kfunc_named(name)


def _is_kfunc(name: str) -> bool:
    from fsir.interp.kfuncs import is_interpreted

    return is_interpreted(name)


def _pack(layout: str) -> Callable[..., bytes]:
    return Struct(layout).pack


@lru_cache(maxsize=256)
def _code(text: str, filename: str) -> CodeType:
    return compile(text, filename, "exec")


PROVIDERS: dict[str, Callable[..., object]] = {
    "load": lambda link, width: getattr(link.machine.memory, f"load{width}"),
    "store": lambda link, width: getattr(link.machine.memory, f"store{width}"),
    "read_bytes": lambda link: link.machine.memory.read_bytes,
    "write_bytes": lambda link: link.machine.memory.write_bytes,
    "frames": lambda link: _Frames(link.machine),
    "objects": lambda link, size: _Objects(link.machine, size),
    "packet": lambda link: link.machine.packet,
    "helper": lambda link, number: link._observed(number),
    "kfunc": lambda link, name: link.machine.library.get(name) or _kfunc(name),
    "tail_call": lambda link: link.machine.tail_call,
    "function": Link.function,
    "call_address": lambda link: link._call_address,
    "symbol": Link._symbol,
    "skb_load": lambda link: link._skb_load,
    "map": Link._map,
    "pack": lambda link, layout: _pack(layout),
    "handoff": lambda link: link._hand_off,
    "resume": lambda link: lambda: link.arrival[0],
    "carried": lambda link: link._carried,
    "accept": lambda link: link._accept,
}
"""What the global names of generated code are bound to, by the kind asked for with `Emitter.need`."""

__all__ = ["DEFAULT_BUDGET", "Compiled", "ExecutionLimit", "Handoff", "Link", "Need", "Sources", "Unsupported"]
