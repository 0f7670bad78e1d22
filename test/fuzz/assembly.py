"""Random XDP and TC programs in assembly: `program(seed)`, for what no compiler writes.

Each register has a role, so that most programs pass the verifier: r6 holds the context, r7 the packet, r8 memory (a
map's value, or in a called function its caller's frame), r9 a number; r0 to r5 are for everything. Instructions that
clang 14 does not know are written as bytes. One line is one instruction, so that `fuzz.shrink` takes out lines.
"""

from __future__ import annotations

import random

from fuzz.generate import Program

FLAGS = ("-mcpu=v3", "-x", "assembler")
_MAPS = {"m_hash": (1, 8, 64, 64), "m_array": (2, 4, 64, 4), "m_lru": (9, 4, 64, 4096), "m_cpu": (6, 4, 64, 4)}
"""Type, bytes of key and value, entries."""
_OPS = {"add": 0, "sub": 1, "mul": 2, "div": 3, "or": 4, "and": 5, "lsh": 6, "rsh": 7, "mod": 9, "xor": 10, "arsh": 12}
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_ATOMICS = (0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1)
_JUMPS = ("==", "!=", "<", "<=", ">", ">=", "s<", "s<=", "s>", "s>=", "&")
_NUMBERS = (
    0, 1, 2, 3, 7, 8, 14, 31, 32, 63, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, -0x80000000,
    -1, -2, -8, -128, -256, -32768, 0x0800, 0x45,
)  # fmt: skip
_SLOTS = range(-8, -72, -8)
"""Words of the frame that hold numbers."""
_CURSOR, _SPILL, _KEY, _VALUE = -72, -80, -96, -160
"""Where an address of the packet and r8 are kept, and keys and values made. Called functions reach the first two."""
_MARK, _PRIORITY, _CB = 8, 32, 48
"""Fields of a socket buffer."""
_TC_RESIZING = ((18, 0x0081, 5), (19,), (38, 80, 0), (38, 60, 0), (39, 40), (39, 0), (10, 24, 1, 5, 2), (43, 14, 0))
"""Helpers that change a socket buffer's size, or make its bytes others, with their arguments."""
_PACKET = 48
"""Bytes behind r7."""


def program(seed: int) -> Program:
    """The program of a seed."""
    return Program(_Writer(random.Random(f"assembly {seed}")).program(), FLAGS)


