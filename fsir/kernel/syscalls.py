"""bpf(2) itself: maps, test runs, and asking the verifier about a program.

File descriptors are plain `int`s that the caller closes (`os.close`). Keys, values and instructions are
`bytes` in memory order. A refusal raises `KernelError`; "no such entry" is `None` or `False`, not an error.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from errno import EAGAIN, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP
from functools import cache
from pathlib import Path

from fsir.kernel.errors import ENOTSUPP, KernelError, KernelUnavailable
from fsir.kernel.uapi import (
    PER_CPU,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    TEST_XDP_LIVE_FRAMES,
    Cmd,
    IdAttr,
    InfoAttr,
    LinkCreateAttr,
    MapBatchAttr,
    MapCreateAttr,
    MapElemAttr,
    MapInfo,
    MapType,
    ObjAttr,
    ProgInfo,
    ProgLoadAttr,
    ProgType,
    SkBuff,
    StatsAttr,
    TestRunAttr,
    UpdateFlag,
    XdpMd,
)

SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
NOT_SUPPORTED = frozenset({EINVAL, EOPNOTSUPP, ENOTSUPP})


@cache
def _syscall() -> tuple[ctypes._NamedFuncPointer, int]:
    number = SYS_BPF.get(platform.machine())
    if number is None:
        raise KernelUnavailable(f"the number of bpf(2) on {platform.machine()} is not known; add it to SYS_BPF")
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function, number


def bpf(cmd: Cmd, attr: ctypes.Structure) -> tuple[int, int]:
    """One bpf(2) call: (result, 0) or (-1, errno)."""
    function, number = _syscall()
    result = function(number, int(cmd), ctypes.byref(attr), ctypes.sizeof(attr))
    return (result, 0) if result >= 0 else (-1, ctypes.get_errno())


def _must(what: str, cmd: Cmd, attr: ctypes.Structure) -> int:
    result, errno = bpf(cmd, attr)
    if errno:
        raise KernelError(what, errno)
    return result


def _address(buffer: ctypes.Array[ctypes.c_char] | ctypes.Structure | None) -> int:
    return 0 if buffer is None else ctypes.addressof(buffer)


@cache
def possible_cpus() -> int:
    """The number of values in each per-CPU map entry."""
    count = 0
    for part in Path("/sys/devices/system/cpu/possible").read_text().strip().split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


# Maps


def map_create(
    map_type: MapType,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    flags: int = 0,
    inner_fd: int = 0,
    name: str = "",
) -> int:
    attr = MapCreateAttr(
        map_type=map_type,
        key_size=key_size,
        value_size=value_size,
        max_entries=max_entries,
        map_flags=flags,
        inner_map_fd=inner_fd,
        map_name=name.encode()[:15],
    )
    return _must(f"cannot create a map of type {map_type.name}", Cmd.MAP_CREATE, attr)


def _element(fd: int, key: bytes | None, value: ctypes.Array[ctypes.c_char] | None, flags: int = 0) -> MapElemAttr:
    attr = MapElemAttr(map_fd=fd, value=_address(value), flags=flags)
    if key is not None:
        buffer = ctypes.create_string_buffer(key, len(key))
        attr.key = ctypes.addressof(buffer)
        attr.owner = buffer  # keeps the key alive as long as the attribute that points to it
    return attr


def map_lookup(fd: int, key: bytes, value_bytes: int, *, pop: bool = False) -> bytes | None:
    """The value at `key`, or None. For a per-CPU map `value_bytes` counts all CPUs' values."""
    value = ctypes.create_string_buffer(value_bytes)
    cmd = Cmd.MAP_LOOKUP_AND_DELETE_ELEM if pop else Cmd.MAP_LOOKUP_ELEM
    _, errno = bpf(cmd, _element(fd, key if key else None, value))
    if errno == ENOENT:
        return None
    if errno:
        raise KernelError("cannot look up a map element", errno)
    return value.raw


