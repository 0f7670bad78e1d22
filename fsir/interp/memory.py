"""The interpreter's address space: regions of bytes under fake 64-bit addresses.

An address is ``(region id << 32) + offset``. Region 0 is never mapped, so a NULL pointer and every pointer
that was truncated to 32 bits fault; an access just below a region falls into the last bytes of the id before
it, where nothing is mapped, so it faults too. Every multi-byte access is little-endian, like the target, and
may be unaligned. An access outside the bounds of its region, to a freed region, or a write to a read-only one
raises :class:`MemoryFault`; nothing is ever read or written out of bounds.

This module knows nothing about maps, packets or programs: see ``maps.py`` and ``machine.py``.
"""

from collections import deque
from collections.abc import Callable
from struct import Struct

_OFFSET_MASK = 0xFFFFFFFF
_UNMAPPED = (bytearray(), 1 << 33, 0)
"""A table entry whose lower bound no offset reaches: takes every access to the slow path."""

_REUSE_DELAY = 1024
"""Freed ids wait in a queue this long before they are given out again, so that stale pointers still fault."""

_ACCESS = {1: Struct("<B"), 2: Struct("<H"), 4: Struct("<I"), 8: Struct("<Q")}


class MemoryFault(Exception):
    """An access that the kernel would have refused or trapped; `addr`, `size` and `what` say which."""

    def __init__(self, addr: int, size: int, what: str):
        super().__init__(what)
        self.addr = addr
        self.size = size
        self.what = what


class Region:
    """A contiguous piece of memory. Offsets in `[lo, hi)` are visible to programs; `buf` may be larger.

    `buf` is never replaced, so a caller may keep a reference to it. `base` is the address of offset 0.
    A region with `on_load`/`on_store` has no bytes: each access calls them with (offset, size[, value]).
    `owner` is the object that a handle stands for. `origin` is the offset from which messages count.
    """

    __slots__ = ("base", "buf", "hi", "lo", "name", "on_load", "on_store", "origin", "owner", "rid", "writable")

    def __init__(self, rid: int, buf: bytearray, name: str, writable: bool):
        self.rid = rid
        self.base = rid << 32
        self.buf = buf
        self.lo = 0
        self.hi = len(buf)
        self.name = name
        self.writable = writable
        self.on_load: Callable[[int, int], int] | None = None
        self.on_store: Callable[[int, int, int], None] | None = None
        self.owner: object = None
        self.origin = 0


