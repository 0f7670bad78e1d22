"""Writing lines of C, and what all statements share."""

from __future__ import annotations

import random

from fuzz.expressions import BITS, TYPES, Expressions, Scope, members
from fuzz.prelude import HASHES
from fuzz.subprograms import Subprograms


class Base:
    """The state of one program being made. `body` makes an inner block of statements."""

    def __init__(self, rng: random.Random, cpu: str, legacy: bool) -> None:
        self.rng, self.cpu, self.legacy = rng, cpu, legacy
        self.exprs = Expressions(rng)
        self.lines: list[str] = []
        self.names = 0
        self.depth = 0
        self.budget = rng.choice((3, 3, 4, 4, 5, 6, 8, 11, 15, 22))
        self.subprograms = Subprograms(rng, self.exprs)
        self.kinds: list[str] = []
        self.hashes = rng.sample(sorted(HASHES), rng.randint(1, len(HASHES)))

    def add(self, line: str) -> None:
        self.lines.append("\t" * self.depth + line)

    def open(self, head: str) -> None:
        self.add(head + " {")
        self.depth += 1

    def close(self) -> None:
        self.depth -= 1
        self.add("}")

    def fresh(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def leave(self) -> str:
        """A statement that ends the program."""
        return self.rng.choice(("goto out;", "goto out;", f"return {self.rng.randrange(5)};", "return verdict;"))

    def variable(self, scope: Scope) -> None:
        type_, name = self.rng.choice(TYPES), self.fresh("v")
        self.add(f"{type_} {name} = {self.exprs.make(scope, self.rng.randrange(4))};")
        scope.variables.append((name, type_))

    def target(self, scope: Scope) -> str:
        """Something to assign to."""
        choices = [name for name, _ in scope.variables]
        choices += [m for value in scope.values for m, _ in members(*value)]
        for name, _, length in scope.arrays:
            choices += [f"{name}[{self.rng.randrange(length)}]", f"{name}[BOUND(acc, {length - 1})]"]
        choices += [self.packet_target(scope) for _ in scope.packets[-3:]]
        if self.rng.random() < 0.1:
            choices += ["g_count", "g_zero", "g_small[acc & 3]"] * 3
        return self.rng.choice(choices)

    def packet_target(self, scope: Scope) -> str:
        pointer, length = self.rng.choice(scope.packets[-3:])
        type_ = self.rng.choice([t for t in TYPES if BITS[t] // 8 <= length])
        return f"*({type_} *)((u8 *){pointer} + {self.rng.randrange(length - BITS[type_] // 8 + 1)})"

    def assign(self, scope: Scope) -> None:
        op = self.rng.choice(("=", "=", "+=", "^=", "-=", "|=", "&=", "*="))
        self.add(f"{self.target(scope)} {op} {self.exprs.make(scope, self.rng.randrange(4))};")

    def mix(self, scope: Scope) -> None:
        """Let something count."""
        raise NotImplementedError

    def body(self, scope: Scope, most: int = 3) -> None:
        """A few statements."""
        raise NotImplementedError

    def guard(self, scope: Scope, pointer: str, length: int) -> None:
        """Prove `length` bytes behind `pointer`, or leave."""
        raise NotImplementedError