def map_update(fd: int, key: bytes, value: bytes, flags: int = UpdateFlag.ANY) -> None:
    """Store `value`; an empty `key` pushes onto a queue or stack."""
    buffer = ctypes.create_string_buffer(value, len(value))
    _must(
        f"cannot update the map element with key {key.hex()}",
        Cmd.MAP_UPDATE_ELEM,
        _element(fd, key if key else None, buffer, flags),
    )


def map_delete(fd: int, key: bytes) -> bool:
    """Remove `key`; False if it was not there."""
    _, errno = bpf(Cmd.MAP_DELETE_ELEM, _element(fd, key, None))
    if errno and errno != ENOENT:
        raise KernelError(f"cannot delete the map element with key {key.hex()}", errno)
    return errno == 0


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    following = ctypes.create_string_buffer(key_size)
    _, errno = bpf(Cmd.MAP_GET_NEXT_KEY, _element(fd, key, following))
    if errno == ENOENT:
        return None
    if errno:
        raise KernelError("cannot step through the map's keys", errno)
    return following.raw


def map_keys(fd: int, key_size: int) -> Iterator[bytes]:
    """All keys, in the kernel's order; not atomic against concurrent updates."""
    key = map_next_key(fd, None, key_size)
    while key is not None:
        yield key
        key = map_next_key(fd, key, key_size)


def map_lookup_batch(fd: int, key_size: int, value_bytes: int, room: int) -> list[tuple[bytes, bytes]] | None:
    """All entries by batched look-ups of up to `room` entries, or None where this map type has no batches."""
    keys = ctypes.create_string_buffer(room * key_size)
    values = ctypes.create_string_buffer(room * value_bytes)
    cursor = ctypes.create_string_buffer(max(key_size, 8))
    entries: list[tuple[bytes, bytes]] = []
    attr = MapBatchAttr(map_fd=fd, keys=_address(keys), values=_address(values), out_batch=_address(cursor))
    while True:
        attr.count = room
        _, errno = bpf(Cmd.MAP_LOOKUP_BATCH, attr)
        if errno in NOT_SUPPORTED or errno == ENOSPC:
            return None
        if errno not in (0, ENOENT):
            raise KernelError("cannot read the map", errno)
        key_bytes = ctypes.string_at(keys, attr.count * key_size)
        all_values = ctypes.string_at(values, attr.count * value_bytes)
        for i in range(attr.count):
            key = key_bytes[i * key_size : (i + 1) * key_size]
            entries.append((key, all_values[i * value_bytes : (i + 1) * value_bytes]))
        if errno == ENOENT:
            return entries
        attr.in_batch = _address(cursor)


def map_entries(fd: int, key_size: int, value_bytes: int, max_entries: int) -> list[tuple[bytes, bytes]]:
    """All entries of a map with keys, as (key, value) in the kernel's order."""
    entries = map_lookup_batch(fd, key_size, value_bytes, max(1, min(max_entries, 4096)))
    if entries is not None:
        return entries
    found = ((key, map_lookup(fd, key, value_bytes)) for key in map_keys(fd, key_size))
    return [(key, value) for key, value in found if value is not None]


def map_update_batch(fd: int, entries: list[tuple[bytes, bytes]]) -> None:
    """Store all of `entries`, in few calls where the map type has batches."""
    if len(entries) > 1:
        keys = b"".join(key for key, _ in entries)
        values = b"".join(value for _, value in entries)
        key_buffer = ctypes.create_string_buffer(keys, len(keys))
        value_buffer = ctypes.create_string_buffer(values, len(values))
        attr = MapBatchAttr(map_fd=fd, keys=_address(key_buffer), values=_address(value_buffer), count=len(entries))
        _, errno = bpf(Cmd.MAP_UPDATE_BATCH, attr)
        if errno == 0:
            return
    for key, value in entries:  # also after a refused batch: one by one says which entry it was
        map_update(fd, key, value)


# Programs

LOG_BYTES = 1 << 24


