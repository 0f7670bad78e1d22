"""The scalar fields of a BTF type, flattened (``Btf.layout``)."""

from __future__ import annotations

from fsir.object.btf import Btf, Kind, Leaf

MAX_LEAVES = 4096
MAX_VISITS = 1 << 16
MAX_DEPTH = 64


class Flattening:
    """One walk through the fields of a type. It takes at most ``MAX_VISITS`` steps: a few hundred bytes of
    damaged BTF can nest structs into more fields than memory holds."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.leaves: list[Leaf] = []
        self.inside: list[int] = []
        self.visits = 0

    def of(self, type_id: int) -> list[Leaf]:
        self.walk(type_id, 0, "")
        return self.leaves

    def walk(self, type_id: int, at: int, name: str) -> None:
        type_id = self.btf.resolve(type_id)
        self.visits += 1
        if type_id in self.inside or len(self.inside) > MAX_DEPTH or self.visits > MAX_VISITS:
            raise self.btf.error(f"type {type_id} contains itself, or too many fields to list; damaged")
        self.inside.append(type_id)
        kind = self.btf.kind(type_id)
        if kind in (Kind.STRUCT, Kind.UNION):
            self.members(type_id, at, name)
        elif kind is Kind.ARRAY:
            self.elements(type_id, at, name)
        else:
            self.leaves.append(Leaf(at, self.btf.sizeof(type_id), name))
        self.inside.pop()

    def members(self, type_id: int, at: int, name: str) -> None:
        for m in self.btf.members(type_id):
            path = f"{name}.{m.name}" if name and m.name else name or m.name
            first, last = at + m.bit_offset // 8, at + (m.bit_offset + m.bits + 7) // 8
            if m.bits:
                self.leaves.append(Leaf(first, last - first, path))
            else:
                self.walk(m.type_id, first, path)

    def elements(self, type_id: int, at: int, name: str) -> None:
        element, count = self.btf.array(type_id)
        size = self.btf.sizeof(element)
        if not count or not size:
            return
        before, visits = len(self.leaves), self.visits
        self.walk(element, at, f"{name}[0]")
        if (self.visits - visits) * count > MAX_LEAVES - before:
            self.leaves[before:] = [Leaf(at, size * count, name)]
            self.visits = visits
            return
        for i in range(1, count):
            self.walk(element, at + i * size, f"{name}[{i}]")
