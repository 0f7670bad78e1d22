"""Helpers on the packet of an XDP program."""

from fsir.interp.helper_base import M32, helper, s32
from fsir.interp.machine import Machine
from fsir.interp.map_base import EFAULT, EINVAL

_MAX_OFFSET = 0xFFFF


@helper("xdp_adjust_head")
def xdp_adjust_head(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.packet.adjust_head(s32(r2))


@helper("xdp_adjust_meta")
def xdp_adjust_meta(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.packet.adjust_meta(s32(r2))


@helper("xdp_adjust_tail")
def xdp_adjust_tail(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return machine.packet.adjust_tail(s32(r2))


@helper("xdp_get_buff_len", word=True)
def xdp_get_buff_len(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return len(machine.packet)


@helper("xdp_load_bytes")
def xdp_load_bytes(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    offset, size = r2 & M32, r4 & M32
    if offset > _MAX_OFFSET or size > _MAX_OFFSET:
        return -EFAULT
    content = machine.packet.read(offset, size)
    if content is None:
        return -EINVAL
    machine.memory.write_bytes(r3, content)
    return 0


@helper("xdp_store_bytes")
def xdp_store_bytes(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    offset, size = r2 & M32, r4 & M32
    if offset > _MAX_OFFSET or size > _MAX_OFFSET:
        return -EFAULT
    return 0 if machine.packet.write(offset, machine.memory.read_bytes(r3, size)) else -EINVAL