def prog_load(
    insns: bytes,
    prog_type: ProgType = ProgType.XDP,
    *,
    maps: Mapping[int, int] | None = None,
    license: str = "GPL",
    attach_type: int = 0,
    flags: int = 0,
    name: str = "",
    log_level: int = 0,
) -> tuple[int, str]:
    """Load raw instructions: (file descriptor, verifier log). A refusal raises `KernelError` with the log.

    `maps` gives, for the index of a 64-bit immediate load, the descriptor of the map that it names; a source
    register of 0 in that instruction is turned into the map reference, a map value reference (2) is kept.
    """
    code = bytearray(insns)
    for index, fd in (maps or {}).items():
        at = index * 8
        source = code[at + 1] >> 4 or PSEUDO_MAP_FD
        if code[at] != 0x18 or source not in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            raise ValueError(f"instruction {index} is not a 64-bit immediate load that could name a map")
        code[at + 1] = (code[at + 1] & 0x0F) | source << 4
        code[at + 4 : at + 8] = fd.to_bytes(4, "little")
    text = ctypes.create_string_buffer(bytes(code), len(code))
    licence = ctypes.create_string_buffer(license.encode())
    attr = ProgLoadAttr(
        prog_type=prog_type,
        insn_cnt=len(code) // 8,
        insns=_address(text),
        license=_address(licence),
        prog_flags=flags,
        prog_name=name.encode()[:15],
        expected_attach_type=attach_type,
    )
    fd, errno, log = _load(attr, log_level)
    if errno and log_level == 0:
        fd, errno, log = _load(attr, 1)
    if errno:
        raise KernelError("the kernel refuses the program", errno, log)
    return fd, log


def _load(attr: ProgLoadAttr, log_level: int) -> tuple[int, int, str]:
    buffer = ctypes.create_string_buffer(LOG_BYTES) if log_level else None
    attr.log_level, attr.log_buf, attr.log_size = log_level, _address(buffer), LOG_BYTES if buffer else 0
    fd, errno = -1, EAGAIN
    for _ in range(5):  # EAGAIN: a signal interrupted the verifier
        fd, errno = bpf(Cmd.PROG_LOAD, attr)
        if errno != EAGAIN:
            break
    return fd, errno, buffer.value.decode(errors="replace") if buffer else ""


def verify(
    insns: bytes,
    prog_type: ProgType = ProgType.XDP,
    *,
    maps: Mapping[int, int] | None = None,
    license: str = "GPL",
    attach_type: int = 0,
    flags: int = 0,
) -> tuple[bool, str]:
    """Does the verifier accept these instructions? With its log (level 1) either way."""
    try:
        fd, log = prog_load(
            insns, prog_type, maps=maps, license=license, attach_type=attach_type, flags=flags, log_level=1
        )
    except KernelError as refused:
        return False, refused.log or str(refused)
    os.close(fd)
    return True, log


OUT_BYTES = 1 << 18


class TestRun:
    """`BPF_PROG_TEST_RUN` of one program, with its buffers kept between packets.

    `ctx` is read before and `ctx_out` written by each run: an `XdpMd` or `SkBuff` (or None for no context).
    After a run, `duration` is nanoseconds per repetition.
    """

    __test__ = False

    def __init__(self, prog_fd: int, ctx: XdpMd | SkBuff | None, *, flags: int = 0) -> None:
        self.ctx = ctx
        self.ctx_out = None if ctx is None else type(ctx)()
        self._out = ctypes.create_string_buffer(OUT_BYTES)
        self._attr = TestRunAttr(prog_fd=prog_fd, flags=flags)
        if ctx is not None and self.ctx_out is not None:
            self._attr.ctx_size_in = ctypes.sizeof(ctx)
            self._attr.ctx_in = ctypes.addressof(ctx)
            self._attr.ctx_out = ctypes.addressof(self.ctx_out)

    def __call__(self, data: bytes, repeat: int = 1) -> tuple[int, bytes]:
        """Run on `data` (metadata first, as `ctx` says): (return value, data afterwards, metadata first)."""
        attr = self._attr
        source = ctypes.create_string_buffer(data, len(data))
        attr.data_in, attr.data_size_in = ctypes.addressof(source), len(data)
        attr.data_out, attr.data_size_out = ctypes.addressof(self._out), OUT_BYTES
        attr.ctx_size_out, attr.repeat = attr.ctx_size_in, repeat
        _, errno = bpf(Cmd.PROG_TEST_RUN, attr)
        if errno:
            raise KernelError(f"the kernel cannot run the program on a frame of {len(data)} bytes", errno)
        return attr.retval, ctypes.string_at(self._out, attr.data_size_out)

    @property
    def duration(self) -> int:
        duration: int = self._attr.duration
        return duration


