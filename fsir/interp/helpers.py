"""Prototypes of the kernel's helper functions: the one place that says what a helper takes, gives and does.

`HELPERS[number]` and `helper_named(name)` answer for raising, for reports, for the question whether a target
can run a piece of code, and for the C emitter. What a helper *does* when interpreted is in `helper_calls.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

from fsir.interp.helper_table import ROWS, TYPE_GROUPS


class ArgKind(Enum):
    """What a helper takes in a register; the verifier's `enum bpf_arg_type` without its modifiers."""

    SCALAR = "scalar"
    """Any value; the helper may look at its low 32 bits only."""
    CTX = "ctx"
    """The program's context, as passed in r1."""
    MAP = "map"
    KEY = "key"
    """A key of the map argument: `key_size` bytes, read."""
    VALUE = "value"
    """A value of the map argument: `value_size` bytes, read."""
    VALUE_OUT = "value_out"
    """Room for a value of the map argument, written."""
    VALUE_RW = "value_rw"
    """A value of the map argument, written; or read, by a bloom filter."""
    MEM_RO = "ro"
    """Memory that is read; its size is fixed or in the next argument."""
    MEM_WO = "wo"
    """Memory that is written, and need not be initialised; its size is fixed or in the next argument."""
    MEM_RW = "rw"
    """Memory that is read and written; its size is fixed or in the next argument."""
    SIZE = "size"
    """The size of the memory in the argument before, above 0."""
    SIZE_OR_ZERO = "size0"
    """The size of the memory in the argument before."""
    ALLOC_SIZE = "allocsize"
    """A constant: the size of the memory that the helper returns."""
    ALLOC_MEM = "alloc"
    """Memory that a helper returned, at its start: a ring buffer reservation."""
    CONST_STR = "str"
    """A constant string in a read-only map."""
    FUNC = "func"
    """A callback: the address of a subprogram."""
    STACK = "stack"
    """The context of a callback, on the stack."""
    LOCK = "lock"
    """A `struct bpf_spin_lock` in a map value."""
    TIMER = "timer"
    """A `struct bpf_timer` in a map value."""
    KPTR = "kptr"
    """A kernel pointer field in a map value."""
    SOCK = "sock"
    BTF_ID = "btf"
    """A kernel object with a type."""
    DYNPTR = "dynptr"
    DYNPTR_OUT = "dynptr_out"
    """Room on the stack for a dynptr, initialised by the helper."""


class ReturnKind(Enum):
    """What a helper leaves in r0; the verifier's `enum bpf_return_type`."""

    INTEGER = "int"
    VOID = "void"
    """Nothing that a program may use."""
    MAP_VALUE = "value"
    ALLOC_MEM = "alloc"
    MEM = "mem"
    SOCK = "sock"
    BTF_ID = "btf"


MEMORY_KINDS = frozenset({ArgKind.MEM_RO, ArgKind.MEM_WO, ArgKind.MEM_RW})
SIZE_KINDS = frozenset({ArgKind.SIZE, ArgKind.SIZE_OR_ZERO})
_OUTPUT_KINDS = frozenset({ArgKind.MEM_WO, ArgKind.MEM_RW, ArgKind.VALUE_OUT, ArgKind.VALUE_RW, ArgKind.DYNPTR_OUT})


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument. `size` is that of fixed-size memory, else 0; `releases` gives up a reference."""

    kind: ArgKind
    nullable: bool = False
    releases: bool = False
    size: int = 0

    @property
    def reads_memory(self) -> bool:
        """Whether the helper reads what the argument points to, so that it must be written before."""
        return self.kind in _INPUT_KINDS

    @property
    def writes_memory(self) -> bool:
        """Whether the helper writes what the argument points to."""
        return self.kind in _OUTPUT_KINDS


_INPUT_KINDS = frozenset(
    {ArgKind.KEY, ArgKind.VALUE, ArgKind.VALUE_RW, ArgKind.MEM_RO, ArgKind.MEM_RW, ArgKind.CONST_STR}
)


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper's prototype and what else calling it implies.

    `since` is the kernel that introduced it, `types` the program types that may call it on 6.18 (names of
    `enum bpf_prog_type` in lower case).
    """

    number: int
    name: str
    """The kernel's name without `bpf_`."""
    args: tuple[Arg, ...]
    returns: ReturnKind
    may_return_null: bool
    since: tuple[int, int]
    types: frozenset[str]
    gpl: bool
    """Only for programs under a GPL-compatible licence."""
    packet_args: bool
    """Memory, key and value arguments may point into the packet."""
    changes_packet: bool
    """Every packet pointer and guard is void afterwards."""
    sleeps: bool
    """Only for sleepable programs."""
    time: bool
    """The result depends on the clock."""
    random: bool
    pure: bool
    """The result, and what it writes, depend only on the arguments and the memory they point to."""
    reads_map: bool
    """The result depends on the contents or the state of a map."""
    writes_map: bool
    """Contents or state of a map change, or a value pointer may become stale."""
    reads_packet: bool
    """Reads packet bytes, or the length, through the context."""
    writes_packet: bool
    """Changes packet bytes in place; pointers stay valid."""
    acquires: bool
    """The result is a reference that must be released."""
    variadic: bool
    """Takes what the remaining argument registers hold, too."""

    @property
    def calls_back(self) -> bool:
        """Whether it calls a subprogram of the caller."""
        return any(arg.kind is ArgKind.FUNC for arg in self.args)

    @property
    def c_name(self) -> str:
        """The name that a C program calls."""
        return f"bpf_{self.name}"


def _arg(text: str) -> Arg:
    text, _, size = text.partition(":")
    kind = ArgKind(text.rstrip("?!"))
    return Arg(kind, "?" in text, "!" in text, int(size or 0))


@cache
def _types(text: str) -> frozenset[str]:
    types: set[str] = set()
    for word in text.split():
        name = word.removeprefix("-")
        members = set(TYPE_GROUPS.get(name, name).split())
        types = types - members if word != name else types | members
    return frozenset(types)


def _helper(row: tuple[int, str, str, str, str, str, str]) -> Helper:
    number, name, args, returns, since, types, properties = row
    major, minor = since.split(".")
    has = set(properties.split())
    return Helper(
        number,
        name,
        tuple(_arg(arg) for arg in args.split()),
        ReturnKind(returns.rstrip("?")),
        returns.endswith("?"),
        (int(major), int(minor)),
        _types(types),
        *(flag in has for flag in PROPERTIES),
    )


PROPERTIES = (
    "gpl",
    "packet_args",
    "changes_packet",
    "sleeps",
    "time",
    "random",
    "pure",
    "reads_map",
    "writes_map",
    "reads_packet",
    "writes_packet",
    "acquires",
    "variadic",
)
"""The words for properties in a row of the table, in the order of the fields of `Helper`."""

HELPERS: dict[int, Helper] = {row[0]: _helper(row) for row in ROWS}
"""All helpers by number."""

_BY_NAME = {helper.name: helper for helper in HELPERS.values()}


def helper_named(name: str) -> Helper | None:
    """A helper by the kernel's name, with or without `bpf_`."""
    return _BY_NAME.get(name.removeprefix("bpf_"))
