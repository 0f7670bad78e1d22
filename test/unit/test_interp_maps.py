"""Maps of the interpreter: the kernel's return codes, as tables. See also test/kernel/test_maps_against_kernel.py."""

import errno
from dataclasses import replace

import pytest

from fsir.interp.machine import Machine
from fsir.interp.map_base import (
    BPF_ANY,
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_F_NO_PREALLOC,
    BPF_F_RDONLY_PROG,
    BPF_NOEXIST,
    Map,
    MapError,
    MapSpec,
    SpecialField,
)
from fsir.interp.maps import MAP_TYPES
from fsir.interp.maps_array import ArrayMap
from fsir.interp.maps_queue import QueueMap
from fsir.interp.maps_ringbuf import RingBufMap
from fsir.interp.memory import MemoryFault

A, B, C = (bytes([number, 0, 0, 0]) for number in (0, 1, 200))
ONE, TWO = b"11111111", b"22222222"


def new(kind: str, entries: int = 2, *, ncpu: int = 2, flags: int = 0, value_size: int = 8) -> tuple[Machine, Map]:
    machine = Machine(ncpu=ncpu)
    return machine, machine.add_map(MapSpec("m", kind, 4, value_size, entries, flags))


def name(code: int) -> str:
    return errno.errorcode[-code] if code else "0"


@pytest.mark.parametrize(
    ("kind", "key", "flags", "before", "answer"),
    [
        ("array", A, BPF_ANY, [], "0"),
        ("array", A, BPF_EXIST, [], "0"),
        ("array", A, BPF_NOEXIST, [], "EEXIST"),
        ("array", C, BPF_ANY, [], "E2BIG"),
        ("array", A, 3, [], "EINVAL"),
        ("array", A, BPF_F_LOCK, [], "EINVAL"),
        ("percpu_array", C, BPF_ANY, [], "E2BIG"),
        ("hash", A, BPF_ANY, [], "0"),
        ("hash", A, BPF_NOEXIST, [], "0"),
        ("hash", A, BPF_EXIST, [], "ENOENT"),
        ("hash", A, BPF_NOEXIST, [A], "EEXIST"),
        ("hash", A, BPF_EXIST, [A], "0"),
        ("hash", C, BPF_ANY, [A, B], "E2BIG"),
        ("hash", A, BPF_ANY, [A, B], "0"),
        ("hash", C, BPF_EXIST, [A, B], "ENOENT"),
        ("hash", A, 3, [], "EINVAL"),
        ("hash", A, BPF_F_LOCK, [], "EINVAL"),
        ("percpu_hash", C, BPF_ANY, [A, B], "E2BIG"),
        ("percpu_hash", A, BPF_F_LOCK, [], "EINVAL"),
        ("lru_hash", C, BPF_ANY, [A, B], "0"),
        ("lru_hash", A, BPF_NOEXIST, [A], "EEXIST"),
        ("lru_percpu_hash", A, BPF_EXIST, [], "ENOENT"),
    ],
)
def test_update(kind: str, key: bytes, flags: int, before: list[bytes], answer: str) -> None:
    _, target = new(kind)
    for existing in before:
        assert target.update(existing, ONE, BPF_ANY, 0) == 0
    assert name(target.update(key, TWO, flags, 0)) == answer


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("array", ("EINVAL", "EINVAL")),
        ("percpu_array", ("EINVAL", "EINVAL")),
        ("hash", ("0", "ENOENT")),
        ("percpu_hash", ("0", "ENOENT")),
        ("lru_hash", ("0", "ENOENT")),
        ("lru_percpu_hash", ("0", "ENOENT")),
    ],
)
def test_delete_twice(kind: str, answers: tuple[str, str]) -> None:
    _, target = new(kind)
    target.update(A, ONE, BPF_ANY, 0)
    assert (name(target.delete(A)), name(target.delete(A))) == answers
    assert bool(target.lookup(A, 0)) == kind.endswith("array")


def test_array_values_stay_where_they_are() -> None:
    machine, target = new("array", value_size=5)
    addr = target.lookup(B, 0)
    target.update(B, b"abcde", BPF_ANY, 0)
    assert target.lookup(B, 0) == addr
    assert machine.memory.read_bytes(addr, 5) == b"abcde"
    assert target.lookup(C, 0) == 0
    with pytest.raises(MemoryFault):
        machine.memory.load8(addr + 5)


def test_the_next_value_of_an_array_is_out_of_bounds() -> None:
    for kind in ("array", "percpu_array"):
        machine, target = new(kind)
        addr = target.lookup(A, 0)
        with pytest.raises(MemoryFault, match=r"write of 1 bytes at .*\[0\]\+8: it ends at 8"):
            machine.memory.store8(addr + target.value_size, 1)


