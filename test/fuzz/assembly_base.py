"""Assembly line by line: registers and labels, arithmetic, and what needs no more than these.

r6 holds the context, r7 the packet, r8 memory (a map's value, or in a called function its caller's frame), r9 a number;
r0 to r5 are for everything.
"""

from __future__ import annotations

import random

MAPS = {"m_hash": (1, 8, 64, 64), "m_array": (2, 4, 64, 4), "m_lru": (9, 4, 64, 4096), "m_cpu": (6, 4, 64, 4)}
"""Type, bytes of key and value, entries."""
OPS = {"add": 0, "sub": 1, "mul": 2, "div": 3, "or": 4, "and": 5, "lsh": 6, "rsh": 7, "mod": 9, "xor": 10, "arsh": 12}
SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
ATOMICS = (0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1)
JUMPS = ("==", "!=", "<", "<=", ">", ">=", "s<", "s<=", "s>", "s>=", "&")
NUMBERS = (
    0, 1, 2, 3, 7, 8, 14, 31, 32, 63, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, -0x80000000,
    -1, -2, -8, -128, -256, -32768, 0x0800, 0x45,
)  # fmt: skip
SLOTS = range(-8, -72, -8)
"""Words of the frame that hold numbers."""
CURSOR, SPILL, KEY, VALUE = -72, -80, -96, -160
"""Where an address of the packet and r8 are kept, and keys and values made. Called functions reach the first two."""
MARK, PRIORITY, CB = 8, 32, 48
"""Fields of a socket buffer."""
TC_RESIZING = ((18, 0x0081, 5), (19,), (38, 80, 0), (38, 60, 0), (39, 40), (39, 0), (10, 24, 1, 5, 2), (43, 14, 0))
"""Helpers that change a socket buffer's size, or make its bytes others, with their arguments."""
PACKET = 48
"""Bytes behind r7."""


