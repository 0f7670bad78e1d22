"""The interpreter's address space: what may be accessed, and what faults with which words."""

import pytest

from fsir.interp.memory import Memory, MemoryFault


def test_loads_and_stores_are_little_endian_and_may_be_unaligned() -> None:
    memory = Memory()
    base = memory.alloc(16, "buffer").base
    memory.store64(base + 3, 0x1122334455667788)
    assert memory.read_bytes(base + 3, 8) == bytes.fromhex("8877665544332211")
    assert [memory.load(base + 3, size) for size in (1, 2, 4, 8)] == [
        0x88,
        0x7788,
        0x55667788,
        0x1122334455667788,
    ]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_store_keeps_the_low_bits(size: int) -> None:
    memory = Memory()
    base = memory.alloc(16, "buffer").base
    memory.store(base, size, 0xFFFF_1234_5678_9ABC_DEF0)
    assert memory.load(base, size) == 0x1234_5678_9ABC_DEF0 & ((1 << 8 * size) - 1)
    assert memory.load64(base + size) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_access_stays_inside_the_region(size: int) -> None:
    memory = Memory()
    memory.alloc(64, "below")
    base = memory.alloc(16, "buffer").base
    memory.alloc(64, "above")
    memory.load(base + 16 - size, size)
    memory.store(base, size, 0)
    for addr in (base - 1, base + 17 - size, base + 16, base + (1 << 31)):
        with pytest.raises(MemoryFault):
            memory.load(addr, size)
        with pytest.raises(MemoryFault):
            memory.store(addr, size, 0)


@pytest.mark.parametrize("addr", [0, 8, 0xFFFFFFFF, -8, 1 << 63, (1 << 64) - 8, 77 << 32])
def test_unmapped_addresses_fault(addr: int) -> None:
    memory = Memory()
    memory.alloc(16, "buffer")
    for size in (1, 2, 4, 8):
        with pytest.raises(MemoryFault):
            memory.load(addr, size)
        with pytest.raises(MemoryFault):
            memory.store(addr, size, 1)
    with pytest.raises(MemoryFault):
        memory.read_bytes(addr, 1)
    with pytest.raises(MemoryFault):
        memory.write_bytes(addr, b"x")
    assert memory.read_bytes(addr, 0) == b""
    memory.write_bytes(addr, b"")


def test_bounds_limit_what_a_program_sees() -> None:
    memory = Memory()
    region = memory.alloc(32, "packet")
    memory.set_bounds(region, 8, 20)
    assert memory.load32(region.base + 16) == 0
    with pytest.raises(MemoryFault, match=r"read of 4 bytes at packet\+17: it ends at 20"):
        memory.load32(region.base + 17)
    with pytest.raises(MemoryFault, match=r"write of 1 bytes at packet\+7: it starts at 8"):
        memory.store8(region.base + 7, 1)


def test_read_only_regions_refuse_writes_only() -> None:
    memory = Memory()
    region = memory.alloc(8, ".rodata", writable=False, data=b"constant")
    assert memory.read_bytes(region.base, 8) == b"constant"
    with pytest.raises(MemoryFault, match=r"write of 2 bytes at \.rodata\+4: read-only"):
        memory.store16(region.base + 4, 0)
    with pytest.raises(MemoryFault, match="read-only"):
        memory.write_bytes(region.base, b"x")


def test_freed_memory_faults_even_when_more_is_allocated() -> None:
    memory = Memory()
    region = memory.alloc(8, "record")
    memory.free(region)
    for _ in range(100):
        memory.alloc(8, "other")
    with pytest.raises(MemoryFault, match="no memory there"):
        memory.load8(region.base)
    with pytest.raises(ValueError, match="freed already"):
        memory.free(region)


def test_ids_are_reused_after_many_frees() -> None:
    memory = Memory()
    addresses = set()
    for _ in range(5000):
        region = memory.alloc(8, "record")
        addresses.add(region.base)
        memory.free(region)
    assert len(addresses) < 2000


def test_retired_memory_lives_until_the_run_ends() -> None:
    memory = Memory()
    region = memory.alloc(8, "value", data=b"old")
    memory.retire(region)
    assert memory.read_bytes(region.base, 3) == b"old"
    memory.release_retired()
    with pytest.raises(MemoryFault):
        memory.load8(region.base)


def test_handles_take_every_access_themselves() -> None:
    memory = Memory()
    stored = []
    handle = memory.alloc_handle(
        "ctx", None, lambda offset, size: offset * 100 + size, lambda *args: stored.append(args)
    )
    assert memory.load32(handle.base + 4) == 404
    memory.store16(handle.base + 6, 0x12345)
    assert stored == [(6, 2, 0x2345)]
    with pytest.raises(MemoryFault, match="not memory"):
        memory.load8(memory.alloc_handle("map m").base)


def test_strings_end_at_nul() -> None:
    memory = Memory()
    base = memory.alloc(8, "text", data=b"ab\0cd\0ef").base
    assert memory.read_cstring(base + 3, 8) == b"cd"
    with pytest.raises(MemoryFault):
        memory.read_cstring(base + 6, 8)
    with pytest.raises(MemoryFault):
        memory.read_cstring(base, 2)


def test_addresses_are_described_for_people() -> None:
    memory = Memory()
    base = memory.alloc(8, "stack").base
    assert memory.describe(base + 4) == "stack+4"
    assert memory.describe(base - 16) == "stack-16"
    assert memory.describe(24) == "NULL+24"
    assert memory.describe(1 << 60) == hex(1 << 60)
