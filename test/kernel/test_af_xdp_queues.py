"""The C of the AF_XDP backend with several queues and threads, and when it dies, or cannot begin."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from af_xdp_helpers import c_source, xdp

from fsir.backends.af_xdp.emit import emit
from fsir.backends.af_xdp.inprocess import CompilerError, compiler
from fsir.backends.af_xdp.live import LiveError, Running, build
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.kernel import contents, syscalls
from fsir.kernel.engine import KernelProgram
from fsir.kernel.interfaces import Interface, Namespace, ip, veth_pair
from fsir.kernel.live import Capture, attached, send
from fsir.kernel.uapi import MapType
from fsir.object.importer import import_object
from fsir.run.live_pins import PinFolder

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

CompileC = Callable[..., bytes]
Wire = tuple[Interface, Interface]

QUEUES = 4
COUNT = 2000
SLICE = 64
KIND = 42
"""Where the payload of UDP over IPv4 begins: its first byte is the verdict."""

MAPS = """
map.decl @queues "array" key 4 value 8 entries 8 flags 0
map.decl @sum "hash" key 4 value 16 entries 8 flags 0
map.decl @each "percpu_array" key 4 value 8 entries 1 flags 0
"""

COUNTING = """
  %base = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i8
  %zero = arith.constant 0 : i32
  %one = arith.constant 1 : i64
  %ok = packet.guard %base[47], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^queue, ^end(%pass : i8)
^queue:
  %queue = packet.ctx_load %ctx[16] {field = "rx_queue_index"} : !packet.ctx -> i32
  %packets = map.lookup @queues(%queue) : i32 -> !map.value<@queues>
  %known = map.hit %packets : !map.value<@queues> -> i1
  cf.cond_br %known, ^count, ^end(%pass : i8)
^count:
  map.atomic "add" %packets[0], %one : !map.value<@queues>, i64
  %sum = map.lookup @sum(%zero) : i32 -> !map.value<@sum>
  %there = map.hit %sum : !map.value<@sum> -> i1
  cf.cond_br %there, ^add, ^each
^add:
  %before = map.load %sum[0] : !map.value<@sum> -> i64
  %number = packet.load %base[43] : !packet.ptr -> i32
  %wide = arith.extui %number : i32 to i64
  %after = arith.addi %before, %wide : i64
  map.store %sum[0], %after : !map.value<@sum>, i64
  map.atomic "add" %sum[8], %one : !map.value<@sum>, i64
  cf.br ^each
^each:
  %mine = map.lookup @each(%zero) : i32 -> !map.value<@each>
  %always = map.hit %mine : !map.value<@each> -> i1
  cf.cond_br %always, ^more, ^end(%pass : i8)
^more:
  %n = map.load %mine[0] : !map.value<@each> -> i64
  %next = arith.addi %n, %one : i64
  map.store %mine[0], %next : !map.value<@each>, i64
  %kind = packet.load %base[42] : !packet.ptr -> i8
  cf.br ^end(%kind : i8)
^end(%verdict: i8):
  packet.verdict %verdict : i8
