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
        kind = self.rng.randrange(14)
        if kind <= 2:
            self.load()
        elif kind <= 4:
            self.store()
        elif kind <= 10:
            self.rng.choice((self.bytes_together, self.copy_bytes, self.split_word))()
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

    def load_at(self, kind: str, base: str, off: int, width: int, once: bool = False) -> str:
        write = self.once if once else self.put
        if kind == "frame":
            name = write(f"ebpf.ldx{width} %{base}[{off}] : !ebpf.fp -> i64", 64)
            return name if width == 64 else write(f"arith.trunci %{name} : i64 to i{width}", width)
        type_ = "!packet.ptr" if kind == "packet" else "!map.value<@state>"
        return write(f"{kind}.load %{base}[{off}] : {type_} -> i{width}", width)

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

    def disturb(self) -> None:
        """Now and then another access in between."""
        if self.rng.random() < 0.06:
            self.store()
        elif self.rng.random() < 0.06:
            self.load()

    def pieces(self) -> list[tuple[int, int]]:
        """A row of (distance, width), without gaps but for a rare mistake."""
        row, at = [], 0
        widths = [self.rng.choice((8, 8, 8, 16, 32))] * 8 if self.rng.random() < 0.7 else self.rng.choices((8, 16), k=5)
        for width in widths[: self.rng.choice((2, 2, 3, 4, 6, 8))]:
            if at + width // 8 <= 8:
                row.append((at, width))
                at += width // 8 + (self.rng.random() < 0.03)
        return row

    def bytes_together(self) -> None:
        """A word put together from pieces, in one byte order or the other, perhaps too narrow, perhaps swapped."""
        kind, base, off = self.place(64)
        row = self.pieces()
        width = self.rng.choice((16, 32, 64, 64, 64))
        reverse = self.rng.random() < 0.5
        loads = []
        for at, size in self.rng.sample(row, len(row)):
            if size <= width:
                loads.append((at, size, self.load_at(kind, base, off + at, size, once=self.rng.random() < 0.8)))
                self.disturb()
        total, end = "", max(at + size // 8 for at, size in row)
        for at, size, value in loads:
            shift = 8 * (end - at - size // 8 if reverse else at) % width
            if size < width:
                value = self.once(f"arith.extui %{value} : i{size} to i{width}", width)
            if reverse and size > 8 and width == 64 and self.rng.random() < 0.7:
                value = self.once(f"ebpf.be{size} %{value} : i64 -> i64", 64)
            if shift:
                value = self.once(f"arith.shli %{value}, %{self.given(shift, width)} : i{width}", width)
            total = self.once(f"arith.ori %{total}, %{value} : i{width}", width) if total else value
        if total:
            self.values.append((total, width))

    def copy_bytes(self) -> None:
        """A field copied or filled piece by piece, one after the other or all loads first; it may overlap itself."""
        source, target = self.place(64), self.place(64)
        constant, together = self.rng.random() < 0.3, self.rng.random() < 0.5
        stores = []
        row = self.pieces()
        for at, size in self.rng.sample(row, len(row)) if self.rng.random() < 0.5 else row:
            value = (
                self.constant(size)
                if constant
                else self.load_at(source[0], source[1], source[2] + at, size, once=self.rng.random() < 0.9)
            )
            stores.append((at, size, value))
            self.disturb()
            if not together:
                self.store_at(target[0], target[1], target[2] + at, value, size)
                self.disturb()
        for at, size, value in stores if together else ():
            self.store_at(target[0], target[1], target[2] + at, value, size)
            self.disturb()

    def split_word(self) -> None:
        """A word stored piece by piece, from one end or from the other."""
        kind, base, off = self.place(64)
        width = self.rng.choice((16, 32, 64))
        word = self.value(width)
        reverse = self.rng.random() < 0.4
        row = self.pieces()
        end = max(at + size // 8 for at, size in row)
        for at, size in row:
            shift = 8 * (end - at - size // 8 if reverse else at) + self.rng.choice((0, 0, 0, 8))
            if shift >= width or size > width:
                continue
            value = self.once(f"arith.shrui %{word}, %{self.given(shift, width)} : i{width}", width) if shift else word
            if size < width:
                value = self.once(f"arith.trunci %{value} : i{width} to i{size}", size)
            self.store_at(kind, base, off + at, value, size)
            self.disturb()


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