def test_updating_a_hash_replaces_the_element() -> None:
    machine, target = new("hash")
    target.update(A, ONE, BPF_ANY, 0)
    old = target.lookup(A, 0)
    target.update(A, TWO, BPF_ANY, 0)
    assert target.lookup(A, 0) != old
    machine.memory.store8(old, 0)
    assert target.sys_lookup(A) == TWO
    machine.end_packet()
    with pytest.raises(MemoryFault):
        machine.memory.load8(old)


@pytest.mark.parametrize("kind", ["percpu_array", "percpu_hash", "lru_percpu_hash"])
def test_each_cpu_has_its_own_value(kind: str) -> None:
    machine, target = new(kind)
    target.update(A, ONE, BPF_ANY, 1)
    assert target.sys_lookup(A) == [bytes(8), ONE]
    addr = target.lookup(A, 0)
    target.update(A, TWO, BPF_ANY, 0)
    assert target.lookup(A, 0) == addr
    assert machine.memory.read_bytes(addr, 8) == TWO
    assert target.lookup_percpu(A, 1) == target.lookup(A, 1) != addr
    assert target.lookup_percpu(A, 2) == 0
    assert target.sys_update(A, [TWO, ONE]) == 0
    assert target.sys_lookup(A) == [TWO, ONE]
    with pytest.raises(MapError, match="one value for each CPU"):
        target.sys_update(A, ONE)


def trie_key(prefix: str) -> bytes:
    address, _, length = prefix.partition("/")
    return int(length).to_bytes(4, "little") + bytes(int(part) for part in address.split("."))


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("10.1.2.3/32", b"host"),
        ("10.1.2.4/32", b"net "),
        ("10.1.2.4/24", b"net "),
        ("10.1.2.4/23", b"wide"),
        ("10.9.9.9/32", b"wide"),
        ("11.0.0.0/32", b"all "),
        ("10.1.2.3/0", b"all "),
        ("10.1.2.3/33", None),
    ],
)
def test_trie_finds_the_longest_prefix(address: str, found: bytes | None) -> None:
    machine = Machine()
    trie = machine.add_map(MapSpec("t", "lpm_trie", 8, 4, 8, BPF_F_NO_PREALLOC))
    for prefix, value in (("0.0.0.0/0", b"all "), ("10.0.0.0/8", b"wide"), ("10.1.2.0/24", b"net ")):
        assert trie.update(trie_key(prefix), value, BPF_ANY, 0) == 0
    assert trie.update(trie_key("10.1.2.3/32"), b"host", BPF_ANY, 0) == 0
    addr = trie.lookup(trie_key(address), 0)
    assert (machine.memory.read_bytes(addr, 4) if addr else None) == found


def test_trie_codes() -> None:
    trie = Machine().add_map(MapSpec("t", "lpm_trie", 8, 4, 1, BPF_F_NO_PREALLOC))
    assert name(trie.update(trie_key("1.0.0.0/33"), b"vvvv", BPF_ANY, 0)) == "EINVAL"
    assert name(trie.update(trie_key("1.0.0.0/8"), b"vvvv", BPF_EXIST, 0)) == "ENOENT"
    assert name(trie.update(trie_key("1.2.3.4/8"), b"vvvv", BPF_ANY, 0)) == "0"
    assert name(trie.update(trie_key("1.0.0.0/8"), b"vvvv", BPF_NOEXIST, 0)) == "EEXIST"
    assert name(trie.update(trie_key("2.0.0.0/8"), b"vvvv", BPF_ANY, 0)) == "ENOSPC"
    assert [key for key, _ in trie.items()] == [trie_key("1.2.3.4/8")]
    assert name(trie.delete(trie_key("1.0.0.0/9"))) == "ENOENT"
    assert name(trie.delete(trie_key("1.0.0.0/8"))) == "0"


def test_lru_keeps_what_is_looked_up() -> None:
    _, target = new("lru_hash", 128, ncpu=1)
    key = [number.to_bytes(4, "little") for number in range(2000)]
    for number in range(2000):
        target.update(key[number], ONE, BPF_ANY, 0)
        target.lookup(key[0], 0)
        target.sys_lookup(key[1])
    assert target.lookup(key[0], 0) and not target.lookup(key[1], 0)
    assert len(list(target.items())) <= 128


