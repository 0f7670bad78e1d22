"""States of maps for programs that nobody knows: empty, and random with keys that packets may hit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from fsir.dialects.map import DeclOp
from fsir.interp.maps import MAP_TYPES

Entry = dict[str, Any]
Contents = dict[str, list[Entry]]
INTERFACES = (1, 2, 3)
DEFAULT_SIZE = 64
"""For maps whose size is left to the loader."""

Make = Callable[["Filler", DeclOp], list[Entry]]


def declarations(module: ModuleOp) -> list[DeclOp]:
    """The maps that a loader makes: not global data, not templates of inner maps."""
    return [
        op for op in module.body.block.ops if isinstance(op, DeclOp) and op.internal is None and op.template is None
    ]


def sizes(module: ModuleOp) -> dict[str, int]:
    """Sizes for the maps that have none (perf event arrays are sized by libbpf)."""
    return {
        d.sym_name.data: DEFAULT_SIZE if d.type.data != "ringbuf" else 4096
        for d in declarations(module)
        if not d.int_prop("max_entries") and d.type.data in MAP_TYPES and d.type.data not in _UNSIZED
    }


_UNSIZED = {"perf_event_array", "sk_storage", "inode_storage", "task_storage", "cgrp_storage", "cgroup_storage"}
_UNSIZED |= {"percpu_cgroup_storage"}


class Filler:
    """Makes random contents. `packets` are what keys are cut from, `programs` what program arrays may hold."""

    def __init__(self, module: ModuleOp, packets: Sequence[bytes], programs: Sequence[str], cpus: int, seed: int):
        self.rng = random.Random(seed)
        self.packets, self.programs, self.cpus = packets, programs, cpus
        self.decls = {d.sym_name.data: d for d in module.body.block.ops if isinstance(d, DeclOp)}
        self.wanted = declarations(module)
        self.sizes = sizes(module)

    def contents(self) -> Contents:
        """Entries of all maps of types that user space can fill."""
        return {d.sym_name.data: found for d in self.wanted if (found := self.entries(d))}

    def entries(self, decl: DeclOp) -> list[Entry]:
        make = _MAKERS.get(decl.type.data)
        read_only = decl.int_prop("flags") & 0x8  # BPF_F_RDONLY: not for user space
        return make(self, decl) if make is not None and not read_only else []

    def size(self, decl: DeclOp) -> int:
        return self.sizes.get(decl.sym_name.data) or decl.int_prop("max_entries")

    def keys(self, decl: DeclOp, most: int) -> list[bytes]:
        """Different keys of a hash, no more than the map holds."""
        size = decl.int_prop("key_size")
        count = min(most, max(1, self.size(decl) // 2))
        return list(dict.fromkeys(self.key(size) for _ in range(count)))

    def key(self, size: int) -> bytes:
        """Bytes of a packet, a small number, an address in front of zeros, or noise."""
        frame = self.rng.choice(self.packets)
        kind = self.rng.randrange(8)
        if kind < 3:
            at = self.rng.choice((0, 6, 12, 14, 22, 23, 26, 30, 34, 36, 38, 54))
            return frame[at : at + size].ljust(size, b"\0")
        if kind < 5:
            return self.rng.choice((0, 1, 2, 6, 17, 80, 0x0800, 0x0008)).to_bytes(8, "little")[:size].ljust(size, b"\0")
        if kind == 5:
            return frame[26:30][:size].ljust(size, b"\0")
        return bytes(size) if kind == 6 else self.rng.randbytes(size)

    def value(self, size: int) -> bytes:
        """Noise, small numbers, or bytes of a packet, word by word."""
        words = bytearray()
        while len(words) < size:
            kind = self.rng.randrange(4)
            frame = self.rng.choice(self.packets)
            words += (
                self.rng.randrange(8).to_bytes(4, "little")
                if kind < 2
                else frame[26:30].ljust(4, b"\0")
                if kind == 2
                else self.rng.randbytes(4)
            )
        return bytes(words[:size])

    def indices(self, decl: DeclOp, most: int = 16) -> list[bytes]:
        """Keys of an array: the first ones, and some more."""
        size = self.size(decl)
        chosen = {*range(min(size, most // 2)), *(self.rng.randrange(size) for _ in range(most // 2))} if size else ()
        return [index.to_bytes(4, "little") for index in sorted(chosen)]

    def prefix(self, size: int) -> bytes:
        bits = self.rng.choice((0, 8, 16, 24, 32, 8 * (size - 4)))
        return min(bits, 8 * (size - 4)).to_bytes(4, "little") + self.key(size - 4)


def _array(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": key.hex(), "value": f.value(d.int_prop("value_size")).hex()} for key in f.indices(d)]


def _percpu_array(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": key.hex(), "values": _values(f, d)} for key in f.indices(d)]


def _hash(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": key.hex(), "value": f.value(d.int_prop("value_size")).hex()} for key in f.keys(d, 40)]


def _percpu_hash(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": key.hex(), "values": _values(f, d)} for key in f.keys(d, 40)]


def _values(f: Filler, d: DeclOp) -> list[str]:
    return [f.value(d.int_prop("value_size")).hex() for _ in range(f.cpus)]


def _trie(f: Filler, d: DeclOp) -> list[Entry]:
    count = min(20, max(1, f.size(d) // 2))
    keys = {f.prefix(d.int_prop("key_size")) for _ in range(count)}
    return [{"key": key.hex(), "value": f.value(d.int_prop("value_size")).hex()} for key in sorted(keys)]


def _devices(f: Filler, d: DeclOp) -> list[Entry]:
    keys = f.indices(d) if d.type.data == "devmap" else [i.to_bytes(4, "little") for i in range(min(4, f.size(d)))]
    return [{"key": key.hex(), "ifindex": f.rng.choice(INTERFACES)} for key in keys]


def _cpus(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": cpu.to_bytes(4, "little").hex(), "qsize": 192} for cpu in range(min(f.cpus, f.size(d)))]


def _sockets(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": key.hex(), "socket": 1} for key in f.indices(d, 4)]


def _programs(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"key": key.hex(), "program": f.rng.choice(f.programs)} for key in f.indices(d)] if f.programs else []


def _queue(f: Filler, d: DeclOp) -> list[Entry]:
    return [{"value": f.value(d.int_prop("value_size")).hex()} for _ in range(min(4, f.size(d)))]


def _nested(f: Filler, d: DeclOp) -> list[Entry]:
    inner = f.decls.get(d.inner.root_reference.data) if d.inner is not None else None
    if inner is None or not inner.int_prop("max_entries"):
        return []
    keys = f.indices(d, 4) if d.type.data == "array_of_maps" else f.keys(d, 6)
    return [{"key": key.hex(), "map": f.entries(inner)} for key in keys]


_MAKERS: dict[str, Make] = {
    "array": _array,
    "percpu_array": _percpu_array,
    "hash": _hash,
    "lru_hash": _hash,
    "percpu_hash": _percpu_hash,
    "lru_percpu_hash": _percpu_hash,
    "lpm_trie": _trie,
    "devmap": _devices,
    "devmap_hash": _devices,
    "cpumap": _cpus,
    "xskmap": _sockets,
    "prog_array": _programs,
    "queue": _queue,
    "stack": _queue,
    "array_of_maps": _nested,
    "hash_of_maps": _nested,
}
