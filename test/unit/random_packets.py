"""Random raised XDP programs that read and write their packet, the stack frame and a map value, for tests of passes."""

from __future__ import annotations

import random

from random_scalars import Writer

SPACE = 40
"""Bytes of the packet, and of the map value, that the programs use."""
MAPS = f'map.decl @state "array" key 4 value {SPACE} entries 1 flags 0'
_WIDTHS = (8, 16, 32, 64)


class PacketWriter(Writer):
    """A writer of programs with a guarded packet in %p, a map value in %m, and the frame pointer in %fp."""

    pointers: tuple[tuple[str, int], ...] = (("p", 0),)

    def step(self) -> None:
        kind = self.rng.randrange(12)
        if kind <= 3:
            self.load()
        elif kind <= 6:
            self.store()
        elif kind == 7:
            self.bytes_together()
        elif kind == 8:
            self.copy_bytes()
        else:
            super().step()

    def place(self, width: int) -> tuple[str, str, int]:
        """Where to access: the dialect, the address, an offset; few offsets, so that accesses meet."""
        room = SPACE - width // 8
        pick = self.rng.random()
        off = min(self.rng.choice((0, 1, 2, 4, 6, 8, 12, 14, 16, 20)), room)
        if pick < 0.55:
            return "packet", "p", off
        if pick < 0.7:
            return "packet", "q", min(off, 8)
        return ("map", "m", off) if pick < 0.9 else ("frame", "fp", -SPACE + off)

    def load_at(self, kind: str, base: str, off: int, width: int) -> str:
        if kind == "frame":
            name = self.put(f"ebpf.ldx{width} %{base}[{off}] : !ebpf.fp -> i64", 64)
            return name if width == 64 else self.put(f"arith.trunci %{name} : i64 to i{width}", width)
        type_ = "!packet.ptr" if kind == "packet" else "!map.value<@state>"
        return self.put(f"{kind}.load %{base}[{off}] : {type_} -> i{width}", width)

    def store_at(self, kind: str, base: str, off: int, value: str, width: int) -> None:
        if kind == "frame":
            word = value if width == 64 else self.once(f"arith.extui %{value} : i{width} to i64", 64)
            self.line(f"ebpf.stx{width} %{base}[{off}], %{word} : !ebpf.fp, i64")
            return
        type_ = "!packet.ptr" if kind == "packet" else "!map.value<@state>"
        self.line(f"{kind}.store %{base}[{off}], %{value} : {type_}, i{width}")

    def load(self) -> None:
        width = self.rng.choice(_WIDTHS)
        self.load_at(*self.place(width), width)

    def store(self) -> None:
        width = self.rng.choice(_WIDTHS)
        self.store_at(*self.place(width), self.value(width), width)

    def bytes_together(self) -> None:
        """A word put together from bytes, in one order or the other, perhaps with one byte wrong."""
        count = self.rng.choice((2, 2, 4, 8))
        kind, base, off = self.place(64)
        offsets = list(range(off, off + count))
        if self.rng.random() < 0.4:
            offsets.reverse()
        if self.rng.random() < 0.2:
            offsets[self.rng.randrange(count)] = off
        width = 64
        total = ""
        for position, at in enumerate(offsets):
            byte = self.load_at(kind, base, at, 8)
            piece = self.once(f"arith.extui %{byte} : i8 to i{width}", width)
            if position:
                amount = self.given(8 * position, width)
                piece = self.once(f"arith.shli %{piece}, %{amount} : i{width}", width)
                piece = self.once(f"arith.ori %{total}, %{piece} : i{width}", width)
            total = piece
            if self.rng.random() < 0.05:
                self.store()
        self.values.append((total, width))

    def copy_bytes(self) -> None:
        """A field copied or filled piece by piece."""
        size = self.rng.choice((8, 8, 16, 32))
        count = self.rng.choice((2, 3, 4, 6))
        source, target = self.place(64), self.place(64)
        constant = self.rng.random() < 0.4
        together = self.rng.random() < 0.7
        pieces = []
        for index in range(min(count, 64 // size)):
            step = index * size // 8
            value = self.constant(size) if constant else self.load_at(source[0], source[1], source[2] + step, size)
            pieces.append((step, value))
            if not together:
                self.store_at(target[0], target[1], target[2] + step, value, size)
        if together:
            for step, value in pieces:
                self.store_at(target[0], target[1], target[2] + step, value, size)


def random_program(seed: int, depth: int = 2) -> str:
    """A module with the XDP program `@f`, for frames of at least 14 bytes."""
    writer = PacketWriter(random.Random(seed))
    writer.values = [("a", 64), ("b", 64), ("c", 32), ("d", 16), ("e", 8)]
    writer.piece(depth)
    writer.piece(0)
    total = "a"
    for name, width in writer.rng.sample(writer.values, min(10, len(writer.values))):
        if width < 64:
            name = writer.put(f"arith.extui %{name} : i{width} to i64", 64)
        five = writer.put("arith.constant 5 : i64", 64)
        shifted = writer.put(f"arith.muli %{total}, %{five} : i64", 64)
        total = writer.put(f"arith.xori %{shifted}, %{name} : i64", 64)
    return "\n".join((MAPS, _HEAD, *writer.lines, f"  packet.verdict %{total} : i64\n}}"))


_HEAD = (
    f"""ebpf.func @f section "xdp" attributes {{prog_type = "xdp"}} {{
^entry(%ctx: !packet.ctx):
  %p = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %fp = ebpf.frame -> !ebpf.fp
  %none = arith.constant 0 : i64
  %first = arith.constant 0 : i32
  %fits = packet.guard %p[{SPACE + 8}], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %fits, ^long, ^short
^short:
  packet.verdict %none : i64
^long:
  %m = map.lookup @state(%first) : i32 -> !map.value<@state>
  %hit = map.hit %m : !map.value<@state> -> i1
  cf.cond_br %hit, ^begin, ^short
^begin:
"""
    + "".join(f"  ebpf.stx64 %fp[{-SPACE + 8 * i}], %none : !ebpf.fp, i64\n" for i in range(SPACE // 8))
    + """\
  %e = packet.load %p[5] : !packet.ptr -> i8
  %two = arith.constant 7 : i8
  %some = arith.andi %e, %two : i8
  %by = arith.extui %some : i8 to i64
  %q = packet.advance %p, %by : !packet.ptr, i64 -> !packet.ptr
  %a = packet.load %p[24] : !packet.ptr -> i64
  %b = map.load %m[8] : !map.value<@state> -> i64
  %c = packet.load %p[7] : !packet.ptr -> i32
  %d = map.load %m[2] : !map.value<@state> -> i16
  cf.br ^start
^start:"""
)
