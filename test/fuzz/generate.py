"""Random XDP programs in C: `program(seed)` gives source and compiler flags, equal for equal seeds.

The programs are of the kind that practitioners write and verifiers take: guarded accesses, zeroed keys, checked
lookups, bounded loops. Each draws only some kinds of statements, so that rare combinations get their turn. One line of
source is one statement or opens or closes one block, which is what `fuzz.shrink` takes out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from fuzz.expressions import Scope
from fuzz.prelude import GLOBALS, HEAD, maps
from fuzz.statements_control import ControlStatements
from fuzz.statements_memory import MemoryStatements
from fuzz.statements_packet import PacketStatements


@dataclass(frozen=True)
class Program:
    """Source and flags for clang."""

    source: str
    flags: tuple[str, ...]


def program(seed: int) -> Program:
    """The program of a seed."""
    rng = random.Random(seed)
    cpu = rng.choice(("v1", "v2", "v3", "v3"))
    debug = rng.random() < 0.75
    flags = (rng.choice(("-O1", "-O2", "-O2", "-Os", "-O3")), f"-mcpu={cpu}", *(["-g"] if debug else []))
    return Program(_Generator(rng, cpu, legacy=not debug).program(), flags)


class _Generator(PacketStatements, MemoryStatements, ControlStatements):
    def __init__(self, rng: random.Random, cpu: str, legacy: bool) -> None:
        super().__init__(rng, cpu, legacy)
        self.kinds = rng.sample(sorted(_STATEMENTS), rng.choice((3, 4, 5, 6, 8, 12, 20, len(_STATEMENTS))))

    def program(self) -> str:
        scope = Scope(leaves=["ctx->ingress_ifindex", "ctx->rx_queue_index", "g_count", "g_zero", "c_mask"])
        scope.leaves += ["(u64)(end - data)", "c_table[acc & 3]", "g_small[acc & 3]", "c_bytes[acc & 7]"]
        self.add('SEC("xdp")')
        self.open("int prog(struct xdp_md *ctx)")
        self.add("void *data = (void *)(long)ctx->data;")
        self.add("void *end = (void *)(long)ctx->data_end;")
        self.add(f"u64 acc = {self.rng.choice(('0', '1', 'end - data', '0x123456789abcdefull'))};")
        self.add(f"u32 verdict = {self.rng.randrange(5)};")
        scope.variables.append(("acc", "u64"))
        for _ in range(self.rng.randrange(5)):
            self.variable(scope)
        if self.rng.random() < 0.9:
            self.guard(scope, "data", self.rng.choice((14, 14, 18, 34, 54, 64)))
        while self.budget > 0:
            self.statement(scope)
        if self.rng.random() < 0.8:
            self.finish(scope)
        else:
            self.add(f"verdict += {self.exprs.make(scope, 3)};")
        self.add("out:;")
        self.add(self.rng.choice(("return verdict;", "return verdict & 3;", "return verdict % 5;")))
        self.close()
        text = HEAD + maps(self.rng, self.legacy) + GLOBALS + self.subprograms.text()
        return text + "\n".join(self.lines) + "\n"

    def statement(self, scope: Scope) -> None:
        self.budget -= 1
        _STATEMENTS[self.rng.choice(self.kinds)](self, scope)

    def body(self, scope: Scope, most: int = 3) -> None:
        for _ in range(self.rng.randint(1, most)):
            if self.depth < 6:
                self.statement(scope)
            else:
                self.assign(scope)

    def finish(self, scope: Scope) -> None:
        """Make everything that was computed show."""
        for name, _ in scope.variables[-6:]:
            self.add(f"acc = acc * 31 + {name};")
        if self.rng.random() < 0.8:
            slot = self.fresh("o")
            self.add(f"u32 {slot} = {self.rng.randrange(8)};")
            self.add(f"u64 *{slot}p = lookup(&m_out, &{slot});")
            self.add(f"if ({slot}p) *{slot}p {self.rng.choice(('^=', '+=', '='))} acc;")
        self.add(f"verdict {self.rng.choice(('=', '+=', '^='))} acc ^ acc >> 32 ^ acc >> 16;")


_STATEMENTS: dict[str, Callable[[_Generator, Scope], None]] = {
    "variable": _Generator.variable,
    "assign": _Generator.assign,
    "mix": _Generator.mix,
    "if": _Generator.condition,
    "switch": _Generator.switch,
    "loop": _Generator.loop,
    "options": _Generator.options,
    "guard": _Generator.guard_more,
    "guarded": _Generator.guarded_block,
    "offset": _Generator.variable_offset,
    "parse": _Generator.parse,
    "copy-out": _Generator.copy_out,
    "copy-in": _Generator.copy_in,
    "adjust": _Generator.adjust,
    "array": _Generator.array,
    "lookup": _Generator.lookup,
    "lookup-again": _Generator.lookup,
    "reuse": _Generator.reuse,
    "odd-key": _Generator.odd_key,
    "either": _Generator.either,
    "pun": _Generator.pun,
    "kept": _Generator.kept,
    "indexed": _Generator.indexed,
    "distance": _Generator.distance,
    "either-pointer": _Generator.either_pointer,
    "callback": _Generator.callback,
    "whole": _Generator.whole,
    "kept-value": _Generator.kept_value,
    "shared-subprogram": _Generator.shared_subprogram,
    "again": _Generator.again,
    "kept-pointer": _Generator.kept_pointer,
    "metadata": _Generator.metadata,
    "load-bytes": _Generator.load_bytes,
    "same": _Generator.same,
    "moved": _Generator.moved,
    "resized": _Generator.resized,
    "write": _Generator.write,
    "delete": _Generator.delete,
    "call": _Generator.call,
    "machine": _Generator.machine,
    "checksum": _Generator.checksum,
    "redirect": _Generator.redirected,
}
