"""The machine: the packet, its limits, and the context a program sees."""

import pytest

from fsir.interp.context import SKB_FIELDS
from fsir.interp.machine import Machine
from fsir.interp.memory import MemoryFault

FRAME = bytes(range(60))


def test_the_context_gives_full_addresses_by_32_bit_loads() -> None:
    machine = Machine()
    ctx = machine.begin_packet(FRAME, metadata=b"meta", ifindex=5, queue=3)
    load = machine.memory.load32
    data, end, meta = load(ctx), load(ctx + 4), load(ctx + 8)
    assert (end - data, data - meta) == (60, 4)
    assert machine.memory.read_bytes(data, 60) == FRAME
    assert machine.memory.read_bytes(meta, 4) == b"meta"
    assert (load(ctx + 12), load(ctx + 16), load(ctx + 20)) == (5, 3, 0)


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (0, 2), (2, 4), (24, 4), (12, 1)])
def test_other_accesses_to_xdp_md_fault(offset: int, size: int) -> None:
    machine = Machine()
    ctx = machine.begin_packet(FRAME)
    with pytest.raises(MemoryFault, match=rf"read of {size} bytes at xdp_md\+{offset}: no such context field"):
        machine.memory.load(ctx + offset, size)
    with pytest.raises(MemoryFault, match="write"):
        machine.memory.store(ctx + offset, size, 0)


def test_only_metadata_and_packet_are_visible() -> None:
    machine = Machine()
    ctx = machine.begin_packet(FRAME, metadata=b"meta")
    data, end = machine.memory.load32(ctx), machine.memory.load32(ctx + 4)
    for addr in (data - 5, end):
        with pytest.raises(MemoryFault):
            machine.memory.load8(addr)
    with pytest.raises(MemoryFault, match=r"read of 8 bytes at packet\+\d+: it ends at"):
        machine.memory.load64(end - 7)


@pytest.mark.parametrize(
    ("operation", "delta", "answer"),
    [
        ("adjust_head", -216, 0),
        ("adjust_head", -217, -22),
        ("adjust_head", 46, 0),
        ("adjust_head", 47, -22),
        ("adjust_meta", -216, 0),
        ("adjust_meta", -220, -22),
        ("adjust_meta", -2, -13),
        ("adjust_meta", 4, -22),
        ("adjust_tail", -46, 0),
        ("adjust_tail", -47, -22),
        ("adjust_tail", 3460, 0),
        ("adjust_tail", 3461, -22),
    ],
)
def test_limits_of_the_packet(operation: str, delta: int, answer: int) -> None:
    machine = Machine()
    machine.begin_packet(FRAME)
    assert getattr(machine.packet, operation)(delta) == answer


def test_metadata_moves_with_the_head() -> None:
    packet = Machine().packet
    packet.load(FRAME, b"12345678")
    assert packet.adjust_head(-20) == 0
    assert packet.metadata == b"12345678"
    assert (packet.packet[20:], len(packet)) == (FRAME, 80)
    assert packet.adjust_head(-189) == -22
    assert packet.adjust_head(-188) == 0


def test_added_tail_is_zero_and_nothing_of_the_last_packet_remains() -> None:
    packet = Machine().packet
    packet.load(b"\xff" * 200, b"\xff" * 8)
    packet.load(FRAME)
    assert packet.adjust_tail(40) == 0 and packet.packet == FRAME + bytes(40)
    assert packet.adjust_meta(-8) == 0 and packet.metadata == bytes(8)


def test_a_stack_is_cleared_between_packets() -> None:
    machine = Machine()
    stack = machine.stack(1)
    machine.memory.store64(stack.base + 504, 1)
    machine.begin_packet(FRAME)
    assert machine.stack(1) is stack and machine.memory.load64(stack.base + 504) == 0
    with pytest.raises(MemoryFault, match=r"stack of frame 1\+512"):
        machine.memory.load8(stack.base + 512)


def test_skb_fields() -> None:
    machine = Machine("skb")
    ctx = machine.begin_packet(bytes(12) + b"\x08\0" + bytes(50), ifindex=4, queue=2)
    memory, offset = machine.memory, {field.name: ctx + field.offset for field in SKB_FIELDS}
    assert memory.load32(offset["len"]) == 64 and memory.load8(offset["len"]) == 64
    assert memory.load32(offset["data_end"]) - memory.load32(offset["data"]) == 64
    assert memory.load32(offset["protocol"]) == memory.load16(offset["protocol"]) == 0x0008
    assert memory.load32(offset["ifindex"]) == 4
    memory.store32(offset["mark"], 0x11223344)
    assert memory.load16(offset["mark"] + 2) == 0x1122
    memory.store8(offset["cb"] + 5, 9)
    memory.store64(offset["cb"] + 8, 7)
    assert memory.load32(offset["cb"] + 4) == 0x900
    for addr, size in ((offset["len"], 4), (offset["mark"], 2), (offset["cb"] + 16, 8), (offset["hash"], 4)):
        with pytest.raises(MemoryFault):
            memory.store(addr, size, 0)
    with pytest.raises(MemoryFault):
        memory.load64(offset["mark"])
    machine.begin_packet(FRAME)
    assert memory.load32(offset["mark"]) == 0


def test_too_long_a_packet_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 65535"):
        Machine().begin_packet(bytes(70000))
    with pytest.raises(ValueError, match="do not fit the headroom"):
        Machine().begin_packet(FRAME, metadata=bytes(220))
