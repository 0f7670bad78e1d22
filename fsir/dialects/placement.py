"""The `placement` dialect: which piece of a program runs where, and what passes between the pieces.

A placed module holds one `placement.part` per piece, ordered as packets travel (NIC, kernel, user space), one
`placement.edge` per kind of handoff, and a `placement.share` for each map.  In a part, a function leaves with
`placement.handoff`; the receiving part's function asks `placement.resume` where to go on and takes the carried values
with `placement.carried`.  Values cross by content: scalars as they are, a packet pointer as its offset from the start
of the packet, a map-value pointer as its key.
"""

from __future__ import annotations

from typing import ClassVar, Self

from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntAttr,
    IntegerAttr,
    IntegerType,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
    i1,
    i32,
)
from xdsl.ir import Attribute, Dialect
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsTerminator, NoTerminator, SymbolOpInterface, SymbolTable
from xdsl.utils.exceptions import VerifyException

from fsir.dialects._records import check_numbers
from fsir.dialects.ebpf.base import EbpfOp
from fsir.dialects.packet import CtxType


@irdl_op_definition
class PartOp(EbpfOp):
    """A piece of the program on a target: the functions that run there. `target` names a target description
    (backends/targets), `costs` and `reasons` say what the placement was decided on."""

    name = "placement.part"
    FORMAT: ClassVar[tuple[str, ...]] = ("!sym_name", " on ", "@target")
    sym_name = prop_def(SymbolNameConstraint())
    target = prop_def(StringAttr)
    costs = opt_prop_def(DictionaryAttr)
    reasons = opt_prop_def(ArrayAttr[StringAttr])
    body = region_def("single_block")
    traits = traits_def(SymbolOpInterface(), NoTerminator(), SymbolTable())

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_symbol_name(self.sym_name.data)
        printer.print_string(" on ")
        printer.print_attribute(self.target)
        rest = {k: v for k, v in self.properties.items() if k not in ("sym_name", "target")} | self.attributes
        if rest:
            printer.print_string(" attributes ")
            printer.print_attr_dict(rest)
        printer.print_string(" ")
        printer.print_region(self.body, print_entry_block_args=False)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        properties: dict[str, Attribute] = {"sym_name": parser.parse_symbol_name()}
        parser.parse_keyword("on")
        properties["target"] = StringAttr(parser.parse_str_literal())
        extras = parser.parse_optional_attr_dict_with_keyword()
        attributes = dict(extras.data) if extras is not None else {}
        known = cls.get_irdl_definition().properties
        properties |= {name: attributes.pop(name) for name in list(attributes) if name in known}
        return cls.create(properties=properties, attributes=attributes, regions=[parser.parse_region()])


@irdl_op_definition
class EdgeOp(EbpfOp):
    """One kind of handoff: resume point `resume` of part `to`, reached from part `origin`. `fields` lists what it
    carries as `{name, width (bits), kind}`; `order` is the promise kept (`sequential`, `per-flow`, `commuting`): by
    `placement.overtakes` and two last fields of the kinds `ticket` and `slot`, which say what is in flight; `not_kept`
    says why it is not, where that was not asked for;
    `transport` is where the header travels (`metadata`, `head`, `cpu-port`), or `none`: it begins there. `metadata` has
    the sizes that metadata of the program's own may have there, if any is in front of the packet: it travels, too."""

    name = "placement.edge"
    FORMAT: ClassVar[tuple[str, ...]] = ("#resume", " from ", "@origin", " to ", "@to")
    resume = prop_def(IntAttr)
    origin = prop_def(SymbolRefAttr)
    to = prop_def(SymbolRefAttr)
    fields = prop_def(ArrayAttr[DictionaryAttr])
    order = prop_def(StringAttr)
    transport = prop_def(StringAttr)
    not_kept = opt_prop_def(StringAttr)
    metadata = opt_prop_def(ArrayAttr[IntAttr])
    on_failure = opt_prop_def(StringAttr)
    reasons = opt_prop_def(ArrayAttr[StringAttr])

    @property
    def widths(self) -> tuple[int, ...]:
        """How many bits each field has."""
        return tuple(_width(field) or 0 for field in self.fields)

    @property
    def has_ticket(self) -> bool:
        """Whether packets are numbered, so that the sender knows which are in flight."""
        return any(field.data.get("kind") == StringAttr("ticket") for field in self.fields)

    def verify_(self) -> None:
        check_numbers(self.properties, {"resume": 16})
        for field in self.fields:
            if not 1 <= (_width(field) or 0) <= 64:
                raise VerifyException(f"the field {field} has no width from 1 to 64 bits")


