"""Dynptrs: pointers whose bounds are checked when they are used. The helpers, and the kernel functions on them.

A dynptr is 16 bytes of stack that programs cannot look into, laid out as in the kernel (struct bpf_dynptr_kern): the
address of what it points to, 0 for none; size, type and a read-only bit; an offset. One to a packet holds the address
of the context, and goes through the packet as it then is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from fsir.interp.helper_base import M32, helper
from fsir.interp.helper_rings import commit_reservation, ring_at
from fsir.interp.helper_skb import skb_store_bytes
from fsir.interp.kfunc_base import kfunc
from fsir.interp.machine import HelperError, Machine
from fsir.interp.map_base import E2BIG, EFAULT, EINVAL, ERANGE
from fsir.interp.maps_ringbuf import FORCE_WAKEUP, NO_WAKEUP, UserRingBufMap

_LAYOUT = Struct("<QII")
_MAX_SIZE = (1 << 24) - 1
_TYPE_SHIFT, _READ_ONLY = 28, 1 << 31


class Kind(IntEnum):
    """enum bpf_dynptr_type."""

    NONE = 0
    LOCAL = 1
    RINGBUF = 2
    SKB = 3
    XDP = 4


_IN_PACKET = (Kind.SKB, Kind.XDP)


@dataclass
class Dynptr:
    """One dynptr, read from memory; `data` is 0 when it is void."""

    data: int
    kind: Kind = Kind.NONE
    size: int = 0
    offset: int = 0
    read_only: bool = False

    def holds(self, offset: int, length: int) -> bool:
        """Whether so many bytes from there on are inside."""
        return length <= self.size and offset <= self.size - length


VOID = Dynptr(0)


def load(machine: Machine, addr: int) -> Dynptr:
    """The dynptr at an address."""
    data, size, offset = _LAYOUT.unpack(machine.memory.read_bytes(addr, _LAYOUT.size))
    kind = Kind(size >> _TYPE_SHIFT & 7)
    return Dynptr(data, kind, size & _MAX_SIZE, offset, bool(size & _READ_ONLY))


def save(machine: Machine, addr: int, dynptr: Dynptr) -> None:
    """Write a dynptr to an address."""
    size = dynptr.size | dynptr.kind << _TYPE_SHIFT | (_READ_ONLY if dynptr.read_only else 0)
    machine.memory.write_bytes(addr, _LAYOUT.pack(dynptr.data, size, dynptr.offset))


def _make(machine: Machine, addr: int, dynptr: Dynptr, flags: int) -> int:
    error = -E2BIG if dynptr.size > _MAX_SIZE else -EINVAL if flags else 0
    save(machine, addr, VOID if error else dynptr)
    return error


# Helpers


@helper("dynptr_from_mem")
def dynptr_from_mem(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _make(machine, r4, Dynptr(r1, Kind.LOCAL, r2 & M32), r3)


@helper("ringbuf_reserve_dynptr")
def ringbuf_reserve_dynptr(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    size = r2 & M32
    save(machine, r4, VOID)
    if r3:
        return -EINVAL
    if size > _MAX_SIZE:
        return -E2BIG
    record = ring_at(machine, r1).reserve(size, 0)
    if not record:
        return -EINVAL
    save(machine, r4, Dynptr(record, Kind.RINGBUF, size))
    return 0


def _commit(machine: Machine, addr: int, *, discard: bool) -> int:
    dynptr = load(machine, addr)
    if dynptr.data:
        commit_reservation(machine, dynptr.data, discard=discard)
        save(machine, addr, VOID)
    return 0


@helper("ringbuf_submit_dynptr", word=True)
def ringbuf_submit_dynptr(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _commit(machine, r1, discard=False)


@helper("ringbuf_discard_dynptr", word=True)
def ringbuf_discard_dynptr(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _commit(machine, r1, discard=True)


@helper("dynptr_read")
def dynptr_read(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    length, offset, source = r2 & M32, r4 & M32, load(machine, r3)
    if not source.data or r5:
        return -EINVAL
    if not source.holds(offset, length):
        return -E2BIG
    if source.kind not in _IN_PACKET:
        machine.memory.write_bytes(r1, machine.memory.read_bytes(source.data + source.offset + offset, length))
        return 0
    content = machine.packet.read(source.offset + offset, length)
    if content is None:
        return -EFAULT if source.kind is Kind.SKB else -EINVAL
    machine.memory.write_bytes(r1, content)
    return 0


@helper("dynptr_write")
def dynptr_write(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    offset, length, target = r2 & M32, r4 & M32, load(machine, r1)
    if not target.data or target.read_only:
        return -EINVAL
    if not target.holds(offset, length):
        return -E2BIG
    if target.kind is Kind.SKB:
        return skb_store_bytes(machine, target.data, target.offset + offset, r3, length, r5)
    if r5:
        return -EINVAL
    content = machine.memory.read_bytes(r3, length)
    if target.kind is Kind.XDP:
        return 0 if machine.packet.write(target.offset + offset, content) else -EINVAL
    machine.memory.write_bytes(target.data + target.offset + offset, content)
    return 0


@helper("dynptr_data", word=True)
def dynptr_data(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Packets give none: their memory can move."""
    dynptr, offset = load(machine, r1), r2 & M32
    if not dynptr.data or dynptr.read_only or dynptr.kind in _IN_PACKET or not dynptr.holds(offset, r3 & M32):
        return 0
    return dynptr.data + dynptr.offset + offset


