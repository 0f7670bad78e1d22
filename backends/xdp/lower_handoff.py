"""`lower-handoff`: handing packets over, and taking them over, in XDP."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from fsir.dialects.placement import PartOp


@dataclass(frozen=True)
class LowerHandoffPass(ModulePass):
    """Turn the `placement` operations of XDP parts into packet and map operations.

    A handoff to user space grows the metadata area (`packet.adjust_meta`), writes the header and its trailer there
    (see backends/handoff.py), and redirects into the AF_XDP socket of the packet's queue, through a map `fs_xsks` that
    is added. Where the driver leaves no room, the program has put metadata of its own there, or no socket waits, the
    packet gets the edge's `on_failure` verdict. A packet from the NIC has its header in front of the frame: it is
    checked, read, and taken off with `packet.adjust_head`.
    """

    name = "lower-handoff"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        from fsir.backends.xdp._handoff import lower_part
        from fsir.placement.targets import load

        for part in [each for each in op.body.block.ops if isinstance(each, PartOp)]:
            if load(part.target.data).kind == "xdp":
                lower_part(op, part)
