"""Accesses to the frame, the packet, map values and the context, also through addresses of several things."""

from __future__ import annotations

from fuzz.assembly_base import ATOMICS, CB, CURSOR, MARK, PACKET, PRIORITY, SIZES, SLOTS, SPILL, Base


class Memory(Base):
    """Statements that access memory."""

    def some_place(self) -> tuple[int, int, int]:
        """A base, an offset and a size; what is between may be in r1."""
        size = self.rng.choice((1, 2, 4, 8))
        kind = self.rng.randrange(5)
        if kind < 2:
            return 10, self.rng.choice(SLOTS) + self.rng.randrange(0, 8, size), size
        base, length = (7, PACKET) if kind == 2 else (8, self.memory)
        at = self.rng.randrange(length - size + 1)
        if not self.is_program and base == 8:
            at -= at % size
        if self.rng.random() < 0.3:
            step = self.rng.randrange(0, at + 1, 8 if base == 8 else 1)
            self.address(1, base, step)
            self.drop(1)
            return 1, at - step, size
        return base, at, size

    def read(self) -> None:
        base, off, size = self.some_place()
        self.load(self.scratch(), base, off, size, self.rng.random() < 0.3)

    def write(self) -> None:
        base, off, size = self.some_place()
        self.store(base, off, size)

    def copy(self) -> None:
        """Words from one place to another."""
        base, off, size = self.some_place()
        self.load(self.rng.choice((0, 2, 3)), base, off, size)
        base, off, size = self.some_place()
        self.raw(0x63 | SIZES[size], base, self.number(), off)

    def indexed(self) -> None:
        """A place that depends on a number."""
        size = self.rng.choice((1, 2, 4, 8))
        base, start, length = self.rng.choice(((10, -72 + 8, 64), (8, 0, self.memory)))
        self.raw(0xBF, 2, self.number())
        self.raw(0x57, 2, imm=(length - 1) & ~(size - 1))
        self.address(1, base, start)
        self.raw(0x0F, 1, 2)
        self.drop(1, 2)
        if self.rng.random() < 0.5:
            self.store(1, 0, size)
        else:
            self.load(self.rng.choice((0, 3, 4, 5, 9)), 1, 0, size)

    def packet_indexed(self) -> None:
        """A place in the packet that depends on a number, behind a guard of its own."""
        end, size = self.label(), self.rng.choice((1, 2, 4, 8))
        before = set(self.numbers)
        self.raw(0xBF, 1, self.number())
        self.raw(0x57, 1, imm=self.rng.choice((7, 15, 63, 0x3FF)))
        self.raw(0x0F, 1, 7)
        self.raw(0x61, 2, 6, self.end)
        self.raw(0xBF, 3, 1)
        self.raw(0x07, 3, imm=size)
        self.add(f"if r3 > r2 goto {end}")
        self.drop(1, 2, 3)
        if self.rng.random() < 0.5:
            self.store(1, 0, size)
        else:
            self.load(9, 1, 0, size, self.rng.random() < 0.3)
        self.place(end)
        self.numbers &= before

    def atomic(self) -> None:
        size = self.rng.choice((4, 8))
        base, off = self.rng.choice(((8, self.rng.randrange(0, 64, size)), (10, -72 + self.rng.randrange(8, 72, size))))
        op = self.rng.choice(ATOMICS)
        if op == 0xF1 and 0 not in self.numbers:
            self.raw(0xB7, 0, imm=0)
            self.numbers.add(0)
        self.raw(0xC3 | SIZES[size], base, self.number(), off, op)

    def ordered(self) -> None:
        """Acquiring loads and releasing stores."""
        size = self.rng.choice((1, 2, 4, 8))
        off = self.rng.randrange(0, 64, size)
        if self.rng.random() < 0.5:
            self.raw(0xC3 | SIZES[size], self.scratch(), 8, off, 0x100)
        else:
            self.raw(0xC3 | SIZES[size], 8, self.number(), off, 0x110)

    def pointer(self) -> None:
        """r7 through the frame, or r8 as one of two."""
        if self.rng.random() < 0.5:
            slot = self.rng.choice(SLOTS)
            self.raw(0x7B, 10, 7, slot)
            self.statement() if self.depth < 3 and self.rng.random() < 0.5 else None
            self.guard()
            self.raw(0x7B, 10, 7, slot)
            self.raw(0x79, 1, 10, slot)
            self.load(9, 1, self.rng.randrange(40), 8)
            self.raw(0x7A, 10, 0, slot, 0)
            self.drop(1)
        else:
            self.raw(0x79, 8, 10, SPILL)

    def cursor(self) -> None:
        """An address of the packet in the frame, which called functions may move on."""
        self.reaches = True
        if self.rng.random() < 0.5:
            base, off = (10, CURSOR) if self.is_program else (8, CURSOR + 64)
            self.raw(0x79, 1, base, off)
            if self.rng.random() < 0.3:
                self.raw(0xBF, 1, 7)
            self.raw(0x07, 1, imm=self.rng.randrange(8))
            other = self.label()
            if self.rng.random() < 0.5 and self.numbers - {1}:
                self.drop(1)
                self.jump(other)
            self.raw(0x7B, base, 1, off)
            self.place(other)
            self.drop(1)
        else:
            end = self.label()
            base, off = (10, CURSOR) if self.is_program or self.rng.random() < 0.3 else (8, CURSOR + 64)
            self.raw(0x79, 1, base, off)
            self.raw(0xBF, 2, 1)
            self.raw(0x07, 2, imm=8)
            self.raw(0x61, 3, 6, self.end)
            before = self.numbers - {1, 2, 3}
            self.drop(1, 2, 3)
            self.add(f"if r2 > r3 goto {end}")
            size = self.rng.choice((1, 2, 4, 8))
            self.load(9, 1, self.rng.randrange(9 - size), size) if self.rng.random() < 0.5 else self.store(1, 0, size)
            self.place(end)
            self.numbers = before

    def theirs(self) -> None:
        """The map's value whose address is in the frame, the caller's in a called function."""
        self.reaches = True
        base, off = (10, SPILL) if self.is_program else (8, SPILL + 64)
        size = self.rng.choice((1, 2, 4, 8))
        self.raw(0x79, 1, base, off)
        self.drop(1)
        at = self.rng.randrange(65 - size)
        self.load(self.rng.choice((0, 9)), 1, at, size) if self.rng.random() < 0.5 else self.store(1, at, size)
        if not self.is_program and self.rng.random() < 0.3:
            end = self.label()
            self.lookup_address("m_array")
            before = set(self.numbers)
            self.add(f"if r0 == 0 goto {end}")
            self.raw(0x7B, base, 0, off)
            self.place(end)
            self.numbers &= before

    def either(self) -> None:
        """An address in the frame, the packet or a value, on different ways."""
        self.address(1, *self.rng.choice(((10, -40), (7, 8), (8, 16))))
        self.drop(1)
        other = self.label()
        self.jump(other)
        self.address(1, *self.rng.choice(((10, -32), (7, 8), (8, 16), (8, 24))))
        self.place(other)
        size = self.rng.choice((1, 2, 4, 8))
        at = self.rng.randrange(0, 24, size)
        if self.rng.random() < 0.4:
            self.load(self.rng.choice((0, 2, 9)), 1, at, size)
        else:
            self.store(1, at, size)

    def address_compare(self) -> None:
        """How far packet addresses are apart."""
        self.raw(0x61, 1, 6, self.end)
        self.raw(0xBF, 2, 7)
        self.raw(0x1F, 1, 2)
        self.drop(2)
        self.numbers.add(1)

    def context(self) -> None:
        if not self.is_tc:
            return self.load(self.scratch(), 6, self.rng.choice((12, 16)), 4)
        written = (MARK, PRIORITY, *range(CB, CB + 20, 4))
        if self.rng.random() < 0.5:
            self.raw(0x63, 6, self.number(), self.rng.choice(written))
        else:
            self.load(self.scratch(), 6, self.rng.choice((0, 16, *written)), 4)
