"""bpf(2) as `fsir.kernel.syscalls` wraps it: asking the verifier, maps, pinning."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsir.kernel import syscalls
from fsir.kernel.errors import KernelError
from fsir.kernel.libbpf import Object
from fsir.kernel.tiny import insn, verdict_program
from fsir.kernel.uapi import MapType, ProgType, UpdateFlag, XdpVerdict

EXIT = insn(0x95)
LOOKUP = (
    insn(0x62, 10, off=-4)  # *(u32 *)(r10 - 4) = 0
    + insn(0xBF, 2, 10)
    + insn(0x07, 2, imm=-4)
    + insn(0x18, 1)  # r1 = map
    + insn(0x00)
    + insn(0x85, imm=1)  # bpf_map_lookup_elem
)
MAP_INSN = 3


@pytest.fixture
def array() -> Iterator[int]:
    fd = syscalls.map_create(MapType.ARRAY, 4, 8, 3, name="three")
    yield fd
    os.close(fd)


def test_verifier_accepts_and_refuses() -> None:
    table = syscalls.map_create(MapType.HASH, 4, 8, 3)
    unchecked = LOOKUP + insn(0x79, 0, 0) + EXIT
    checked = LOOKUP + insn(0x15, 0, off=1) + insn(0x79, 0, 0) + EXIT
    assert syscalls.verify(checked, maps={MAP_INSN: table})[0]
    accepted, log = syscalls.verify(unchecked, maps={MAP_INSN: table})
    os.close(table)
    assert not accepted and "map_value_or_null" in log
    accepted, log = syscalls.verify(verdict_program(XdpVerdict.PASS)[:8])
    assert not accepted and "last insn is not an exit" in log


def test_licence_and_type_matter() -> None:
    trace = insn(0x7A, 10, off=-8) + insn(0xBF, 1, 10) + insn(0x07, 1, imm=-8) + insn(0xB7, 2, imm=8)
    trace += insn(0x85, imm=6) + insn(0xB7, 0) + EXIT  # bpf_trace_printk, GPL only
    assert syscalls.verify(trace)[0]
    assert not syscalls.verify(trace, license="Apache-2.0")[0]
    redirect = verdict_program(XdpVerdict.REDIRECT, 1)
    assert syscalls.verify(redirect, ProgType.XDP)[0]
    assert not syscalls.verify(redirect, ProgType.SOCKET_FILTER)[0]


def test_only_a_64_bit_load_can_name_a_map(array: int) -> None:
    with pytest.raises(ValueError, match="instruction 0"):
        syscalls.verify(LOOKUP + EXIT, maps={0: array})


def test_map_operations(array: int) -> None:
    key, value = (1).to_bytes(4, "little"), bytes(range(8))
    syscalls.map_update(array, key, value)
    assert syscalls.map_lookup(array, key, 8) == value
    assert syscalls.map_lookup(array, bytes([3, 0, 0, 0]), 8) is None
    assert [k[0] for k in syscalls.map_keys(array, 4)] == [0, 1, 2]
    with pytest.raises(KernelError, match="File exists"):
        syscalls.map_update(array, key, value, UpdateFlag.NOEXIST)
    with pytest.raises(KernelError):
        syscalls.map_delete(array, key)


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.LRU_HASH, MapType.ARRAY, MapType.PERCPU_HASH])
def test_large_maps_come_back_whole(kind: MapType) -> None:
    """More entries than one batch holds."""
    count, size = 10_000, syscalls.value_bytes(kind, 8)
    fd = syscalls.map_create(kind, 4, 8, 2 * count if kind == MapType.LRU_HASH else count)
    wanted = [(i.to_bytes(4, "little"), bytes([i % 251]) * size) for i in range(count)]
    syscalls.map_update_batch(fd, wanted)
    assert sorted(syscalls.map_entries(fd, 4, size, count)) == sorted(wanted)
    assert syscalls.map_delete(fd, wanted[0][0]) if kind != MapType.ARRAY else True
    os.close(fd)


def test_a_wrong_entry_of_a_batch_is_named(array: int) -> None:
    entries = [(i.to_bytes(4, "little"), bytes(8)) for i in (0, 1, 7)]
    with pytest.raises(KernelError, match="key 07000000"):
        syscalls.map_update_batch(array, entries)


def test_facts(array: int) -> None:
    fd, _ = syscalls.prog_load(verdict_program(XdpVerdict.DROP), name="dropper")
    facts = syscalls.prog_facts(fd)
    assert (facts.name, facts.type, facts.xlated_insns, facts.verified_insns) == ("dropper", ProgType.XDP, 2, 2)
    info = syscalls.map_facts(array)
    assert (info.name, info.type, info.key_size, info.value_size, info.max_entries) == (b"three", 2, 4, 8, 3)
    os.close(fd)


def test_pinning(array: int, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "bpf", "bpf", str(tmp_path)], check=True)
    try:
        with pytest.raises(KernelError, match="cannot open the pinned object"):
            syscalls.obj_get(tmp_path / "absent")
        syscalls.obj_pin(array, tmp_path / "map")
        again = syscalls.obj_get(tmp_path / "map")
        assert syscalls.map_facts(again).id == syscalls.map_facts(array).id
        os.close(again)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_libbpf_explains_what_it_cannot_open() -> None:
    with pytest.raises(KernelError, match="cannot open the object"):
        Object(b"not an ELF file")


def test_messages_of_libbpf_are_captured(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KernelError, match="libbpf: "):
        Object(b"\x7fELF" + bytes(60))
    assert capfd.readouterr() == ("", "")