@pytest.mark.parametrize(("kind", "order"), [("queue", b"123"), ("stack", b"321")])
def test_queues_and_stacks(kind: str, order: bytes) -> None:
    target = Machine().add_map(MapSpec("q", kind, 0, 1, 3))
    assert isinstance(target, QueueMap)
    assert target.peek(remove=True) == (-errno.ENOENT, b"\0")
    assert [target.push(bytes([byte]), BPF_ANY) for byte in b"123"] == [0, 0, 0]
    assert name(target.push(b"4", BPF_ANY)) == "E2BIG"
    assert name(target.push(b"4", BPF_NOEXIST)) == "EINVAL"
    assert target.peek(remove=False)[1] == order[:1]
    assert b"".join(target.peek(remove=True)[1] for _ in range(3)) == order
    for byte in b"1234":
        assert target.push(bytes([byte]), BPF_EXIST) == 0
    assert [value for _, value in target.items()] == [b"2", b"3", b"4"]


def test_ring_buffer_records_are_consumed_in_order() -> None:
    machine = Machine()
    ring = machine.add_map(MapSpec("r", "ringbuf", 0, 0, 4096))
    assert isinstance(ring, RingBufMap)
    first, second, third = (ring.reserve(8, 0) for _ in range(3))
    machine.memory.store64(second, 2)
    assert ring.commit(second, discard=False) and ring.commit(third, discard=True)
    assert ring.drain() == []
    assert ring.commit(first, discard=False) and not ring.commit(first, discard=False)
    assert ring.drain() == [bytes(8), (2).to_bytes(8, "little")]
    assert ring.query(0) == 0 and ring.query(3) == 48
    with pytest.raises(MemoryFault):
        machine.memory.load8(first)


def test_special_fields_are_not_copied() -> None:
    machine = Machine()
    spec = MapSpec("m", "array", 4, 16, 1, special=(SpecialField("spin_lock", 4, 4),))
    target = machine.add_map(spec)
    addr = target.lookup(A, 0)
    machine.memory.store32(addr + 4, 1)
    assert target.update(A, b"x" * 16, BPF_F_LOCK, 0) == 0
    assert machine.memory.read_bytes(addr, 16) == b"xxxx\1\0\0\0xxxxxxxx"
    assert target.sys_lookup(A) == b"xxxx\0\0\0\0xxxxxxxx"


def test_read_only_maps_refuse_the_program_but_not_user_space() -> None:
    machine, target = new("array", flags=BPF_F_RDONLY_PROG)
    assert target.sys_update(A, ONE) == 0
    assert isinstance(target, ArrayMap)
    assert machine.memory.load8(target.values_addr) == ONE[0]
    with pytest.raises(MemoryFault, match="read-only"):
        machine.memory.store8(target.values_addr, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (MapSpec("m", "hash", 4, 4, 0), "max_entries is 0; give its size with --map-size m=N"),
        (MapSpec("m", "array", 8, 4, 1), "the key of an array has 4 bytes, not 8"),
        (MapSpec("m", "lpm_trie", 8, 4, 1), "BPF_F_NO_PREALLOC"),
        (MapSpec("m", "lru_hash", 4, 4, 1, BPF_F_NO_PREALLOC), "refuses BPF_F_NO_PREALLOC"),
        (MapSpec("m", "queue", 4, 4, 1), "key_size of 0"),
        (MapSpec("m", "ringbuf", 0, 0, 5000), "power of 2"),
        (MapSpec("m", "devmap", 4, 12, 1), "values of 4 or 8"),
        (MapSpec("m", "arena", 0, 0, 1), "maps of type arena are not interpreted"),
    ],
)
def test_declarations_that_the_kernel_refuses(spec: MapSpec, message: str) -> None:
    with pytest.raises(MapError) as error:
        Machine().add_map(spec)
    assert message in str(error.value)


def test_a_perf_event_array_without_size_has_one_entry_per_cpu() -> None:
    machine = Machine(ncpu=4)
    assert machine.add_map(MapSpec("m", "perf_event_array", 4, 4, 0)).max_entries == 4


def test_every_type_can_be_made() -> None:
    sizes = {"queue": (0, 8), "stack": (0, 8), "bloom_filter": (0, 8), "ringbuf": (0, 0), "user_ringbuf": (0, 0)}
    for kind in MAP_TYPES:
        key_size, value_size = sizes.get(kind, (8, 8) if "cgroup_storage" in kind else (4, 4))
        spec = MapSpec(kind, kind, key_size, value_size, 4096, BPF_F_NO_PREALLOC if kind == "lpm_trie" else 0)
        spec = replace(spec, key_size=8) if kind == "lpm_trie" else spec
        spec = replace(spec, value_size=8) if kind == "stack_trace" else spec
        spec = replace(spec, max_entries=0) if kind.endswith("storage") else spec
        machine = Machine()
        target = machine.add_map(spec)
        assert machine.map_at(target.addr) is target
