"""Maps whose entries are kernel objects: programs, perf events, cgroups, sockets, stack traces."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fsir.interp.map_base import E2BIG, EINVAL, ENOENT, EOPNOTSUPP, Map, MapError, MapSpec
from fsir.interp.memory import Memory


def _check_descriptors(spec: MapSpec) -> None:
    if spec.key_size != 4 or spec.value_size != 4:
        raise MapError(f"map {spec.name}: a {spec.type_name} has keys and values of 4 bytes")


class ProgArrayMap(Map):
    """BPF_MAP_TYPE_PROG_ARRAY: the entries are program names."""

    entry_kind = "symbol"

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        _check_descriptors(spec)
        self._programs: dict[int, str] = {}

    def program(self, index: int) -> str | None:
        """The program that a tail call to `index` enters."""
        return self._programs.get(index)

    def set_program(self, index: int, program: str | None) -> int:
        """Set or clear an entry, as user space does."""
        if index >= self.max_entries:
            return -E2BIG
        if program is None:
            return 0 if self._programs.pop(index, None) is not None else -ENOENT
        self._programs[index] = program
        return 0

    def programs(self) -> Iterator[tuple[int, str]]:
        """The entries by index."""
        return iter(sorted(self._programs.items()))


@dataclass(frozen=True)
class PerfRecord:
    """One bpf_perf_event_output: on which CPU's event, and the bytes."""

    index: int
    data: bytes


class PerfEventArrayMap(Map):
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY: one output event per CPU, opened from the start like a loader does.

    `max_entries` 0 means one per CPU, as for libbpf. Output to an index in `closed` is -ENOENT.
    """

    entry_kind = "queue"

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self.records: list[PerfRecord] = []
        self.closed: set[int] = set(range(ncpu, self.max_entries))

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        _check_descriptors(spec)
        return super().check(replace(spec, max_entries=spec.max_entries or ncpu), ncpu)

    def output(self, index: int, cpu: int, data: bytes) -> int:
        """Append a record to the event at `index`, which must be that of the CPU the program runs on."""
        if index >= self.max_entries:
            return -E2BIG
        if index in self.closed:
            return -ENOENT
        if index != cpu:
            return -EOPNOTSUPP
        self.records.append(PerfRecord(index, data))
        return 0

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """The records so far, with empty keys."""
        for record in self.records:
            yield b"", record.data


class CgroupArrayMap(Map):
    """BPF_MAP_TYPE_CGROUP_ARRAY: always empty, as the machine has no cgroups."""

    entry_kind = "symbol"

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        _check_descriptors(spec)
        return super().check(spec, ncpu)


class SockMap(Map):
    """BPF_MAP_TYPE_SOCKMAP and REUSEPORT_SOCKARRAY: always empty, as the machine has no sockets."""

    entry_kind = "symbol"

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return -EOPNOTSUPP

    def delete(self, key: bytes) -> int:
        return -EINVAL


class SockHashMap(SockMap):
    """BPF_MAP_TYPE_SOCKHASH."""

    def delete(self, key: bytes) -> int:
        return -ENOENT


class StackTraceMap(Map):
    """BPF_MAP_TYPE_STACK_TRACE: always empty; programs here have no kernel stack to record."""

    entry_kind = "symbol"

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.key_size != 4 or spec.value_size < 8 or spec.value_size % 8:
            raise MapError(f"map {spec.name}: a stack_trace has keys of 4 bytes and values of a multiple of 8 bytes")
        return super().check(spec, ncpu)

    def delete(self, key: bytes) -> int:
        return -ENOENT