"""
"""Counts in a mapped array, and in values that are copied and written back: all must be exact with any number of
threads."""


def frame(flow: int, number: int, kind: int) -> bytes:
    udp = struct.pack("!HHHH", 1024 + flow, 9, 8 + 24, 0) + bytes([kind]) + struct.pack("<I", number) + bytes(19)
    ip_header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0) + bytes(
        [10, 0, 0, 1, 10, 0, 0, 2]
    )
    return bytes.fromhex("020000000001 020000000002 0800") + ip_header + udp


def flow_of(packet: bytes) -> bytes:
    return packet[34:36]


def by_flow(packets: list[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for packet in packets:
        found.setdefault(flow_of(packet), []).append(packet)
    return found


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = c_source(xdp(COUNTING, MAPS)).encode()
    return build(source, tmp_path_factory.mktemp("counting") / "af_xdp", "-Wall", "-Wextra", "-Werror")


@pytest.fixture
def wide() -> Iterator[Wire]:
    """A veth pair with several queues."""
    with Namespace() as near, Namespace() as far:
        yield veth_pair(near, "near", far, "far", queues=QUEUES)


@pytest.fixture
def pins() -> Iterator[Path]:
    with PinFolder() as folder:
        yield folder.path


def program_on(end: Interface) -> bool:
    with end.namespace.entered():
        return "prog/xdp" in ip("link", "show", end.name)


def words(pins: Path, name: str) -> list[list[int]]:
    """The values of a map in 64-bit words; those of all CPUs added up."""
    fd = syscalls.obj_get(pins / name)
    entries = contents.read_map(fd, contents.shape_of(fd, name), contents.World())
    found = []
    for entry in entries:
        values = [bytes.fromhex(v) for v in (entry["values"] if "values" in entry else [entry["value"]])]
        found.append(
            [sum(column) for column in zip(*(struct.unpack(f"<{len(v) // 8}Q", v) for v in values), strict=True)]
        )
    return found


@pytest.mark.parametrize(
    "options", [("--queues", "all"), ("--queues", str(QUEUES), "--copy", "--busy-poll", "20")], ids=["all", "busy-poll"]
)
def test_a_thread_for_each_queue(counting: Path, wide: Wire, pins: Path, options: tuple[str, ...]) -> None:
    """Every packet is counted once, whichever thread has it; flows stay in order."""
    near, far = wide
    sent = [frame(number % 50, number, 2 + number // 50 % 2) for number in range(COUNT)]
    entry = [{"key": "00000000", "value": bytes(16).hex()}]
    syscalls.obj_pin(sums := syscalls.map_create(MapType.HASH, 4, 16, 8), pins / "sum")
    contents.write_map(sums, contents.shape_of(sums, "sum"), entry, contents.World())
    with (
        Running(counting, far, *options, "--pin", pins) as part,
        Capture(far) as up,
        Capture(near) as back,
    ):
        assert len([line for line in part.log if "queue" in line]) == QUEUES
        for start in range(0, COUNT, SLICE):
            slice_ = sent[start : start + SLICE]
            send(near, slice_)
            for capture, kind in ((up, 2), (back, 3)):
                expected = [packet for packet in slice_ if packet[KIND] == kind]
                assert by_flow(capture.take(len(expected))) == by_flow(expected)
        part.process.send_signal(signal.SIGTERM)
        queues, sum_, each = (words(pins, name) for name in ("queues", "sum", "each"))
        counters = part.stop()
    assert {name: n for name, n in counters.items() if n} == {
        "received": COUNT,
        "passed": COUNT // 2,
        "transmitted": COUNT // 2,
    }
    used = [packets for (packets,) in queues if packets]
    assert len(used) > 1 and sum(used) == COUNT
    assert sum_ == [[COUNT * (COUNT - 1) // 2, COUNT]]
    assert each == [[COUNT]]
    assert not program_on(far)


@pytest.mark.parametrize("kernel_part", [False, True], ids=["alone", "kernel-part"])
def test_several_interfaces(kernel_part: bool, counting: Path, compile_c: CompileC, tmp_path: Path, pins: Path) -> None:
    """One process for all of them, with one set of maps; what is sent back leaves where it came from."""
    arguments: list[str | Path] = []
    if kernel_part:
        (tmp_path / "xdp.o").write_bytes(compile_c(KERNEL, "-DFALLBACK=XDP_ABORTED"))
        arguments = ["-o", tmp_path / "xdp.o"]
    with Namespace() as outside, Namespace() as inside:
        pairs = [veth_pair(outside, f"near{n}", inside, f"far{n}") for n in range(2)]
        near, far = zip(*pairs, strict=True)
        sent = [frame(number % 50, number, 2 + number % 2) for number in range(200)]
        with (
            Running(counting, far[0], "-i", far[1].name, "--pin", pins, *arguments) as part,
            Capture(far[0]) as up0,
            Capture(far[1]) as up1,
            Capture(near[0]) as back0,
            Capture(near[1]) as back1,
        ):
            for start in range(0, 200, SLICE):
                slice_ = sent[start : start + SLICE]
                for sender, up, back in ((near[0], up0, back0), (near[1], up1, back1)):
                    send(sender, slice_)
                    for capture, kind in ((up, 2), (back, 3)):
                        expected = [packet for packet in slice_ if packet[KIND] == kind]
                        assert capture.take(len(expected)) == expected
            counters = part.stop()
            assert not any(capture.pending() for capture in (up0, up1, back0, back1))
        assert (counters["received"], counters["passed"], counters["transmitted"]) == (400, 200, 200)
        assert not any(program_on(end) for end in far)


LIMIT = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); }
    flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
    seen SEC(".maps");
SEC("xdp") int limit(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u64 one = 1, *count;
    __u32 zero = 0, key;
    if (data + 47 > end) return XDP_DROP;
    count = bpf_map_lookup_elem(&seen, &zero);
    if (count) __sync_fetch_and_add(count, 1);
    key = *(__u32 *)(data + 43);
    count = bpf_map_lookup_elem(&flows, &key);
    if (!count) return bpf_map_update_elem(&flows, &key, &one, BPF_NOEXIST) ? XDP_TX : XDP_PASS;
    *count += 1;
    if (*count <= 3) return XDP_PASS;
    bpf_map_delete_elem(&flows, &key);
    return XDP_DROP;
}
"""
"""A hash that fills up, whose elements change and go."""


