"""BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK: values without keys, in order."""

from collections import deque
from collections.abc import Iterator

from fsir.interp.map_base import (
    BPF_EXIST,
    BPF_NOEXIST,
    E2BIG,
    EINVAL,
    ENOENT,
    Map,
    MapError,
    MapSpec,
    Value,
)
from fsir.interp.memory import Memory


class QueueMap(Map):
    """First in, first out. `pop` and `peek` give zeros and -ENOENT when there is nothing."""

    entry_kind = "queue"
    _newest_first = False

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._values: deque[bytes] = deque()

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.key_size != 0 or spec.value_size == 0:
            raise MapError(f"map {spec.name}: a {spec.type_name} has a key_size of 0 and a value_size above 0")
        return super().check(spec, ncpu)

    def __len__(self) -> int:
        return len(self._values)

    def push(self, value: bytes, flags: int) -> int:
        """Append; with BPF_EXIST a full queue or stack drops its oldest value to make room."""
        if flags & BPF_NOEXIST or flags > BPF_EXIST:
            return -EINVAL
        if len(self._values) >= self.max_entries:
            if flags != BPF_EXIST:
                return -E2BIG
            self._values.popleft()
        self._values.append(value)
        return 0

    def peek(self, remove: bool) -> tuple[int, bytes]:
        """The next value, with 0 or -ENOENT."""
        if not self._values:
            return -ENOENT, bytes(self.value_size)
        index = -1 if self._newest_first else 0
        value = self._values[index]
        if remove:
            del self._values[index]
        return 0, value

    def sys_update(self, key: bytes, value: Value, flags: int = 0) -> int:
        if isinstance(value, list):
            raise MapError(f"map {self.name}: one value at a time is pushed")
        return self.push(value, flags)

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """The values from the oldest to the newest, with empty keys."""
        for value in list(self._values):
            yield b"", value


class StackMap(QueueMap):
    """Last in, first out."""

    _newest_first = True