def inject(prog_fd: int, data: bytes, ctx: XdpMd, *, repeat: int = 1, batch: int = 0) -> None:
    """Run with live frames: each of `repeat` copies of `data` really goes where the verdict sends it."""
    source = ctypes.create_string_buffer(data, len(data))
    attr = TestRunAttr(
        prog_fd=prog_fd,
        data_in=ctypes.addressof(source),
        data_size_in=len(data),
        ctx_in=ctypes.addressof(ctx),
        ctx_size_in=ctypes.sizeof(ctx),
        repeat=repeat,
        flags=TEST_XDP_LIVE_FRAMES,
        batch_size=batch,
    )
    _must(f"cannot inject a frame of {len(data)} bytes", Cmd.PROG_TEST_RUN, attr)


# Programs and maps as kernel objects


@dataclass(frozen=True)
class ProgramFacts:
    """What the kernel made of a program."""

    id: int
    name: str
    type: ProgType
    jited_bytes: int
    xlated_insns: int  # after the verifier's rewriting
    verified_insns: int  # how many instructions the verifier walked
    tag: bytes
    runs: int  # while `count_runs` was in force
    run_ns: int


def prog_facts(fd: int) -> ProgramFacts:
    info = ProgInfo()
    _info(fd, info)
    return ProgramFacts(
        info.id,
        info.name.decode(),
        ProgType(info.type),
        info.jited_prog_len,
        info.xlated_prog_len // 8,
        info.verified_insns,
        bytes(info.tag),
        info.run_cnt,
        info.run_time_ns,
    )


def count_runs() -> int:
    """Have the kernel count and time the runs of all programs as long as the descriptor is open."""
    return _must("cannot have the runs of programs counted", Cmd.ENABLE_STATS, StatsAttr())


def link_xdp(prog_fd: int, ifindex: int, flags: int) -> int:
    """Attach an XDP program to an interface of this thread's namespace as long as the descriptor is open. `flags` are
    those of `bpf_xdp_attach`."""
    xdp = 37
    attr = LinkCreateAttr(prog_fd=prog_fd, target=ifindex, attach_type=xdp, flags=flags)
    return _must("cannot attach the program", Cmd.LINK_CREATE, attr)


def map_facts(fd: int) -> MapInfo:
    info = MapInfo()
    _info(fd, info)
    return info


def _info(fd: int, info: ctypes.Structure) -> None:
    attr = InfoAttr(bpf_fd=fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
    _must("cannot ask for information about a program or map", Cmd.OBJ_GET_INFO_BY_FD, attr)


def map_by_id(map_id: int) -> int:
    return _must(f"cannot open the map with id {map_id}", Cmd.MAP_GET_FD_BY_ID, IdAttr(id=map_id))


def obj_pin(fd: int, path: Path) -> None:
    """Give a program or map a name in a bpffs."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _must(f"cannot pin to {path}", Cmd.OBJ_PIN, ObjAttr(pathname=_address(name), bpf_fd=fd))


def obj_get(path: Path) -> int:
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _must(f"cannot open the pinned object {path}", Cmd.OBJ_GET, ObjAttr(pathname=_address(name)))


def value_bytes(map_type: MapType, value_size: int) -> int:
    """The length of a value as bpf(2) exchanges it: in per-CPU maps every CPU's, each padded to 8 bytes."""
    return (value_size + 7) // 8 * 8 * possible_cpus() if map_type in PER_CPU else value_size
