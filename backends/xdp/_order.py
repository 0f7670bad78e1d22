"""The order of packets in XDP programs: how many are in flight to user space; part of `lower-handoff`.

A map of arrays `fs_order` has an element for each queue and slot, which the program in user space maps into its memory:

    0     4     8    12
    sent  done  cpu  unused        all 32 bits

`sent` counts the packets that were handed over, whose number goes with them; `done` is the number of the last one that
user space is done with. Packets arrive as they were sent, so a number stands for all before it, those that were lost
among them. While the two differ, packets are in flight. `cpu` is where the last one was handed over.
"""

from __future__ import annotations

from xdsl.dialects import arith, cf
from xdsl.dialects.builtin import ModuleOp, StringAttr, SymbolRefAttr, i1, i32, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from fsir.backends.handoff import ORDER, SLOTS
from fsir.backends.xdp._writer import RX_QUEUE, Writer
from fsir.dialects import map as maps
from fsir.dialects import packet
from fsir.dialects.ebpf import UNALLOCATED, CastOp, insn, int_attr
from fsir.dialects.map import DeclOp, ValueType
from fsir.dialects.placement import OvertakesOp
from fsir.passes._rewrite import compare, extend, truncate

SENT, DONE, CPU, SIZE = 0, 4, 8, 16
MMAPABLE = 1 << 10
_CPU = 8  # bpf_get_smp_processor_id


def declare(module: ModuleOp, name: str, type_: str, value_size: int, entries: int, flags: int = 0) -> None:
    """Add a map with keys of 32 bits, unless it is there."""
    block = module.body.block
    declarations = [op for op in block.ops if isinstance(op, DeclOp)]
    if any(op.sym_name.data == name for op in declarations):
        return
    numbers = {"key_size": 4, "value_size": value_size, "max_entries": entries, "flags": flags}
    properties = {"sym_name": StringAttr(name), "type": StringAttr(type_)}
    new = DeclOp.create(properties=properties | {key: int_attr(value) for key, value in numbers.items()})
    if declarations:
        block.insert_op_after(new, declarations[-1])
    else:
        first = block.first_op
        assert first is not None
        block.insert_op_before(new, first)


def declare_order(module: ModuleOp, queues: int) -> None:
    """Add the map."""
    declare(module, ORDER, "array", SIZE, queues * SLOTS, MMAPABLE)


def take_ticket(
    writer: Writer, failed: Writer, ctx: SSAValue, slot: SSAValue, fetches: bool
) -> tuple[SSAValue, Writer]:
    """Count a packet that is handed over: its number, and where to go on; to `failed` where that cannot be.
    `fetches`: the kernel has atomic operations that give what was there."""
    element, counted = _element(writer, failed, ctx, slot)
    one = counted.number(1, i32)
    if fetches:
        properties = {"op": StringAttr("add"), "off": int_attr(SENT)}
        before = counted.add(maps.AtomicOp.create(operands=[element, one], result_types=[i32], properties=properties))
    else:  # a queue's packets are processed one at a time
        before = counted.take(maps.LoadOp, [element], i32, off=SENT)
    number = counted.add(arith.AddiOp(before, one))
    if not fetches:
        counted.end(maps.StoreOp.create(operands=[element, number], properties={"off": int_attr(SENT)}))
    cpu = counted.add(truncate(counted.add(insn("call", [], i64, helper=_CPU)), i32))
    counted.end(maps.StoreOp.create(operands=[element, cpu], properties={"off": int_attr(CPU)}))
    return number, counted


def lower_overtakes(op: OvertakesOp, sockets: str) -> None:
    """Whether packets are in flight, and somebody takes them."""
    block, following = op.parent, op.next_op
    assert block is not None and following is not None
    rest = block.split_before(following)
    answer = rest.insert_arg(i1, 0)
    answer.name_hint = op.res.name_hint or "overtakes"
    op.res.replace_all_uses_with(answer)
    block.detach_op(op)
    writer = Writer(block, op)
    alone = writer.go_on(block)
    alone.end(_branch(rest, alone.number(0, i1)))
    element, found = _element(writer, alone, op.ctx, op.slot)
    sent = found.take(maps.LoadOp, [element], i32, off=SENT)
    done = found.take(maps.LoadOp, [element], i32, off=DONE)
    waiting = found.go_on(found.block)
    found.branch(found.add(compare("ne", sent, done)), waiting.block, alone.block)
    queue = waiting.take(packet.CtxLoadOp, [op.ctx], i32, off=RX_QUEUE)
    word = _lookup(waiting, sockets, queue, UNALLOCATED)
    socket = waiting.add(CastOp.create(operands=[word], result_types=[i64]))
    waiting.end(_branch(rest, waiting.add(compare("ne", socket, waiting.number(0)))))
    op.erase()


def _element(writer: Writer, missing: Writer, ctx: SSAValue, slot: SSAValue) -> tuple[SSAValue, Writer]:
    """The element of this queue and slot."""
    queue = writer.take(packet.CtxLoadOp, [ctx], i32, off=RX_QUEUE)
    first = writer.add(arith.MuliOp(queue, writer.number(SLOTS, i32)))
    key = writer.add(arith.AddiOp(first, writer.add(extend(slot, i32))))
    element = _lookup(writer, ORDER, key, ValueType(ORDER))
    found = writer.go_on(writer.block)
    hit = writer.add(maps.HitOp.create(operands=[element], result_types=[i1]))
    writer.branch(hit, found.block, missing.block)
    return element, found


def _lookup(writer: Writer, name: str, key: SSAValue, type_: Attribute) -> SSAValue:
    properties = {"map": SymbolRefAttr(name), "key_count": int_attr(1)}
    return writer.add(maps.LookupOp.create(operands=[key], result_types=[type_], properties=properties))


def _branch(to: Block, value: SSAValue) -> Operation:
    return cf.BranchOp.create(operands=[value], successors=[to])
