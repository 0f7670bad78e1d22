"""Random raised functions over scalars, to be run before and after a pass."""

from __future__ import annotations

import random

WIDTHS = (1, 8, 16, 32, 64)
ARGUMENTS = {"a": 64, "b": 64, "c": 32, "d": 16, "e": 8}
_BINARY = ("addi", "subi", "muli", "andi", "ori", "xori")
_SHIFTS = ("shli", "shrui", "shrsi")
_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
_MACHINE = ("add", "sub", "mul", "div", "mod", "and", "or", "xor", "lsh", "rsh", "arsh", "sdiv", "smod")
_UNARY = ("be16", "be32", "be64", "le16", "le32", "bswap16", "bswap32", "bswap64", "neg", "neg32", "mov32", "movsx8")


class Writer:
    """Writes one function: straight pieces, branches that join again, and counted loops."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.values: list[tuple[str, int]] = list(ARGUMENTS.items())
        self.count = 0
        self.blocks = 0

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def put(self, text: str, width: int) -> str:
        """An operation whose result may be used by others."""
        name = self.once(text, width)
        self.values.append((name, width))
        return name

    def once(self, text: str, width: int) -> str:
        """An operation whose result only its writer uses."""
        name = self.name()
        self.line(f"%{name} = {text}")
        return name

    def constant(self, width: int) -> str:
        pick = self.rng.choice((0, 1, 2, 3, 7, 8, 15, 16, 24, 31, 32, 48, 56, 60, 255, 256, 0xFFFF, 0xFF00, -1, -2, 0))
        value = pick if self.rng.random() < 0.8 else self.rng.getrandbits(width)
        value &= (1 << width) - 1
        if width == 1:
            return self.put(f"arith.constant {'true' if value else 'false'}", 1)
        return self.put(f"arith.constant {value - (value >> (width - 1) << width)} : i{width}", width)

    def value(self, width: int) -> str:
        found = [name for name, w in self.values if w == width]
        if not found or self.rng.random() < 0.35:
            return self.constant(width)
        return self.rng.choice(found[-8:] if self.rng.random() < 0.7 else found)

    def step(self) -> None:
        rng = self.rng
        kind = rng.randrange(14)
        width = rng.choice((8, 16, 32, 32, 64, 64, 64))
        if kind <= 2:
            op = rng.choice(_BINARY)
            self.put(f"arith.{op} %{self.value(width)}, %{self.value(width)} : i{width}", width)
        elif kind == 3:
            amount = self.put(
                f"arith.constant {rng.choice((0, 1, 4, 8, 16, 24, 32, 48, 56)) % width} : i{width}", width
            )
            self.put(f"arith.{rng.choice(_SHIFTS)} %{self.value(width)}, %{amount} : i{width}", width)
        elif kind == 4:
            divisor = self.put(f"arith.constant {rng.choice((1, 2, 3, 7, 8, 16, 64))} : i{width}", width)
            self.put(f"arith.{rng.choice(('divui', 'remui'))} %{self.value(width)}, %{divisor} : i{width}", width)
        elif kind <= 6:
            self.change_width()
        elif kind == 7:
            self.compare()
        elif kind <= 9:
            self.machine()
        else:
            self.idiom()

    def idiom(self) -> None:
        """What compilers write and the algebraic rules look for."""
        rng = self.rng
        rng.choice((self.shift_pair, self.offset_test, self.swapped_test, self.extended_test, self.field_test))()

    def given(self, value: int, width: int) -> str:
        value &= (1 << width) - 1
        return self.once(f"arith.constant {value - (value >> (width - 1) << width)} : i{width}", width)

    def test(self, value: str, width: int, constant: int, predicates: tuple[str, ...] = ("eq", "ne")) -> None:
        rhs = self.given(constant, width)
        self.put(f"arith.cmpi {self.rng.choice(predicates)}, %{value}, %{rhs} : i{width}", 1)

    def shift_pair(self) -> None:
        width = self.rng.choice((32, 64))
        amount = self.given(self.rng.choice((1, 8, 16, 24, 32, 40, 48, 56)) % width, width)
        first, second = self.rng.choice((("shli", "shrui"), ("shli", "shrsi"), ("shrui", "shli")))
        shifted = self.once(f"arith.{first} %{self.value(width)}, %{amount} : i{width}", width)
        self.put(f"arith.{second} %{shifted}, %{amount} : i{width}", width)

    def offset_test(self) -> None:
        op, width = self.rng.choice(("addi", "xori", "subi")), self.rng.choice((32, 64))
        x, y = self.value(width), self.given(self.rng.randrange(-4, 40), width)
        moved = self.once(f"arith.{op} %{x}, %{self.rng.choice((y, self.value(width)))} : i{width}", width)
        self.test(moved, width, self.rng.choice((0, 0, 1, 5, 8)))

    def swapped_test(self) -> None:
        size = self.rng.choice((16, 32))
        low = self.once(f"arith.trunci %{self.value(64)} : i64 to i{size}", size)
        word = self.once(f"arith.extui %{low} : i{size} to i64", 64)
        if self.rng.random() < 0.3:
            word = self.value(64)
        swapped = self.once(f"ebpf.be{size} %{word} : i64 -> i64", 64)
        if self.rng.random() < 0.4:
            kept = self.given(self.rng.choice((0x1FFF, 0xFF, 0xF000, 0xFF0000FF)), 64)
            swapped = self.once(f"arith.andi %{swapped}, %{kept} : i64", 64)
        elif self.rng.random() < 0.3:
            swapped = self.once(f"ebpf.be{size} %{swapped} : i64 -> i64", 64)
        self.test(swapped, 64, self.rng.choice((0, 8, 0x800, 0x86DD, 255, 0x80000001)))

    def extended_test(self) -> None:
        ext = self.rng.choice(("extui", "extsi"))
        word = self.once(f"arith.{ext} %{self.value(32)} : i32 to i64", 64)
        constant = self.rng.choice((0, 1, 5, -1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
        self.test(word, 64, constant, _PREDICATES)

    def field_test(self) -> None:
        width = self.rng.choice((8, 32, 64))
        amount, kept = self.given(self.rng.choice((1, 4, 6)), width), self.given(self.rng.choice((1, 3, 15)), width)
        field = self.once(f"arith.shrui %{self.value(width)}, %{amount} : i{width}", width)
        field = self.once(f"arith.andi %{field}, %{kept} : i{width}", width)
        self.test(field, width, self.rng.randrange(6))

    def change_width(self) -> None:
        narrow, wide = sorted(self.rng.sample(WIDTHS, 2))
        if self.rng.random() < 0.5:
            self.put(f"arith.trunci %{self.value(wide)} : i{wide} to i{narrow}", narrow)
        else:
            self.put(f"arith.{self.rng.choice(('extui', 'extsi'))} %{self.value(narrow)} : i{narrow} to i{wide}", wide)

    def compare(self) -> str:
        width = self.rng.choice((8, 16, 32, 64))
        predicate = self.rng.choice(_PREDICATES)
        found = self.put(f"arith.cmpi {predicate}, %{self.value(width)}, %{self.value(width)} : i{width}", 1)
        if self.rng.random() < 0.3:
            self.put(f"arith.select %{found}, %{self.value(width)}, %{self.value(width)} : i{width}", width)
        return found

    def machine(self) -> None:
        kind = self.rng.randrange(3)
        suffix = self.rng.choice(("", "32"))
        op = self.rng.choice(_MACHINE)
        if kind == 0:
            self.put(f"ebpf.{op}{suffix} %{self.value(64)}, %{self.value(64)} : i64, i64 -> i64", 64)
        elif kind == 1:
            imm = self.rng.choice((1, 2, 3, 8, 16, 31, 255)) if op not in ("add", "and") else -8
            self.put(f"ebpf.{op}i{suffix} %{self.value(64)}, {imm} : i64 -> i64", 64)
        else:
            self.put(f"ebpf.{self.rng.choice(_UNARY)} %{self.value(64)} : i64 -> i64", 64)

    def block(self) -> str:
        self.blocks += 1
        return f"^bb{self.blocks}"

    def piece(self, depth: int) -> None:
        """Operations, then perhaps a branch or a loop, then more."""
        for _ in range(self.rng.randrange(2, 7)):
            self.step()
        if depth and self.rng.random() < 0.8:
            self.rng.choice((self.diamond, self.diamond, self.loop))(depth - 1)
            for _ in range(self.rng.randrange(1, 4)):
                self.step()

    def diamond(self, depth: int) -> None:
        then, other, after = self.block(), self.block(), self.block()
        outside = list(self.values)
        self.line(f"cf.cond_br %{self.compare()}, {then}, {other}")
        visible = list(self.values)
        passed = []
        for label in (then, other):
            self.lines.append(f"{label}:")
            self.values = list(visible)
            self.piece(depth)
            passed = [self.value(64), self.value(32)]
            self.line(f"cf.br {after}(%{passed[0]}, %{passed[1]} : i64, i32)")
        self.values = outside
        x, y = self.name(), self.name()
        self.lines.append(f"{after}(%{x}: i64, %{y}: i32):")
        self.values += [(x, 64), (y, 32)]

    def loop(self, depth: int) -> None:
        head, after = self.block(), self.block()
        start = self.put("arith.constant 0 : i64", 64)
        first = self.value(64)
        self.line(f"cf.br {head}(%{start}, %{first} : i64, i64)")
        counter, carried = self.name(), self.name()
        self.lines.append(f"{head}(%{counter}: i64, %{carried}: i64):")
        self.values += [(counter, 64), (carried, 64)]
        self.piece(depth)
        following = self.value(64)
        one = self.put("arith.constant 1 : i64", 64)
        limit = self.put(f"arith.constant {self.rng.randrange(1, 4)} : i64", 64)
        more = self.put(f"arith.addi %{counter}, %{one} : i64", 64)
        done = self.put(f"arith.cmpi uge, %{more}, %{limit} : i64", 1)
        self.line(f"cf.cond_br %{done}, {after}, {head}(%{more}, %{following} : i64, i64)")
        self.lines.append(f"{after}:")


def random_function(seed: int, depth: int = 2) -> str:
    """A module with the function `@f`, which takes ARGUMENTS and leaves a mixture of what it computed."""
    writer = Writer(random.Random(seed))
    writer.piece(depth)
    for _ in range(12):
        writer.idiom()
    total = "a"
    chosen = writer.rng.sample(writer.values, min(12, len(writer.values)))
    chosen += [value for value in writer.values if value[1] == 1 and value not in chosen]
    for name, width in chosen:
        if width < 64:
            name = writer.put(f"arith.extui %{name} : i{width} to i64", 64)
        five = writer.put("arith.constant 5 : i64", 64)
        shifted = writer.put(f"arith.muli %{total}, %{five} : i64", 64)
        total = writer.put(f"arith.xori %{shifted}, %{name} : i64", 64)
    writer.line(f"ebpf.exit(%{total}) : i64")
    args = ", ".join(f"%{name}: i{width}" for name, width in ARGUMENTS.items())
    return "\n".join((f'ebpf.func @f section "xdp" {{\n^bb0({args}):', *writer.lines, "}"))


def random_inputs(seed: int, count: int) -> list[tuple[int, ...]]:
    """Arguments for the function, small and large ones."""
    rng = random.Random(seed)
    picks = (0, 1, 2, 5, 8, 31, 127, 128, 255, 256, 0xFFFF, 0x8000, 0x7FFFFFFF, 0x80000000, (1 << 64) - 1, 1 << 63)
    return [
        tuple(
            (rng.choice(picks) if rng.random() < 0.6 else rng.getrandbits(64)) & ((1 << width) - 1)
            for width in ARGUMENTS.values()
        )
        for _ in range(count)
    ]