def test_hashes_in_memory(compile_c: CompileC, tmp_path: Path, wire: Wire) -> None:
    near, far = wire
    module = import_object(compile_c(LIMIT), "limit.o")
    run_pipeline(make_context(), module, "raise")
    reference = InterpProgram(module)
    rng = random.Random(7)
    sent = [frame(0, rng.choice((*range(6), *range(2**32 - 8, 2**32))), 0) for _ in range(600)]
    verdicts = [reference.run(packet, ifindex=far.ifindex).verdict for packet in sent]
    assert {1, 2, 3} == set(verdicts)
    binary = build(emit(module)["af_xdp.c"], tmp_path / "af_xdp", "-Wall", "-Wextra", "-Werror")
    with Running(binary, far, "--in-memory", "flows") as part, Capture(far) as up, Capture(near) as back:
        for start in range(0, len(sent), SLICE):
            both = list(zip(sent[start : start + SLICE], verdicts[start : start + SLICE], strict=True))
            send(near, [packet for packet, _ in both])
            for capture, verdict in ((up, 2), (back, 3)):
                expected = [packet for packet, found in both if found == verdict]
                assert capture.take(len(expected)) == expected
        assert part.stop()["dropped"] == verdicts.count(1)
    assert "--in-memory: only for hashes" in failure(binary, far, "--in-memory", "seen")
    assert "--in-memory: this part has no map what" in failure(binary, far, "--in-memory", "what")


KERNEL = """
struct { __uint(type, BPF_MAP_TYPE_XSKMAP); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); }
    sockets SEC(".maps");
SEC("xdp") int all(struct xdp_md *ctx) { return bpf_redirect_map(&sockets, ctx->rx_queue_index, FALLBACK); }
"""


def take(capture: Capture, count: int) -> list[bytes]:
    """Packets of kind 2; what is left of the load may come in between."""
    found: list[bytes] = []
    while len(found) < count and (packets := capture.take(1)):
        found += [packet for packet in packets if packet[KIND] == 2]
    return found


@pytest.mark.parametrize("fallback", ["PASS", "DROP"])
def test_the_kernel_part_goes_on_without_the_user_part(
    fallback: str, counting: Path, compile_c: CompileC, wide: Wire, pins: Path
) -> None:
    """Killed under load: every packet gets the fallback's verdict from then on, until the next one takes over."""
    near, far = wide
    sent = [frame(number % 50, number, 2) for number in range(SLICE)]
    with KernelProgram(compile_c(KERNEL, f"-DFALLBACK=XDP_{fallback}")) as kernel, attached(far, kernel.fd):
        syscalls.obj_pin(kernel.map_fd("sockets"), pins / "sockets")
        arguments = ("--sockets", pins / "sockets", "--queues", "all", "--pin", pins)
        with Running(counting, far, *arguments) as part:
            load = [frame(number % 50, number, 1) for number in range(20 * SLICE)]
            send(near, load)
            part.process.kill()
            part.process.wait()
        assert program_on(far)
        with Capture(far) as up:
            send(near, sent)
            expected = sent if fallback == "PASS" else []
            assert by_flow(take(up, len(expected))) == by_flow(expected)
        with Running(counting, far, *arguments) as part, Capture(far) as up:
            send(near, sent)
            assert by_flow(take(up, SLICE)) == by_flow(sent)
            part.stop()
    assert not program_on(far)


def failure(binary: Path, end: Interface, *arguments: str | Path) -> str:
    with pytest.raises(LiveError) as caught:
        Running(binary, end, *arguments)
    assert not program_on(end)
    return str(caught.value)


