"""Random programs: what the emitted P4 does with a packet is what the interpreter says the IR does."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from p4_placed import ABORTED, DROP, REDIRECT, Nic, placed

from fsir.interp.engine import InterpProgram

SIZE = 40
WIDTHS = (8, 16, 32, 64)
BINARY = ("addi", "subi", "andi", "ori", "xori")
SHIFTS = ("shli", "shrui", "shrsi")
PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
MACHINE = ("add", "sub", "and", "or", "xor", "lsh", "rsh", "arsh")
UNARY = ("be16", "be32", "be64", "le16", "le32", "bswap16", "bswap32", "bswap64", "neg", "neg32", "mov32")
SIGNED = ("movsx8", "movsx16", "movsx32")
NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    0x0F,
    0xF0,
    0xFF,
    0x100,
    0x800,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0xFFFFFFFF,
    (1 << 63) - 1,
)


@dataclass
class Writer:
    """Writes one random acyclic function."""

    rng: random.Random
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def op(self, text: str, type_: str, scope: list[tuple[str, str]]) -> str:
        name = f"%v{self.count}"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        scope.append((name, type_))
        return name

    def constant(self, width: int, scope: list[tuple[str, str]], value: int | None = None) -> str:
        value = self.rng.choice(NUMBERS) if value is None else value
        value &= (1 << width) - 1
        if width > 1 and value >> (width - 1):
            value -= 1 << width
        text = str(value) if width > 1 else ("true" if value else "false")
        return self.op(f"arith.constant {text}" + (f" : i{width}" if width > 1 else ""), f"i{width}", scope)

    def any(self, type_: str, scope: list[tuple[str, str]]) -> str:
        found = [name for name, other in scope if other == type_]
        if not found or self.rng.random() < 0.15:
            return self.constant(int(type_[1:]), scope)
        return self.rng.choice(found)

    def step(self, scope: list[tuple[str, str]]) -> None:
        rng, width = self.rng, self.rng.choice(WIDTHS)
        t = f"i{width}"
        kind = rng.randrange(14)
        if kind < 2:
            size = width // 8
            self.op(f"packet.load %data[{rng.randrange(14, 14 + SIZE - size + 1)}] : !packet.ptr -> {t}", t, scope)
        elif kind == 2:
            place = rng.randrange(0, 14 + SIZE - width // 8 + 1)
            self.lines.append(f"packet.store %data[{place}], {self.any(t, scope)} : !packet.ptr, {t}")
        elif kind < 5:
            left, right = self.any(t, scope), self.any(t, scope)
            self.op(f"arith.{rng.choice(BINARY)} {left}, {right} : {t}", t, scope)
        elif kind == 5:
            left, by = self.any(t, scope), self.constant(width, scope, rng.randrange(width))
            self.op(f"arith.{rng.choice(SHIFTS)} {left}, {by} : {t}", t, scope)
        elif kind == 6:
            left, by = self.any(t, scope), self.constant(width, scope)
            self.op(f"arith.muli {left}, {by} : {t}", t, scope)
        elif kind == 7:
            wider = rng.choice([w for w in WIDTHS if w >= width])
            if wider == width:
                self.op(f"arith.trunci {self.any(t, scope)} : {t} to i1", "i1", scope)
            else:
                op, value = rng.choice(("extui", "extsi")), self.any(t, scope)
                self.op(f"arith.{op} {value} : {t} to i{wider}", f"i{wider}", scope)
                self.op(f"arith.trunci {self.any(f'i{wider}', scope)} : i{wider} to {t}", t, scope)
        elif kind == 8:
            left, right = self.any(t, scope), self.any(t, scope)
            self.op(f"arith.cmpi {rng.choice(PREDICATES)}, {left}, {right} : {t}", "i1", scope)
        elif kind == 9:
            condition, left, right = self.any("i1", scope), self.any(t, scope), self.any(t, scope)
            self.op(f"arith.select {condition}, {left}, {right} : {t}", t, scope)
        elif kind == 10:
            left, right = self.any("i64", scope), self.any("i64", scope)
            op = rng.choice(MACHINE) + rng.choice(("", "32"))
            self.op(f"ebpf.{op} {left}, {right} : i64, i64 -> i64", "i64", scope)
        elif kind == 11:
            name, immediate = rng.choice((*MACHINE, "mul")), rng.randrange(-300, 300)
            immediate = rng.randrange(32) if "sh" in name else immediate
            suffix = rng.choice(("", "32"))
            self.op(f"ebpf.{name}i{suffix} {self.any('i64', scope)}, {immediate} : i64 -> i64", "i64", scope)
        elif kind == 12:
            op = rng.choice((*UNARY, *SIGNED))
            self.op(f"ebpf.{op} {self.any('i64', scope)} : i64 -> i64", "i64", scope)
        else:
            left, right = self.any("i1", scope), self.any("i1", scope)
            self.op(f"arith.{rng.choice(('andi', 'ori', 'xori'))} {left}, {right} : i1", "i1", scope)
            self.op(f"arith.extui {self.any('i1', scope)} : i1 to i64", "i64", scope)

    def function(self) -> str:
        rng = self.rng
        args = [[f"i{rng.choice((1, *WIDTHS))}" for _ in range(rng.randrange(3))] for _ in range(rng.randrange(1, 9))]
        self.lines += [
            "^bb0(%ctx: !packet.ctx):",
            "%data = packet.data %ctx : !packet.ctx -> !packet.ptr",
            "%end = packet.end %ctx : !packet.ctx -> !packet.end_ptr",
            f"%there = packet.guard %data[{14 + SIZE}], %end : !packet.ptr, !packet.end_ptr -> i1",
            "cf.cond_br %there, ^entry, ^short",
            "^short:",
            "%one = arith.constant 1 : i64",
            "packet.verdict %one : i64",
            "^entry:",
        ]
        outer: list[tuple[str, str]] = []
        for _ in range(6):
            self.step(outer)
        self.leave(-1, args, outer)
        for number, types in enumerate(args):
            names = [f"%a{number}_{i}" for i in range(len(types))]
            scope = [*outer, *zip(names, types, strict=True)]
            shown = ", ".join(f"{name}: {type_}" for name, type_ in zip(names, types, strict=True))
            self.lines.append(f"^b{number}({shown}):" if shown else f"^b{number}:")
            for _ in range(rng.randrange(6)):
                self.step(scope)
            self.leave(number, args, scope)
        return "\n".join(self.lines)

    def leave(self, number: int, args: list[list[str]], scope: list[tuple[str, str]]) -> None:
        later = range(number + 1, len(args))
        if not later or (number >= 0 and self.rng.random() < 0.15):
            self.show(scope)
            known = self.constant(64, scope, self.rng.choice((1, 2, 3, 3, 3, 3, 3, 4, 0)))
            self.lines.append(f"packet.verdict {self.rng.choice((known, known, self.any('i64', scope)))} : i64")
        elif self.rng.random() < 0.3:
            self.lines.append(f"cf.br {self.target(self.rng.choice(later), args, scope)}")
        else:
            condition = self.any("i1", scope)
            ways = [self.target(self.rng.choice(later[:4]), args, scope) for _ in range(2)]
            self.lines.append(f"cf.cond_br {condition}, {ways[0]}, {ways[1]}")

    def show(self, scope: list[tuple[str, str]]) -> None:
        """Store most of what was computed last, so that it can be seen."""
        for place, (name, type_) in enumerate(scope[-8:]):
            if type_ == "i1":
                name = self.op(f"arith.extui {name} : i1 to i8", "i8", [])
            width = max(int(type_[1:]), 8)
            self.lines.append(f"packet.store %data[{5 * place}], {name} : !packet.ptr, i{width}")

    def target(self, number: int, args: list[list[str]], scope: list[tuple[str, str]]) -> str:
        types = args[number]
        values = [self.any(type_, scope) for type_ in types]
        return f"^b{number}({', '.join(values)} : {', '.join(types)})" if types else f"^b{number}"


@pytest.mark.parametrize("seed", range(120))
def test_same_as_interpreter(seed: int) -> None:
    rng = random.Random(seed)
    module = placed(Writer(rng).function())
    reference, nic = InterpProgram(module), Nic(module)
    for _ in range(12):
        packet = rng.randbytes(rng.choice((14, 20, 14 + SIZE - 1, 14 + SIZE, 14 + SIZE + 1, 100)))
        if rng.random() < 0.5:
            packet = bytes(byte & 0x81 for byte in packet)
        outcome, result = reference.run(packet), nic.run(packet)
        verdict = outcome.verdict if outcome.verdict <= REDIRECT else ABORTED
        assert result.verdict == verdict, nic.text
        assert verdict == DROP or result.data == outcome.data, nic.text