def _width(field: DictionaryAttr) -> int | None:
    """The width, written as `#builtin.int<16>` or `16`."""
    width = field.data.get("width")
    if isinstance(width, IntegerAttr):
        return int(width.value.data)
    return width.data if isinstance(width, IntAttr) else None


@irdl_op_definition
class ShareOp(EbpfOp):
    """How a map is shared: `mechanism` (private, pinned, mmap, mirror, …: design section 2), `parts` that touch it,
    `consistency` promised, `reason` why this mechanism is legal and was chosen."""

    name = "placement.share"
    FORMAT: ClassVar[tuple[str, ...]] = ("@map", " by ", "@mechanism")
    map = prop_def(SymbolRefAttr)
    mechanism = prop_def(StringAttr)
    parts = prop_def(ArrayAttr[SymbolRefAttr])
    consistency = prop_def(StringAttr)
    reason = prop_def(StringAttr)


@irdl_op_definition
class HandoffOp(EbpfOp):
    """End this part's work on the packet and go on at resume point `resume` of a later part. The operands are the
    context and the carried values (integers), in the order of the edge's fields."""

    name = "placement.handoff"
    FORMAT: ClassVar[tuple[str, ...]] = ("#resume", " to ", "@to", " from ", "%", " carrying ", "*")
    ctx = operand_def(CtxType)
    values = var_operand_def(IntegerType)
    resume = prop_def(IntAttr)
    to = prop_def(SymbolRefAttr)
    traits = traits_def(IsTerminator())


@irdl_op_definition
class OvertakesOp(EbpfOp):
    """Whether the packet, handled here, would overtake one that is in flight to the next part, and whose handling
    conflicts with its own. `slot` says among which packets to look: those that were handed over with the same number.
    False where packets are processed one at a time, and where nobody takes packets any more."""

    name = "placement.overtakes"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", " in ", "%")
    ctx = operand_def(CtxType)
    slot = operand_def(IntegerType)
    res = result_def(i1)


@irdl_op_definition
class ResumeOp(EbpfOp):
    """The resume point with which the packet came in; 0 when no earlier part has started on it."""

    name = "placement.resume"
    FORMAT: ClassVar[tuple[str, ...]] = ("%",)
    ctx = operand_def(CtxType)
    res = result_def(i32)


@irdl_op_definition
class CarriedOp(EbpfOp):
    """Value number `index` carried to resume point `resume`. These operations come first in the block of their resume
    point, before anything that touches the packet: the handoff header is taken off after the last of them."""

    name = "placement.carried"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", " at ", "#resume", "[", "#index", "]")
    ctx = operand_def(CtxType)
    res = result_def(IntegerType)
    resume = prop_def(IntAttr)
    index = prop_def(IntAttr)


@irdl_op_definition
class AcceptOp(EbpfOp):
    """The end of the handoff header's life at a resume point: after it the packet is what the sender had. Emits the
    removal of the header where it travels in the packet."""

    name = "placement.accept"
    FORMAT: ClassVar[tuple[str, ...]] = ("%", " at ", "#resume")
    ctx = operand_def(CtxType)
    resume = prop_def(IntAttr)


PLACEMENT = Dialect("placement", [PartOp, EdgeOp, ShareOp, HandoffOp, OvertakesOp, ResumeOp, CarriedOp, AcceptOp])
