"""`decompose`: cut programs between targets."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from fsir.driver.diagnostics import fail


@dataclass(frozen=True)
class DecomposePass(ModulePass):
    """Place each XDP program on targets, and cut it there.

    `targets` lists them in the order in which a packet meets them (NIC, kernel, user space): files of backends/targets.
    A program is cut where that is cheapest for the `objective`: `throughput` (the busiest target has as little to do as
    possible), `cpu` or `latency` (the sum of what all do). What a target cannot run goes on to the next; code may be in
    several parts. `cut-at` names places where the first target has to hand over: source lines, or blocks as they are
    numbered in the printed function (`bb12`). `on-failure` is the verdict (`aborted`, `drop`, `pass`) for a packet that
    cannot be handed over. `program` names the one to place where there are several; the others then stay as they are.
    With `verify` (as root) the kernel has the last word: what is to run on XDP is loaded, what it refuses goes
    elsewhere, and all is thought over until it loads.
    Where it shows whether a packet that is handed over or one behind it is done with first, the order is kept
    (docs/placement.md), unless `order` is `relaxed`.
    `profile` is a file that `fs-run --profile-out` wrote, for how often each block runs; otherwise that is estimated.

    The functions move into a `placement.part` for each target; `placement.edge` says what a handoff carries. Fails
    where no placement exists, with the reasons.
    """

    name = "decompose"
    targets: tuple[str, ...] = ("xdp", "af-xdp")
    objective: str = "throughput"
    cut_at: tuple[str | int, ...] = ()
    on_failure: str = "aborted"
    program: str | None = None
    profile: str | None = None
    verify: bool = False
    loop_bound: int = 0
    order: str = "keep"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        from fsir.placement.place import Options, place
        from fsir.placement.targets import TargetError

        try:
            cuts = tuple(map(str, self.cut_at))
            what = (self.targets, self.objective, cuts, self.on_failure, self.program, self.profile)
            place(ctx, op, Options(*what, self.verify, self.loop_bound, self.order))
        except TargetError as error:
            fail(op, str(error))