_MAX_SAMPLES = 128 * 1024


@helper("user_ringbuf_drain")
def user_ringbuf_drain(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The callback gets each record as a dynptr, and ends it by returning other than 0."""
    ring = machine.map_at(r1)
    if not isinstance(ring, UserRingBufMap):
        raise HelperError(f"map {ring.name} is not a user_ringbuf")
    if r4 & ~(NO_WAKEUP | FORCE_WAKEUP):
        return -EINVAL
    taken = 0
    place = machine.memory.alloc(_LAYOUT.size, f"dynptr to a record of {ring.name}")
    while taken < _MAX_SAMPLES and (content := ring.take()) is not None:
        taken += 1
        record = machine.memory.alloc(len(content), f"record of {ring.name}", data=content)
        save(machine, place.base, Dynptr(record.base, Kind.LOCAL, len(content)))
        ended = machine.call_function(r2, place.base, r3)
        machine.memory.free(record)
        if ended:
            break
    machine.memory.free(place)
    return taken


# Kernel functions


@kfunc("bpf_dynptr_from_xdp")
def dynptr_from_xdp(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _make(machine, r3, Dynptr(r1, Kind.XDP, len(machine.packet)), r2)


@kfunc("bpf_dynptr_from_skb")
def dynptr_from_skb(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _make(machine, r3, Dynptr(r1, Kind.SKB, len(machine.packet)), r2)


def _slice(machine: Machine, dynptr: Dynptr, offset: int, length: int) -> int:
    """The address of a part; packets are in one piece, so the buffer that programs offer is never needed."""
    if not dynptr.data or not dynptr.holds(offset, length):
        return 0
    if dynptr.kind not in _IN_PACKET:
        return dynptr.data + dynptr.offset + offset
    packet = machine.packet
    if dynptr.offset + offset + length > len(packet):
        return 0
    return packet.base + packet.data + dynptr.offset + offset


@kfunc("bpf_dynptr_slice")
def dynptr_slice(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _slice(machine, load(machine, r1), r2 & M32, r4 & M32)


@kfunc("bpf_dynptr_slice_rdwr")
def dynptr_slice_rdwr(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    dynptr = load(machine, r1)
    return 0 if dynptr.read_only else _slice(machine, dynptr, r2 & M32, r4 & M32)


@kfunc("bpf_dynptr_adjust")
def dynptr_adjust(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    dynptr, start, end = load(machine, r1), r2 & M32, r3 & M32
    if not dynptr.data or start > end:
        return -EINVAL
    if end > dynptr.size:
        return -ERANGE
    dynptr.offset += start
    dynptr.size = end - start
    save(machine, r1, dynptr)
    return 0


@kfunc("bpf_dynptr_is_null")
def dynptr_is_null(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return int(not load(machine, r1).data)


@kfunc("bpf_dynptr_is_rdonly")
def dynptr_is_rdonly(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return int(load(machine, r1).read_only)


@kfunc("bpf_dynptr_size")
def dynptr_size(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    dynptr = load(machine, r1)
    return dynptr.size if dynptr.data else -EINVAL & M32


@kfunc("bpf_dynptr_clone")
def dynptr_clone(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    dynptr = load(machine, r1)
    save(machine, r2, dynptr)
    return 0 if dynptr.data else -EINVAL


__all__ = ["Dynptr", "Kind", "load", "save"]
