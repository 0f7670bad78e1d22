"""Random XDP and TC programs in assembly: `program(seed)`, for what no compiler writes.

Each register has a role, so that most programs pass the verifier: r6 holds the context, r7 the packet, r8 memory (a
map's value, or in a called function its caller's frame), r9 a number; r0 to r5 are for everything. Instructions that
clang 14 does not know are written as bytes. One line is one instruction, so that `fuzz.shrink` takes out lines.
"""

from __future__ import annotations

import random

from fuzz.assembly_base import KEY, MAPS, NUMBERS, SLOTS, SPILL, VALUE
from fuzz.assembly_calls import Calls
from fuzz.assembly_memory import Memory
from fuzz.generate import Program

FLAGS = ("-mcpu=v3", "-x", "assembler")


def program(seed: int) -> Program:
    """The program of a seed."""
    return Program(_Writer(random.Random(f"assembly {seed}")).program(), FLAGS)


class _Writer(Memory, Calls):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        kinds = sorted(_STATEMENTS)
        self.kinds = rng.sample(kinds, rng.choice((4, 6, 8, 10, len(kinds))))

    def program(self) -> str:
        body = self.function("prog", self.rng.choice((3, 5, 8, 12, 20, 30)))
        text = ["\t.text", *self.functions] if self.functions else []
        text += [f'\t.section {"tc" if self.is_tc else "xdp"},"ax",@progbits', *body, '\t.section maps,"aw",@progbits']
        for name, (number, key, value, entries) in (MAPS | {"m_out": (2, 4, 64, 4)}).items():
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
            self.raw(0xB7, 9, imm=self.rng.choice(NUMBERS))
        else:
            self.raw(0xBF, 8, 2)
            self.raw(0xBF, 9, 3)
        for slot in SLOTS:
            self.raw(0x7A, 10, 0, slot, self.rng.choice(NUMBERS))
        for slot in range(VALUE, SPILL, 8):
            self.raw(0x7A, 10, 0, slot, 0)
        self.numbers = {9}
        if name == "prog":
            self.raw(0x62, 10, 0, KEY, self.rng.randrange(4))
            self.lookup_address("m_array")
            self.add(f"if r0 == 0 goto {self.out}")
            self.raw(0xBF, 8, 0)
        self.raw(0x7B, 10, 8, SPILL)
        self.guard()
        for _ in range(budget):
            self.statement()
        for register in sorted(self.numbers - {9}):
            self.raw(0x2F, 9, 9) if self.rng.random() < 0.1 else self.raw(0x27, 9, imm=31)
            self.raw(0x0F, 9, register)
        for slot in SLOTS:
            if self.rng.random() < 0.5:
                self.raw(0x79, 0, 10, slot)
                self.raw(0x27, 9, imm=33)
                self.raw(0xAF, 9, 0)
        self.place(self.out)
        if name == "prog":
            self.raw(0x62, 10, 0, KEY, 1)
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