def test_an_interface_that_is_down(counting: Path, wide: Wire) -> None:
    with wide[1].namespace.entered():
        ip("link", "set", "far", "down")
    assert "the interface far is down: ip link set dev far up" in failure(counting, wide[1])


def test_queues_that_are_not_there(counting: Path, wide: Wire) -> None:
    assert "queue 4: Invalid argument (is there such a queue?)" in failure(counting, wide[1], "--queues", "5")
    assert "far has 4 receive queues; there is no queue 4" in failure(
        counting, wide[1], "--queues", "all", "--queue", "4"
    )
    assert "--queues: at least one, or all" in failure(counting, wide[1], "--queues", "0")


def test_a_mode_that_the_driver_does_not_have(counting: Path, wide: Wire) -> None:
    assert "leave out --zero-copy" in failure(counting, wide[1], "--zero-copy")


def test_an_interface_that_does_not_exist(counting: Path, wide: Wire) -> None:
    assert failure(counting, wide[1], "-i", "other") == "af_xdp: error: there is no interface other"
    assert failure(counting, wide[1], "-i", "far") == "af_xdp: error: the interface far is named twice"


def test_without_permission(counting: Path, wide: Wire) -> None:
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", str(counting), "-i", "far"]
    with wide[1].namespace.entered():
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == "af_xdp: error: no permission: run as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF\n"
    assert done.returncode == 1
    assert not program_on(wide[1])


def test_an_interface_that_goes(counting: Path, pins: Path) -> None:
    """The program says so, and ends: nobody would wake it up again."""
    with Namespace() as near, Namespace() as far:
        _, end = veth_pair(near, "near", far, "far", queues=2)
        with Running(counting, end, "--pin", pins, "--queues", "2") as part:
            with far.entered():
                ip("link", "del", "far")
            part.process.wait(10)
            with pytest.raises(LiveError, match="af_xdp: error: the interface far has gone"):
                part.stop()
    assert list(pins.iterdir()) == []


def test_the_libraries_are_missing(tmp_path: Path) -> None:
    source = c_source(xdp(COUNTING, MAPS)).replace("xdp/xsk.h", "xdp/not-installed.h").encode()
    with pytest.raises(CompilerError, match="libxdp or libbpf is missing: install their headers"):
        build(source, tmp_path / "af_xdp")


UNGUARDED = """
  %base = packet.data %ctx : !packet.ctx -> !packet.ptr
  %far = packet.load %base[99] : !packet.ptr -> i8
  %zero = arith.constant 0 : i32
  %one = arith.constant 1 : i64
  %packets = map.lookup @queues(%zero) : i32 -> !map.value<@queues>
  map.atomic "add" %packets[0], %one : !map.value<@queues>, i64
  %value = map.lookup @sum(%zero) : i32 -> !map.value<@sum>
  map.store %value[8], %one : !map.value<@sum>, i64
  packet.verdict %far : i8
"""
"""Reads behind the end of short packets, and writes to an element of a hash that may not be there."""


def test_violations_are_dropped_and_counted(tmp_path: Path, wide: Wire, pins: Path) -> None:
    """In every thread; the next packets are processed as if nothing had been, also where maps were held."""
    near, far = wide
    binary = build(c_source(xdp(UNGUARDED, MAPS)).encode(), tmp_path / "af_xdp")
    long = [frame(flow, 2, 2) + bytes(33) + b"\2" for flow in range(40)]
    both = [packet for whole in long for packet in (whole, whole[:-1])]
    with Running(binary, far, "--queues", "all") as part, Capture(far) as up:
        send(near, both)
        assert {name: n for name, n in part.stop().items() if n} == {"received": 80, "violations": 80}
        assert up.pending() == []
    syscalls.obj_pin(sums := syscalls.map_create(MapType.HASH, 4, 16, 8), pins / "sum")
    syscalls.map_update(sums, bytes(4), bytes(16))
    with Running(binary, far, "--queues", "all", "--pin", pins) as part, Capture(far) as up:
        send(near, both)
        assert by_flow(up.take(40)) == by_flow(long)
        counters = part.stop()
        assert up.pending() == []
    assert {name: n for name, n in counters.items() if n} == {"received": 80, "passed": 40, "violations": 40}
    assert words(pins, "sum") == [[0, 1]]
