"""BPF_MAP_TYPE_BLOOM_FILTER: a set that may say "perhaps" of what it does not hold.

The hash is the kernel's `jhash` with seed 0, so for maps with BPF_F_ZERO_SEED the false positives are the
kernel's; without the flag the kernel picks a random seed, and no two runs agree.
"""

from fsir.interp.map_base import EINVAL, ENOENT, EOPNOTSUPP, Map, MapError, MapSpec, Value
from fsir.interp.memory import Memory

_M32 = 0xFFFFFFFF


def _rol(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & _M32


def jhash(data: bytes, seed: int) -> int:
    """Bob Jenkins' lookup3 as the kernel uses it (include/linux/jhash.h); equals jhash2 on whole words."""
    a = b = c = (0xDEADBEEF + len(data) + seed) & _M32
    offset = 0
    while len(data) - offset > 12:
        a = (a + int.from_bytes(data[offset : offset + 4], "little")) & _M32
        b = (b + int.from_bytes(data[offset + 4 : offset + 8], "little")) & _M32
        c = (c + int.from_bytes(data[offset + 8 : offset + 12], "little")) & _M32
        for count_a, count_b, count_c in ((4, 6, 8), (16, 19, 4)):
            a = ((a - c) ^ _rol(c, count_a)) & _M32
            c = (c + b) & _M32
            b = ((b - a) ^ _rol(a, count_b)) & _M32
            a = (a + c) & _M32
            c = ((c - b) ^ _rol(b, count_c)) & _M32
            b = (b + a) & _M32
        offset += 12
    tail = data[offset:]
    if not tail:
        return c
    a = (a + int.from_bytes(tail[:4], "little")) & _M32
    b = (b + int.from_bytes(tail[4:8], "little")) & _M32
    c = (c + int.from_bytes(tail[8:], "little")) & _M32
    for count_c, count_a, count_b in ((14, 11, 25), (16, 4, 14)):
        c = ((c ^ b) - _rol(b, count_c)) & _M32
        a = ((a ^ c) - _rol(c, count_a)) & _M32
        b = ((b ^ a) - _rol(a, count_b)) & _M32
    return ((c ^ b) - _rol(b, 24)) & _M32


class BloomFilterMap(Map):
    """The low 4 bits of `map_extra` are the number of hash functions, 5 if 0."""

    def __init__(self, spec: MapSpec, memory: Memory, ncpu: int):
        super().__init__(spec, memory, ncpu)
        self._functions = spec.map_extra & 0xF or 5
        bits = self.max_entries * self._functions // 5 * 7
        if self.max_entries * self._functions > _M32 or bits > 1 << 31:
            bits = 1 << 32
        self._mask = (1 << max(bits - 1, 63).bit_length()) - 1
        self._bits: set[int] = set()

    @classmethod
    def check(cls, spec: MapSpec, ncpu: int) -> MapSpec:
        if spec.key_size != 0 or spec.value_size == 0 or spec.map_extra & ~0xF:
            raise MapError(
                f"map {spec.name}: a bloom filter has a key_size of 0, a value_size above 0, "
                "and at most 15 hash functions in map_extra"
            )
        return super().check(spec, ncpu)

    def _positions(self, value: bytes) -> list[int]:
        return [jhash(value, index) & self._mask for index in range(self._functions)]

    def push(self, value: bytes, flags: int) -> int:
        if flags != 0:
            return -EINVAL
        self._bits.update(self._positions(value))
        return 0

    def peek(self, value: bytes) -> int:
        """0 if the value is perhaps in the set, -ENOENT if it surely is not."""
        return 0 if self._bits.issuperset(self._positions(value)) else -ENOENT

    def delete(self, key: bytes) -> int:
        return -EOPNOTSUPP

    def sys_update(self, key: bytes, value: Value, flags: int = 0) -> int:
        if isinstance(value, list):
            raise MapError(f"map {self.name}: one value at a time is added")
        return self.push(value, flags)
