"""BPF_MAP_TYPE_RINGBUF: records reserved, filled in and submitted by programs, and read by user space in order.

Space is accounted byte for byte as the kernel does, so a full ring refuses when the kernel's would. Nothing is
consumed until somebody calls `drain`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fsir.interp.map_base import EAGAIN, EINVAL, Map, MapError, MapSpec, Value
from fsir.interp.memory import Memory, Region

_HEADER = 8
_MAX_RECORD = 0x3FFFFFFF
_PAGE = 4096
NO_WAKEUP, FORCE_WAKEUP = 1, 2


@dataclass(slots=True)
class _Record:
    position: int
    size: int
    region: Region | None
    """The memory of a reservation that is still open."""
    data: bytes = b""
    discarded: bool = False

    @property
    def span(self) -> int:
        return (self.size + _HEADER + 7) & ~7


class RingBufMap(Map):
    """`max_entries` is the size of the ring in bytes."""

    entry_kind = "queue"

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self.producer = 0
        self.consumer = 0
        self._records: list[_Record] = []
        self._open: dict[int, _Record] = {}

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        size = spec.max_entries
        if spec.key_size or spec.value_size or size & (size - 1) or size % _PAGE:
            raise MapError(
                f"map {spec.name}: a {spec.type_name} has no key and no value, and max_entries is a power of 2 "
                f"and a multiple of {_PAGE}"
            )
        return super().check(spec, ncpu)

    def _reserve(self, size: int) -> _Record | None:
        span = (size + _HEADER + 7) & ~7
        if size > _MAX_RECORD or span > self.max_entries:
            return None
        end = self.producer + span
        oldest_open = min((record.position for record in self._open.values()), default=self.producer)
        if end - self.consumer > self.max_entries - 1 or end - oldest_open > self.max_entries - 1:
            return None
        record = _Record(self.producer, size, None)
        self.producer = end
        self._records.append(record)
        return record

    def reserve(self, size: int, flags: int) -> int:
        """The address of `size` zero bytes to fill in, or 0 when the ring is full."""
        record = None if flags else self._reserve(size)
        if record is None:
            return 0
        record.region = self.memory.alloc(size, f"{self.name} record")
        record.region.owner = self
        self._open[record.region.base] = record
        return record.region.base

    def commit(self, addr: int, discard: bool) -> bool:
        """Submit or discard the reservation at `addr`; False if there is none in this ring."""
        record = self._open.pop(addr, None)
        if record is None:
            return False
        assert record.region is not None
        record.data = bytes(record.region.buf)
        record.discarded = discard
        self.memory.free(record.region)
        record.region = None
        return True

    def output(self, data: bytes, flags: int) -> int:
        """Reserve, copy and submit at once."""
        if flags & ~(NO_WAKEUP | FORCE_WAKEUP):
            return -EINVAL
        record = self._reserve(len(data))
        if record is None:
            return -EAGAIN
        record.data = data
        return 0

    def query(self, flags: int) -> int:
        """Available data, ring size, consumer or producer position, by BPF_RB_*."""
        answers = (self.producer - self.consumer, self.max_entries, self.consumer, self.producer)
        return answers[flags] if flags < len(answers) else 0

    @property
    def open_reservations(self) -> int:
        """How many records are reserved and neither submitted nor discarded."""
        return len(self._open)

    def drain(self) -> list[bytes]:
        """Consume what is submitted, up to the first record that is still open."""
        taken: list[bytes] = []
        while self._records and self._records[0].region is None:
            record = self._records.pop(0)
            self.consumer += record.span
            if not record.discarded:
                taken.append(record.data)
        return taken

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """The submitted records that nobody consumed yet, with empty keys."""
        for record in self._records:
            if record.region is None and not record.discarded:
                yield b"", record.data


class UserRingBufMap(RingBufMap):
    """BPF_MAP_TYPE_USER_RINGBUF: filled by user space and drained by programs."""

    def sys_update(self, key: bytes, value: Value, flags: int = 0) -> int:
        if isinstance(value, list):
            raise MapError(f"map {self.name}: one record at a time is added")
        return self.output(value, flags)

    def take(self) -> bytes | None:
        """Consume the oldest record; None when there is none."""
        if not self._records:
            return None
        record = self._records.pop(0)
        self.consumer += record.span
        return record.data