class Base:
    """Lines of assembly, and which registers hold numbers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.names = 0
        self.numbers: set[int] = set()
        self.memory = 64
        self.depth = 0
        self.functions: list[str] = []
        self.is_program = True
        self.last, self.reaches = "", False
        """The function made last, and whether it reaches more of the frame than the memory that it is given."""
        self.is_tc = rng.random() < 0.3
        self.data, self.end, self.meta = (76, 80, 140) if self.is_tc else (0, 4, 8)
        self.out = "out_prog"

    def add(self, line: str) -> None:
        self.lines.append("\t" + line)

    def raw(self, code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        """One instruction, as bytes."""
        self.add(f".byte {code:#x}, {src << 4 | dst:#x}; .short {off & 0xFFFF:#x}; .long {imm & 0xFFFFFFFF:#x}")

    def raw_jump(self, code: int, label: str, imm: int = 0) -> None:
        """A jump as bytes; `code` has the registers in its second byte. (Clang fills in 32 bits, not 16.)"""
        self.add(f".long {code:#x} + ({label} - . - 8) / 8 * 65536; .long {imm & 0xFFFFFFFF:#x}")

    def label(self) -> str:
        self.names += 1
        return f"L{self.names}"

    def place(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def load(self, dst: int, base: int, off: int, size: int, signed: bool = False) -> None:
        self.raw((0x81 if signed and size < 8 else 0x61) | SIZES[size], dst, base, off)
        if dst < 6 or dst == 9:
            self.numbers.add(dst)

    def store(self, base: int, off: int, size: int) -> None:
        """A number into memory."""
        if self.rng.random() < 0.3:
            self.raw(0x62 | SIZES[size], base, 0, off, self.rng.choice(NUMBERS))
        else:
            self.raw(0x63 | SIZES[size], base, self.number(), off)

    def number(self) -> int:
        return self.rng.choice(sorted(self.numbers))

    def scratch(self) -> int:
        """A register to write: it holds a number afterwards."""
        register = self.rng.choice((0, 1, 2, 3, 4, 5, 9, 9))
        self.numbers.add(register)
        return register

    def drop(self, *registers: int) -> None:
        """These hold no numbers any more."""
        self.numbers -= set(registers)

    def called(self) -> None:
        self.drop(1, 2, 3, 4, 5)
        self.numbers.add(0)

    def address(self, register: int, base: int, off: int) -> None:
        self.raw(0xBF, register, base)
        if off:
            self.raw(0x07, register, imm=off)

    def guard(self) -> None:
        """r7 is the packet, with some bytes behind it; or the function ends."""
        self.raw(0x61, 7, 6, self.data)
        self.raw(0x61, 2, 6, self.end)
        self.raw(0xBF, 1, 7)
        self.raw(0x07, 1, imm=PACKET)
        self.add(f"if r1 > r2 goto {self.out}")
        self.raw(0x7B, 10, 7, CURSOR)
        self.drop(1, 2)

    def lookup_address(self, name: str) -> None:
        """r0 is what the map has for the key."""
        self.add(f"r1 = {name} ll")
        self.address(2, 10, KEY)
        self.add("call 1")
        self.drop(0, 1, 2, 3, 4, 5)

    def statement(self) -> None:
        """Any one."""
        raise NotImplementedError

    def function(self, name: str, budget: int) -> list[str]:
        """The lines of a program, or of a function f(context, 64 bytes of memory, number)."""
        raise NotImplementedError

    def arithmetic(self) -> None:
        source, wide = self.number(), self.rng.choice((0x07, 0x04))
        target = self.number()
        op = self.rng.choice(sorted(OPS))
        code = OPS[op] << 4 | wide
        signed = int(op in ("div", "mod") and self.rng.random() < 0.4)
        if self.rng.random() < 0.5:
            self.raw(code | 8, target, source, signed)
            return
        imm = self.rng.choice(NUMBERS)
        if op in ("lsh", "rsh", "arsh"):
            imm = self.rng.choice((0, 1, 7, 8, 16, 24, 31, 32, 48, 56, 63)) % (64 if wide == 7 else 32)
        self.raw(code, target, 0, signed, imm or int(op in ("div", "mod")))

    def move(self) -> None:
        source, target = self.number(), self.scratch()
        code, off = self.rng.choice(
            ((0xBF, 0), (0xBC, 0), (0xBF, 8), (0xBF, 16), (0xBF, 32), (0xBC, 8), (0xBC, 16), (0xB7, 0), (0xB4, 0))
        )
        if code & 8:
            self.raw(code, target, source, off)
        else:
            self.raw(code, target, 0, 0, self.rng.choice(NUMBERS))

    def unary(self) -> None:
        code, imm = self.rng.choice(((0x87, 0), (0x84, 0), *((c, n) for c in (0xD4, 0xDC, 0xD7) for n in (16, 32, 64))))
        self.raw(code, self.number(), 0, 0, imm)

    def condition(self) -> str:
        kind = self.rng.choice("rw")
        right = f"{kind}{self.number()}" if self.rng.random() < 0.4 else str(self.rng.choice(NUMBERS))
        return f"{kind}{self.number()} {self.rng.choice(JUMPS[:-1])} {right}"

    def jump(self, label: str) -> None:
        """Go there, or not."""
        if self.rng.random() < 0.15:  # jset, which clang 14 has no text for
            code = self.rng.choice((0x45, 0x46))
            self.raw_jump(code | self.number() << 8, label, self.rng.choice(NUMBERS))
        else:
            self.add(f"if {self.condition()} goto {label}")

    def branch(self) -> None:
        if self.depth >= 3:
            return self.arithmetic()
        other, end = self.label(), self.label()
        self.jump(other)
        before = set(self.numbers)
        self.body()
        both = self.rng.random() < 0.6
        after = set(self.numbers)
        if self.rng.random() < 0.1:
            self.add(f"goto {self.out}")
            after = {0, 1, 2, 3, 4, 5, 9}
        elif both:
            self.add(f"goto {end}")
        self.numbers = before
        self.place(other)
        if both:
            self.body()
            self.place(end)
        self.numbers &= after

    def body(self) -> None:
        self.depth += 1
        for _ in range(self.rng.randint(1, 3)):
            self.statement()
        self.depth -= 1

    def loop(self) -> None:
        """A few rounds, counted in the frame."""
        if self.depth >= 2 or not self.is_program:
            return self.arithmetic()
        head, end = self.label(), self.label()
        slot = self.rng.choice((-168, -176)) if self.depth else -184
        before = set(self.numbers)
        self.raw(0x7A, 10, 0, slot, 0)
        self.numbers = {9} | (before & {9})
        self.place(head)
        if self.rng.random() < 0.2:
            self.raw_jump(0xE5, end)  # may_goto
        self.body()
        self.raw(0x79, 1, 10, slot)
        self.raw(0x07, 1, imm=1)
        self.raw(0x7B, 10, 1, slot)
        self.numbers = {9}
        self.add(f"if r1 < {self.rng.randint(2, 4)} goto {head}")
        self.place(end)
