"""`name-fields`: packet accesses by the names of protocol fields."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from fsir.analysis.header_flow import Passed, header_names
from fsir.passes._rewrite import raised_functions


@dataclass(frozen=True)
class NameFieldsPass(ModulePass):
    """Name what packet and context accesses touch: `field = "ipv4.saddr"`.

    Headers are inferred from the checks that lead to an access: the packet starts with Ethernet, also after it was
    resized; what follows a header is what its type field was compared with, or set to; behind a header of variable
    length only when the program computed the distance from the header's own length field. A pointer that is joined from
    several, or passed to a function, points to what all of these do. An access that nothing explains gets no name,
    and loses one that it had. Names are for readers and reports; no transformation relies on them.
    """

    name = "name-fields"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        passed = Passed(op)
        for func in passed.callers_first(raised_functions(op)):
            for access, field in header_names(func, passed):
                _name(access, field)


def _name(op: Operation, field: str | None) -> None:
    if field is None:
        op.properties.pop("field", None)
    else:
        op.properties["field"] = StringAttr(field)