class Memory:
    """All regions of one machine.

    `load8/16/32/64(addr)` return unsigned integers; `store8/16/32/64(addr, value)` keep the low bits of
    `value`. They are functions bound to this object, so hot code should keep them in local variables.
    """

    load8: Callable[[int], int]
    load16: Callable[[int], int]
    load32: Callable[[int], int]
    load64: Callable[[int], int]
    store8: Callable[[int, int], None]
    store16: Callable[[int, int], None]
    store32: Callable[[int, int], None]
    store64: Callable[[int, int], None]

    def __init__(self) -> None:
        self._read: list[tuple[bytearray, int, int]] = [_UNMAPPED]
        self._write: list[tuple[bytearray, int, int]] = [_UNMAPPED]
        self._regions: list[Region | None] = [None]
        self._free_ids: deque[int] = deque()
        self._retired: list[Region] = []
        self._loads = {size: self._make_load(size) for size in _ACCESS}
        self._stores = {size: self._make_store(size) for size in _ACCESS}
        self.load8, self.load16, self.load32, self.load64 = self._loads.values()
        self.store8, self.store16, self.store32, self.store64 = self._stores.values()

    # Regions

    def alloc(self, size: int, name: str, *, writable: bool = True, data: bytes | None = None) -> Region:
        """A new region of `size` zero bytes, or holding `data` (padded with zeros to `size`)."""
        buf = bytearray(size)
        if data is not None:
            buf[: len(data)] = data
        return self._add(buf, name, writable, 0, size)

    def window(self, whole: Region, lo: int, hi: int, name: str) -> Region:
        """A region of its own over the bytes of another at offsets `[lo, hi)`, which keep their offsets."""
        region = self._add(whole.buf, name, whole.writable, lo, hi)
        region.origin = lo
        return region

    def _add(self, buf: bytearray, name: str, writable: bool, lo: int, hi: int) -> Region:
        if len(self._free_ids) > _REUSE_DELAY:
            rid = self._free_ids.popleft()
        else:
            rid = len(self._regions)
            self._regions.append(None)
            self._read.append(_UNMAPPED)
            self._write.append(_UNMAPPED)
        region = Region(rid, buf, name, writable)
        self._regions[rid] = region
        self.set_bounds(region, lo, hi)
        return region

    def alloc_handle(
        self,
        name: str,
        owner: object = None,
        on_load: Callable[[int, int], int] | None = None,
        on_store: Callable[[int, int, int], None] | None = None,
    ) -> Region:
        """A region without bytes: an address for an object that is not memory (a map, the context)."""
        region = self.alloc(0, name)
        region.owner = owner
        region.on_load, region.on_store = on_load, on_store
        self._read[region.rid] = self._write[region.rid] = _UNMAPPED
        return region

    def set_bounds(self, region: Region, lo: int, hi: int) -> None:
        """Limit the offsets a program may access to `[lo, hi)`, inside the buffer."""
        if not 0 <= lo <= hi <= len(region.buf):
            raise ValueError(f"bounds [{lo}, {hi}) outside the {len(region.buf)} bytes of {region.name}")
        region.lo, region.hi = lo, hi
        self._read[region.rid] = (region.buf, lo, hi)
        self._write[region.rid] = (region.buf, lo, hi) if region.writable else _UNMAPPED

    def set_writable(self, region: Region, writable: bool) -> None:
        """Allow or refuse program writes to a region."""
        region.writable = writable
        self.set_bounds(region, region.lo, region.hi)

    def free(self, region: Region) -> None:
        """Unmap now: every later access faults."""
        if self._regions[region.rid] is not region:
            raise ValueError(f"{region.name} is freed already")
        self._regions[region.rid] = None
        self._read[region.rid] = self._write[region.rid] = _UNMAPPED
        self._free_ids.append(region.rid)

    def retire(self, region: Region) -> None:
        """Free at the end of the current run: as under RCU, a held pointer stays usable until then."""
        self._retired.append(region)

    def release_retired(self) -> None:
        """The run is over: free what was retired during it."""
        if self._retired:
            for region in self._retired:
                self.free(region)
            self._retired.clear()

    def region_at(self, addr: int) -> Region | None:
        """The live region that `addr` points into (its offset may be out of bounds)."""
        rid = addr >> 32
        return self._regions[rid] if 0 <= rid < len(self._regions) else None

    # Access of any size

    def load(self, addr: int, size: int) -> int:
        """Read 1, 2, 4 or 8 bytes as an unsigned little-endian integer."""
        return self._loads[size](addr)

    def store(self, addr: int, size: int, value: int) -> None:
        """Write the low bits of `value` to 1, 2, 4 or 8 bytes."""
        self._stores[size](addr, value)

    def read_bytes(self, addr: int, size: int) -> bytes:
        """Read `size` bytes; zero bytes may be read from any address, as helpers allow NULL with size 0."""
        rid = addr >> 32
        if 0 <= rid < len(self._read):
            buf, lo, hi = self._read[rid]
            start = addr & _OFFSET_MASK
            end = start + size
            if lo <= start and end <= hi:
                return bytes(buf[start:end])
        if size == 0:
            return b""
        raise self._fault(addr, size, "read")

    def write_bytes(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`; writing nothing is allowed at any address."""
        rid = addr >> 32
        if 0 <= rid < len(self._write):
            buf, lo, hi = self._write[rid]
            start = addr & _OFFSET_MASK
            end = start + len(data)
            if lo <= start and end <= hi:
                buf[start:end] = data
                return
        if len(data):
            raise self._fault(addr, len(data), "write")

    def read_cstring(self, addr: int, limit: int) -> bytes:
        """The bytes before the first NUL, which must come within `limit` bytes of readable memory."""
        region = self.region_at(addr)
        if region is not None and region.lo <= (start := addr & _OFFSET_MASK) < region.hi:
            end = region.buf.find(0, start, min(start + limit, region.hi))
            if end >= 0:
                return bytes(region.buf[start:end])
        raise self._fault(addr, limit, "read of a string")

    def describe(self, addr: int) -> str:
        """An address in words, `packet+14` or `NULL+8`, for messages."""
        rid, offset = addr >> 32, addr & _OFFSET_MASK
        if offset > _OFFSET_MASK - 0x10000 and (above := self.region_at((rid + 1) << 32)) is not None:
            return f"{above.name}-{_OFFSET_MASK + 1 - offset}"
        region = self.region_at(addr)
        if region is not None:
            return f"{region.name}{offset - region.origin:+}"
        return f"NULL+{offset}" if rid == 0 else f"{addr:#x}"

    # The hot paths

    def _make_load(self, size: int) -> Callable[[int], int]:
        table = self._read
        unpack = _ACCESS[size].unpack_from
        slow = self._slow_load

        def load(addr: int) -> int:
            try:
                buf, lo, hi = table[addr >> 32]
            except IndexError:
                return slow(addr, size)
            offset = addr & 0xFFFFFFFF
            if lo <= offset and offset + size <= hi:
                value: int = unpack(buf, offset)[0]
                return value
            return slow(addr, size)

        def load_byte(addr: int) -> int:
            try:
                buf, lo, hi = table[addr >> 32]
            except IndexError:
                return slow(addr, 1)
            offset = addr & 0xFFFFFFFF
            if lo <= offset < hi:
                return buf[offset]
            return slow(addr, 1)

        return load_byte if size == 1 else load

    def _make_store(self, size: int) -> Callable[[int, int], None]:
        table = self._write
        pack = _ACCESS[size].pack_into
        mask = (1 << 8 * size) - 1
        slow = self._slow_store

        def store(addr: int, value: int) -> None:
            try:
                buf, lo, hi = table[addr >> 32]
            except IndexError:
                return slow(addr, size, value)
            offset = addr & 0xFFFFFFFF
            if lo <= offset and offset + size <= hi:
                return pack(buf, offset, value & mask)
            return slow(addr, size, value)

        return store

    def _slow_load(self, addr: int, size: int) -> int:
        region = self.region_at(addr)
        if region is not None and region.on_load is not None:
            return region.on_load(addr & _OFFSET_MASK, size)
        raise self._fault(addr, size, "read")

    def _slow_store(self, addr: int, size: int, value: int) -> None:
        region = self.region_at(addr)
        if region is not None and region.on_store is not None:
            return region.on_store(addr & _OFFSET_MASK, size, value & ((1 << 8 * size) - 1))
        raise self._fault(addr, size, "write")

    def _fault(self, addr: int, size: int, verb: str) -> MemoryFault:
        region = self.region_at(addr)
        offset = addr & _OFFSET_MASK
        if region is None:
            reason = "no memory there"
        elif verb == "write" and not region.writable:
            reason = "read-only"
        elif not len(region.buf):
            reason = "not memory"
        else:
            end, start = region.hi - region.origin, region.lo - region.origin
            reason = f"it ends at {end}" if offset >= region.lo else f"it starts at {start}"
        return MemoryFault(addr, size, f"{verb} of {size} bytes at {self.describe(addr)}: {reason}")
