"""`chain`: cut programs into functions that the kernel verifies one by one."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass


@dataclass(frozen=True)
class ChainPass(ModulePass):
    """Make a chain of global functions of a program that is too much for the verifier as one.

    The program ends with a call of the next function where it is cut, and returns what that returns. A function takes
    the context and up to four words, in which what lives at the cut is packed; the packet's addresses and lookups are
    made again. `at` names places: source lines, or blocks as they are numbered in the printed function (`bb12`). With
    `max-instructions`, functions are cut until none is longer when lowered; with `verify` (as root), until this
    machine's kernel loads the program: where paths through it multiply, and the fewest values live. `program` names
    the one to chain where there are several. XDP and TC programs, and only of objects with BTF. Fails where a program
    cannot be cut, with the reason.
    """

    name = "chain"
    at: tuple[str | int, ...] = ()
    max_instructions: int = 0
    verify: bool = False
    program: str | None = None

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        from fsir.placement.chain_run import ChainOptions, chain

        chain(ctx, op, ChainOptions(tuple(map(str, self.at)), self.max_instructions, self.verify, self.program))