class _Writer:
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
        kinds = sorted(_STATEMENTS)
        self.kinds = rng.sample(kinds, rng.choice((4, 6, 8, 10, len(kinds))))

    # --- lines -------------------------------------------------------------------------------------------------------

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
        self.raw((0x81 if signed and size < 8 else 0x61) | _SIZES[size], dst, base, off)
        if dst < 6 or dst == 9:
            self.numbers.add(dst)

    def store(self, base: int, off: int, size: int) -> None:
        """A number into memory."""
        if self.rng.random() < 0.3:
            self.raw(0x62 | _SIZES[size], base, 0, off, self.rng.choice(_NUMBERS))
        else:
            self.raw(0x63 | _SIZES[size], base, self.number(), off)

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

    # --- whole functions ---------------------------------------------------------------------------------------------

    def program(self) -> str:
        body = self.function("prog", self.rng.choice((3, 5, 8, 12, 20, 30)))
        text = ["\t.text", *self.functions] if self.functions else []
        text += [f'\t.section {"tc" if self.is_tc else "xdp"},"ax",@progbits', *body, '\t.section maps,"aw",@progbits']
        for name, (number, key, value, entries) in (_MAPS | {"m_out": (2, 4, 64, 4)}).items():
            text += [f"\t.globl {name}", f"\t.type {name},@object", f"\t.size {name}, 20", f"{name}:"]
            text += [f"\t.long {number}, {key}, {value}, {entries}, 0"]
        text += ['\t.section license,"aw",@progbits', "\t.globl _license", "\t.type _license,@object"]
        text += ["\t.size _license, 4", "_license:", '\t.asciz "GPL"']
        return "\n".join(text) + "\n"

    def function(self, name: str, budget: int) -> list[str]:
        """The lines of a program, or of a function f(context, 64 bytes of memory, number)."""
        around, numbers, depth = self.lines, self.numbers, self.depth
        self.lines, self.numbers, self.depth, self.is_program = [], set(), 0, name == "prog"
        self.lines += [f"\t.globl {name}" if name == "prog" else "", f"\t.type {name},@function", f"{name}:"]
        self.raw(0xBF, 6, 1)
        self.out = f"out_{name}"
        if name == "prog":
            self.raw(0xB7, 9, imm=self.rng.choice(_NUMBERS))
        else:
            self.raw(0xBF, 8, 2)
            self.raw(0xBF, 9, 3)
        for slot in _SLOTS:
            self.raw(0x7A, 10, 0, slot, self.rng.choice(_NUMBERS))
        for slot in range(_VALUE, _SPILL, 8):
            self.raw(0x7A, 10, 0, slot, 0)
        self.numbers = {9}
        if name == "prog":
            self.raw(0x62, 10, 0, _KEY, self.rng.randrange(4))
            self.lookup_address("m_array")
            self.add(f"if r0 == 0 goto {self.out}")
            self.raw(0xBF, 8, 0)
        self.raw(0x7B, 10, 8, _SPILL)
        self.guard()
        for _ in range(budget):
            self.statement()
        for register in sorted(self.numbers - {9}):
            self.raw(0x2F, 9, 9) if self.rng.random() < 0.1 else self.raw(0x27, 9, imm=31)
            self.raw(0x0F, 9, register)
        for slot in _SLOTS:
            if self.rng.random() < 0.5:
                self.raw(0x79, 0, 10, slot)
                self.raw(0x27, 9, imm=33)
                self.raw(0xAF, 9, 0)
        self.place(self.out)
        if name == "prog":
            self.raw(0x62, 10, 0, _KEY, 1)
            self.lookup_address("m_out")
            self.add("if r0 == 0 goto end")
            self.raw(0x7B, 0, 9, 8)
            self.place("end")
            self.raw(0xBF, 0, 9)
            self.raw(0x77, 0, imm=7)
            self.raw(0x0F, 0, 9)
            self.raw(0x57, 0, imm=3)
        else:
            self.raw(0xBF, 0, 9)
        self.add("exit")
        made = [*self.lines, f"\t.size {name}, .-{name}"]
        self.lines, self.numbers, self.depth, self.is_program = around, numbers, depth, True
        self.out = "out_prog"
        return made

    def statement(self) -> None:
        _STATEMENTS[self.rng.choice(self.kinds)](self)

    def guard(self) -> None:
        """r7 is the packet, with some bytes behind it; or the function ends."""
        self.raw(0x61, 7, 6, self.data)
        self.raw(0x61, 2, 6, self.end)
        self.raw(0xBF, 1, 7)
        self.raw(0x07, 1, imm=_PACKET)
        self.add(f"if r1 > r2 goto {self.out}")
        self.raw(0x7B, 10, 7, _CURSOR)
        self.drop(1, 2)

    def lookup_address(self, name: str) -> None:
        """r0 is what the map has for the key."""
        self.add(f"r1 = {name} ll")
        self.address(2, 10, _KEY)
        self.add("call 1")
        self.drop(0, 1, 2, 3, 4, 5)

    # --- numbers -----------------------------------------------------------------------------------------------------

    def arithmetic(self) -> None:
        source, wide = self.number(), self.rng.choice((0x07, 0x04))
        target = self.number()
        op = self.rng.choice(sorted(_OPS))
        code = _OPS[op] << 4 | wide
        signed = int(op in ("div", "mod") and self.rng.random() < 0.4)
        if self.rng.random() < 0.5:
            self.raw(code | 8, target, source, signed)
            return
        imm = self.rng.choice(_NUMBERS)
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
            self.raw(code, target, 0, 0, self.rng.choice(_NUMBERS))

    def unary(self) -> None:
        code, imm = self.rng.choice(((0x87, 0), (0x84, 0), *((c, n) for c in (0xD4, 0xDC, 0xD7) for n in (16, 32, 64))))
        self.raw(code, self.number(), 0, 0, imm)

    # --- control -----------------------------------------------------------------------------------------------------

    def condition(self) -> str:
        kind = self.rng.choice("rw")
        right = f"{kind}{self.number()}" if self.rng.random() < 0.4 else str(self.rng.choice(_NUMBERS))
        return f"{kind}{self.number()} {self.rng.choice(_JUMPS[:-1])} {right}"

    def jump(self, label: str) -> None:
        """Go there, or not."""
        if self.rng.random() < 0.15:  # jset, which clang 14 has no text for
            code = self.rng.choice((0x45, 0x46))
            self.raw_jump(code | self.number() << 8, label, self.rng.choice(_NUMBERS))
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

    # --- memory ------------------------------------------------------------------------------------------------------

    def some_place(self) -> tuple[int, int, int]:
        """A base, an offset and a size; what is between may be in r1."""
        size = self.rng.choice((1, 2, 4, 8))
        kind = self.rng.randrange(5)
        if kind < 2:
            return 10, self.rng.choice(_SLOTS) + self.rng.randrange(0, 8, size), size
        base, length = (7, _PACKET) if kind == 2 else (8, self.memory)
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
        self.raw(0x63 | _SIZES[size], base, self.number(), off)

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
        op = self.rng.choice(_ATOMICS)
        if op == 0xF1 and 0 not in self.numbers:
            self.raw(0xB7, 0, imm=0)
            self.numbers.add(0)
        self.raw(0xC3 | _SIZES[size], base, self.number(), off, op)

    def ordered(self) -> None:
        """Acquiring loads and releasing stores."""
        size = self.rng.choice((1, 2, 4, 8))
        off = self.rng.randrange(0, 64, size)
        if self.rng.random() < 0.5:
            self.raw(0xC3 | _SIZES[size], self.scratch(), 8, off, 0x100)
        else:
            self.raw(0xC3 | _SIZES[size], 8, self.number(), off, 0x110)

    def pointer(self) -> None:
        """r7 through the frame, or r8 as one of two."""
        if self.rng.random() < 0.5:
            slot = self.rng.choice(_SLOTS)
            self.raw(0x7B, 10, 7, slot)
            self.statement() if self.depth < 3 and self.rng.random() < 0.5 else None
            self.guard()
            self.raw(0x7B, 10, 7, slot)
            self.raw(0x79, 1, 10, slot)
            self.load(9, 1, self.rng.randrange(40), 8)
            self.raw(0x7A, 10, 0, slot, 0)
            self.drop(1)
        else:
            self.raw(0x79, 8, 10, _SPILL)

    def cursor(self) -> None:
        """An address of the packet in the frame, which called functions may move on."""
        self.reaches = True
        if self.rng.random() < 0.5:
            base, off = (10, _CURSOR) if self.is_program else (8, _CURSOR + 64)
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
            base, off = (10, _CURSOR) if self.is_program or self.rng.random() < 0.3 else (8, _CURSOR + 64)
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
        base, off = (10, _SPILL) if self.is_program else (8, _SPILL + 64)
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
        written = (_MARK, _PRIORITY, *range(_CB, _CB + 20, 4))
        if self.rng.random() < 0.5:
            self.raw(0x63, 6, self.number(), self.rng.choice(written))
        else:
            self.load(self.scratch(), 6, self.rng.choice((0, 16, *written)), 4)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def key(self) -> str:
        """A key in the frame, and the map that it is for."""
        name = self.rng.choice(sorted(_MAPS))
        if self.rng.random() < 0.7:
            register = self.number()
            self.raw(0xBF, 1, register)
            self.raw(0x57, 1, imm=3)
            self.raw(0x63, 10, 1, _KEY)
            self.drop(1)
        else:
            self.raw(0x62, 10, 0, _KEY, self.rng.randrange(4))
        if _MAPS[name][1] == 8 and self.rng.random() < 0.3:
            self.raw(0x62, 10, 0, _KEY + 4, self.rng.randrange(2))
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
            self.raw(0x79, 8, 10, _SPILL)
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
                self.raw(0x7B, 10, 0, _SPILL)
        self.place(end)
        self.numbers &= before

    def change(self) -> None:
        """A value put into a map, or a key taken out."""
        name = self.key()
        for _ in range(2):
            self.store(10, _VALUE + self.rng.randrange(0, 64, 8), 8)
        self.add(f"r1 = {name} ll")
        self.address(2, 10, _KEY)
        if self.rng.random() < 0.3 and name in ("m_hash", "m_lru"):
            self.add("call 3")
        else:
            if self.rng.random() < 0.6:
                self.address(3, 10, _VALUE)
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
            helper, *numbers = self.rng.choice(_TC_RESIZING)
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
            self.raw(0x79, 8, 10, _SPILL)


_STATEMENTS = {
    "arithmetic": _Writer.arithmetic,
    "arithmetic-again": _Writer.arithmetic,
    "move": _Writer.move,
    "unary": _Writer.unary,
    "branch": _Writer.branch,
    "branch-again": _Writer.branch,
    "loop": _Writer.loop,
    "read": _Writer.read,
    "read-again": _Writer.read,
    "write": _Writer.write,
    "write-again": _Writer.write,
    "copy": _Writer.copy,
    "indexed": _Writer.indexed,
    "packet-indexed": _Writer.packet_indexed,
    "atomic": _Writer.atomic,
    "ordered": _Writer.ordered,
    "pointer": _Writer.pointer,
    "cursor": _Writer.cursor,
    "theirs": _Writer.theirs,
    "either": _Writer.either,
    "either-again": _Writer.either,
    "distance": _Writer.address_compare,
    "context": _Writer.context,
    "lookup": _Writer.lookup,
    "lookup-again": _Writer.lookup,
    "change": _Writer.change,
    "move-bytes": _Writer.move_bytes,
    "resize": _Writer.resize,
    "metadata": _Writer.metadata,
    "sum": _Writer.sum,
    "call": _Writer.call,
}
