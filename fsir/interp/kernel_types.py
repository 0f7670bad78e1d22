"""The running kernel's types, read as needed: there are a hundred thousand, of which a program names a few.

`KernelTypes` is a `Btf` whose types are decoded when asked for; reading it takes a fraction of a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from typing import cast, overload

from fsir.object.btf import SHAPES, Btf, Kind, Type
from fsir.object.errors import ObjectError

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_HEADER = Struct("<HBBIIIII")
_HEAD = Struct("<III")
_MAGIC = 0xEB9F
_TAILS = {kind: Struct(shape.tail) for kind, shape in SHAPES.items()}
FLAVOR = "___"
"""What follows it in a type's name tells definitions of one kernel type apart (libbpf)."""


class _Types(Sequence[Type]):
    """The records of a BTF section by number."""

    def __init__(self, data: bytes, at: int, end: int):
        self._data = data
        self._offsets = [0]
        self.by_name: dict[int, list[int]] = defaultdict(list)
        sizes = {int(kind): (tail.size, SHAPES[kind].many) for kind, tail in _TAILS.items()}
        unpack, offsets = Struct("<II").unpack_from, self._offsets
        while at < end:
            name, info = unpack(data, at)
            if (size := sizes.get(info >> 24 & 0x1F)) is None:
                raise ObjectError(
                    f"type {len(offsets)} is of a kind that this compiler does not know", None, ".BTF", at
                )
            if name:
                self.by_name[name].append(len(offsets))
            offsets.append(at)
            at += 12 + size[0] * ((info & 0xFFFF) if size[1] else 1)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, number: int) -> Type: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Type]: ...
    def __getitem__(self, number: int | slice) -> Type | Sequence[Type]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        return self._type(number) if number else Type(Kind.VOID)

    def _type(self, number: int) -> Type:
        at = self._offsets[number]
        name, info, size_or_type = _HEAD.unpack_from(self._data, at)
        kind, vlen = Kind(info >> 24 & 0x1F), info & 0xFFFF
        tail, many = _TAILS[kind], SHAPES[kind].many
        start = at + _HEAD.size
        records = (
            list(tail.iter_unpack(self._data[start : start + tail.size * (vlen if many else 1)])) if tail.size else []
        )
        return Type(kind, name, size_or_type, records, bool(info >> 31), 0 if many else vlen)


class KernelTypes(Btf):
    """BTF of a kernel. Raises ObjectError for what is no BTF."""

    def __init__(self, data: bytes, file: str | None = None):
        super().__init__(file=file)
        magic, version, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data.ljust(24, b"\0"))
        if magic != _MAGIC or version != 1 or len(data) < header + str_off + str_len:
            raise self.error("is not the types of a kernel (BTF version 1, little-endian)")
        self.strings = bytearray(data[header + str_off : header + str_off + str_len])
        self._lazy = _Types(data, header + type_off, header + type_off + type_len)
        self.types = cast("list[Type]", self._lazy)

    def named(self, name: str) -> Iterator[int]:
        """All types of that name, whatever their kind and flavor."""
        text = b"\0" + name.encode()
        for end in (b"\0", FLAVOR.encode()):
            at = self.strings.find(text + end)
            while at >= 0:
                yield from self._lazy.by_name.get(at + 1, ())
                at = self.strings.find(text + end, at + 1)


@cache
def kernel_types(path: Path = VMLINUX) -> KernelTypes | None:
    """The types of the running kernel (or of a file), None where there are none."""
    try:
        return KernelTypes(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
