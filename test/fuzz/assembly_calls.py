"""Calls: helpers on maps, packets and sums, and functions of the program's own."""

from __future__ import annotations

from fuzz.assembly_base import KEY, MAPS, SPILL, TC_RESIZING, VALUE, Base


class Calls(Base):
    """Statements that call."""

    def key(self) -> str:
        """A key in the frame, and the map that it is for."""
        name = self.rng.choice(sorted(MAPS))
        if self.rng.random() < 0.7:
            register = self.number()
            self.raw(0xBF, 1, register)
            self.raw(0x57, 1, imm=3)
            self.raw(0x63, 10, 1, KEY)
            self.drop(1)
        else:
            self.raw(0x62, 10, 0, KEY, self.rng.randrange(4))
        if MAPS[name][1] == 8 and self.rng.random() < 0.3:
            self.raw(0x62, 10, 0, KEY + 4, self.rng.randrange(2))
        return name

    def lookup(self) -> None:
        """A value, used or taken for r8."""
        if not self.is_program:
            return self.read()
        end = self.label()
        self.lookup_address(self.key())
        self.numbers.discard(0)
        before = set(self.numbers)
        self.add(f"if r0 == 0 goto {end}")
        how = self.rng.randrange(3)
        if how == 0:
            self.raw(0xBF, 8, 0)
            if self.depth < 3:
                self.body()
            self.raw(0x79, 8, 10, SPILL)
        else:
            self.numbers.discard(0)
            for _ in range(self.rng.randint(1, 3)):
                size = self.rng.choice((1, 2, 4, 8))
                at = self.rng.randrange(64 - size + 1)
                if self.rng.random() < 0.5:
                    self.load(self.rng.choice((1, 2, 9)), 0, at, size)
                else:
                    self.store(0, at, size)
            if how == 2:
                self.raw(0xBF, 8, 0)
                self.raw(0x7B, 10, 0, SPILL)
        self.place(end)
        self.numbers &= before

    def change(self) -> None:
        """A value put into a map, or a key taken out."""
        name = self.key()
        for _ in range(2):
            self.store(10, VALUE + self.rng.randrange(0, 64, 8), 8)
        self.add(f"r1 = {name} ll")
        self.address(2, 10, KEY)
        if self.rng.random() < 0.3 and name in ("m_hash", "m_lru"):
            self.add("call 3")
        else:
            if self.rng.random() < 0.6:
                self.address(3, 10, VALUE)
            else:
                self.raw(0xBF, 3, 8)
            self.raw(0xB7, 4, imm=self.rng.choice((0, 0, 1, 2)))
            self.add("call 2")
        self.called()

    def move_bytes(self) -> None:
        """Bytes between packet and frame, or memory, by helpers."""
        self.raw(0xBF, 1, 6)
        if self.rng.random() < 0.5:
            self.raw(0xB7, 2, imm=self.rng.randrange(40))
        else:
            self.raw(0xBF, 2, 9)
            self.raw(0x57, 2, imm=31)
        size = self.rng.choice((1, 2, 8, 14))
        self.address(3, *self.rng.choice(((8, 16), (10, -64), (10, -32))))
        self.raw(0xB7, 4, imm=size)
        helper = self.rng.choice((26, 9) if self.is_tc else (189, 190))
        if helper == 9:
            self.raw(0xB7, 5, imm=0)
        self.add(f"call {helper}")
        self.called()
        if helper == 9:
            self.guard()

    def resize(self) -> None:
        if self.depth > 1 or not self.is_program:
            return self.move_bytes()
        self.raw(0xBF, 1, 6)
        if self.is_tc:
            helper, *numbers = self.rng.choice(TC_RESIZING)
            for register, number in enumerate(numbers, 2):
                self.raw(0xB7, register, imm=number)
        else:
            helper = self.rng.choice((44, 54, 65))
            self.raw(0xB7, 2, imm=self.rng.choice((-32, -16, -8, -4, 4, 8, 14)))
        self.add(f"call {helper}")
        self.called()
        self.guard()
        self.numbers.discard(0) if self.rng.random() < 0.5 else None

    def metadata(self) -> None:
        """Bytes in front of the packet."""
        end = self.label()
        before = set(self.numbers)
        self.raw(0x61, 1, 6, self.meta)
        self.raw(0xBF, 2, 1)
        self.raw(0x07, 2, imm=4)
        self.raw(0x61, 3, 6, self.data)
        self.add(f"if r2 > r3 goto {end}")
        self.drop(1, 2, 3)
        if self.rng.random() < 0.5:
            self.load(9, 1, 0, 4)
        else:
            self.store(1, 0, 4)
        self.place(end)
        self.numbers &= before

    def sum(self) -> None:
        self.raw(0xB7, 1, imm=0)
        self.raw(0xB7, 2, imm=0)
        self.address(3, *self.rng.choice(((8, 8), (10, -64), (7, 4))))
        self.raw(0xB7, 4, imm=self.rng.choice((4, 8, 16)))
        self.raw(0xB7, 5, imm=self.rng.choice((0, 5)))
        self.add("call 28")
        self.called()

    def call(self) -> None:
        """A function of the program, which gets context, memory and a number."""
        if not self.is_program:
            return self.arithmetic()
        if len(self.functions) < 60 and (self.rng.random() < 0.5 or not self.functions):
            self.names += 1
            self.last, self.reaches = f"f{self.names}", False
            self.functions += self.function(self.last, self.rng.randint(1, 6))
        self.raw(0xBF, 3, self.number())
        self.raw(0xBF, 1, 6)
        self.address(2, *self.rng.choice(((10, -64),) if self.reaches else ((10, -64), (8, 0))))
        self.add(f"call {self.last}")
        self.called()
        if self.rng.random() < 0.5:
            self.raw(0xAF, 9, 0)
        if self.rng.random() < 0.5:
            self.raw(0x79, 8, 10, SPILL)
