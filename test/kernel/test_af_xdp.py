"""The C of the AF_XDP backend on a veth pair: what comes out, what is counted, what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import traffic
from af_xdp_helpers import c_source, parse, xdp
from xdsl.dialects.builtin import ModuleOp

from fsir.backends.af_xdp.emit import emit
from fsir.backends.af_xdp.inprocess import CompilerError, compiler
from fsir.backends.af_xdp.live import LiveError, Running, build
from fsir.backends.handoff import Layout
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.kernel import contents, syscalls
from fsir.kernel.engine import KernelProgram
from fsir.kernel.interfaces import Interface, Namespace, ip, veth_pair
from fsir.kernel.live import Capture, attached, send
from fsir.kernel.tiny import verdict_program
from fsir.kernel.uapi import MapType, XdpVerdict
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

CompileC = Callable[..., bytes]
Wire = tuple[Interface, Interface]

COUNT = 3000
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ADDRESSES = bytes.fromhex("020000000001 020000000002")
BPF_FS = Path("/sys/fs/bpf")
STATS = 'map.decl @stats "array" key 4 value 8 entries 4 flags 0\n'

SORTING = """
  %base = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %pass = arith.constant 2 : i32
  %ok = packet.guard %base[18], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %ok, ^fits, ^end(%pass : i32)
^fits:
  %kind = packet.load %base[14] : !packet.ptr -> i8
  %key = arith.extui %kind : i8 to i32
  %packets = map.lookup @stats(%key) : i32 -> !map.value<@stats>
  %hit = map.hit %packets : !map.value<@stats> -> i1
  cf.cond_br %hit, ^count, ^end(%pass : i32)
^count:
  %one = arith.constant 1 : i64
  map.atomic "add" %packets[0], %one : !map.value<@stats>, i64
  %tx = arith.constant 3 : i8
  %turn = arith.cmpi eq, %kind, %tx : i8
  cf.cond_br %turn, ^swap, ^end(%key : i32)
^swap:
  %to = packet.load %base[0] : !packet.ptr -> i48
  %from = packet.load %base[6] : !packet.ptr -> i48
  packet.store %base[0], %from : !packet.ptr, i48
  packet.store %base[6], %to : !packet.ptr, i48
  cf.br ^end(%key : i32)
^end(%verdict: i32):
  packet.verdict %verdict : i32
"""
"""The byte after the Ethernet header is the verdict; TX turns the addresses round."""


def frames(count: int = COUNT, kinds: int = 4) -> list[bytes]:
    """Frames of all kinds and lengths, each with its number."""
    header = ADDRESSES + bytes.fromhex("88b5")
    return [
        header + bytes([i % kinds]) + i.to_bytes(4, "big") + bytes([i & 255]) * (41 + i % 1400) for i in range(count)
    ]


def is_kind(*kinds: int) -> Callable[[bytes], bool]:
    return lambda frame: frame[14] in kinds


def unchanged(frame: bytes) -> bytes:
    return frame


def turned(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


Arrival = tuple[Capture, Callable[[bytes], bool], Callable[[bytes], bytes]]
SLICE = 64
"""Frames sent before their arrival is awaited: a veth holds 256."""


def exchange(near: Interface, sent: list[bytes], *arrivals: Arrival) -> None:
    """Send all frames; at each capture those that are `wanted` must arrive, in order, `changed` as it says."""
    for start in range(0, len(sent), SLICE):
        part = sent[start : start + SLICE]
        send(near, part)
        for capture, wanted, changed in arrivals:
            expected = [changed(frame) for frame in part if wanted(frame)]
            assert capture.take(len(expected)) == expected


def program_on(end: Interface) -> bool:
    """Whether an XDP program is on the interface."""
    with end.namespace.entered():
        return "prog/xdp" in ip("link", "show", end.name)


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = c_source(xdp(SORTING, STATS)).encode()
    return build(source, tmp_path_factory.mktemp("sorting") / "af_xdp", "-Wall", "-Wextra", "-Werror")


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    """A folder for pinned maps that does not exist yet."""
    if subprocess.run(["mountpoint", "-q", BPF_FS], check=False).returncode:
        pytest.skip(f"no BPF file system at {BPF_FS}")
    folder = BPF_FS / f"fs-test-{tmp_path.name}"
    yield folder
    for file in folder.iterdir() if folder.exists() else ():
        file.unlink()
    if folder.exists():
        folder.rmdir()


def fill(folder: Path, maps: dict[str, Any]) -> None:
    for name, entries in maps.items():
        fd = syscalls.obj_get(folder / name)
        contents.write_map(fd, contents.shape_of(fd, name), entries, contents.World())


def read(folder: Path, name: str) -> Any:
    fd = syscalls.obj_get(folder / name)
    return contents.read_map(fd, contents.shape_of(fd, name), contents.World())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", [(), ("--copy",)], ids=["default", "copy"])
def test_every_packet_goes_where_its_verdict_says(
    sorting: Path, wire: Wire, mode: tuple[str, ...], how: signal.Signals
) -> None:
    near, far = wire
    sent = frames()
    with Running(sorting, far, *mode) as part, Capture(far) as up, Capture(near) as back:
        assert program_on(far)
        exchange(near, sent, (up, is_kind(2), unchanged), (back, is_kind(3), turned))
        counters = part.stop(how)
        assert up.pending() == [] and back.pending() == []
    each = COUNT // 4
    expected = {"received": COUNT, "passed": each, "transmitted": each, "dropped": each, "aborted": each}
    assert {name: value for name, value in counters.items() if value} == expected
    assert not program_on(far)


def test_packets_cannot_be_passed_in_generic_mode(sorting: Path, wire: Wire) -> None:
    """The interface's own program would see them again, for ever: they are dropped, and counted."""
    near, far = wire
    with Running(sorting, far, "--skb-mode") as part, Capture(near) as back:
        exchange(near, frames(400), (back, is_kind(3), turned))
        counters = part.stop()
    assert (counters["received"], counters["passed"], counters["pass_errors"]) == (400, 0, 100)


def test_a_killed_program_leaves_nothing_attached(sorting: Path, wire: Wire) -> None:
    with Running(sorting, wire[1]) as part:
        part.process.kill()
        part.process.wait()
        assert not program_on(wire[1])


def test_packets_in_flight_at_the_end_are_finished(sorting: Path, wire: Wire) -> None:
    near, far = wire
    sent = [frame[:14] + b"\x02" + frame[15:] for frame in frames(200)]
    with Running(sorting, far) as part, Capture(far) as up:
        send(near, sent)
        counters = part.stop()
        assert counters["received"] > 0
        assert len(up.pending()) == counters["passed"] == counters["received"]


def test_maps_are_pinned_while_it_runs(sorting: Path, wire: Wire, pins: Path) -> None:
    near, far = wire
    sent = frames()
    with Running(sorting, far, "--pin", pins) as part, Capture(near) as back:
        fill(pins, {"stats": [{"key": "02000000", "value": (1000).to_bytes(8, "little").hex()}]})
        exchange(near, sent, (back, is_kind(3), turned))
        part.process.send_signal(signal.SIGINT)
        fd = syscalls.obj_get(pins / "stats")
        part.stop()
        found = contents.read_map(fd, contents.shape_of(fd, "stats"), contents.World())
    counts = [int.from_bytes(bytes.fromhex(entry["value"]), "little") for entry in found]
    assert counts == [750, 750, 1750, 750]
    assert list(pins.iterdir()) == []


def test_maps_that_are_pinned_already_are_used_and_kept(sorting: Path, wire: Wire, pins: Path) -> None:
    pins.mkdir()
    fd = syscalls.map_create(MapType.ARRAY, 4, 8, 4)
    syscalls.obj_pin(fd, pins / "stats")
    near, far = wire
    with Running(sorting, far, "--pin", pins) as part, Capture(near) as back:
        exchange(near, frames(400), (back, is_kind(3), turned))
        part.stop()
    assert [int.from_bytes(bytes.fromhex(entry["value"]), "little") for entry in read(pins, "stats")] == [100] * 4


def test_a_pinned_map_of_another_kind_is_refused(sorting: Path, wire: Wire, pins: Path) -> None:
    pins.mkdir()
    syscalls.obj_pin(syscalls.map_create(MapType.ARRAY, 4, 4, 4), pins / "stats")
    with pytest.raises(LiveError, match="stats is another map than stats"):
        Running(sorting, wire[1], "--pin", pins)
    assert not program_on(wire[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "/nowhere/xdp.o"), "cannot read /nowhere/xdp.o"),
        (("--queue", "x"), "--queue: 'x' is no number"),
        (("--queue", "7"), "cannot open an AF_XDP socket on far, queue 7"),
        (("what",), "'what' is not understood"),
        (("--pin", "/tmp"), "is it in a BPF file system"),
    ],
)
def test_wrong_use_is_explained(sorting: Path, wire: Wire, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(LiveError, match=message):
        Running(sorting, wire[1], *arguments)
    assert not program_on(wire[1])


def test_an_interface_that_has_a_program_is_left_alone(sorting: Path, wire: Wire) -> None:
    prog_fd, _ = syscalls.prog_load(verdict_program(XdpVerdict.PASS), name="other")
    with attached(wire[1], prog_fd):
        with pytest.raises(LiveError, match="cannot attach to far: another XDP program is there"):
            Running(sorting, wire[1])
        assert program_on(wire[1])
    os.close(prog_fd)


def test_one_program_for_each_queue(sorting: Path, wire: Wire) -> None:
    with (
        Running(sorting, wire[1]),
        pytest.raises(LiveError, match=r"far, queue 0: Device or resource busy .another socket is there"),
    ):
        Running(sorting, wire[1])


REDIRECTING = """
  %base = packet.data %ctx : !packet.ctx -> !packet.ptr
  %key = packet.load %base[14] : !packet.ptr -> i8
  %wide = arith.extui %key : i8 to i64
  %pass = arith.constant 2 : i64
  %ten = arith.constant 3 : i8
  %direct = arith.cmpi eq, %key, %ten : i8
  cf.cond_br %direct, ^device, ^map
^device:
  %ifindex = packet.load %base[19] : !packet.ptr -> i32
  %zero = arith.constant 0 : i64
  %d = ebpf.call 23(%ifindex, %zero) : i32, i64 -> i64
  packet.verdict %d : i64
^map:
  %m = map.redirect @ports[%wide] flags %pass : i64, i64 -> i64
  packet.verdict %m : i64
"""


def test_redirects_leave_through_the_interface_named(tmp_path: Path, wire: Wire, pins: Path) -> None:
    """Kind 1 has an entry in the device map, 0 and 2 have none and pass, 3 names the interface itself."""
    near, far = wire
    ports = 'map.decl @ports "devmap" key 4 value 4 entries 4 flags 0\n'
    binary = build(c_source(xdp(REDIRECTING, ports)).encode(), tmp_path / "af_xdp")
    with Namespace() as beyond:
        out, other = veth_pair(far.namespace, "out", beyond, "beyond")
        sent = [frame[:19] + out.ifindex.to_bytes(4, "little") + frame[23:] for frame in frames()]
        with Running(binary, far, "--pin", pins) as part, Capture(other) as through, Capture(far) as up:
            fd = syscalls.obj_get(pins / "ports")
            with far.namespace.entered():
                syscalls.map_update(fd, (1).to_bytes(4, "little"), out.ifindex.to_bytes(4, "little"))
            exchange(near, sent, (through, is_kind(1, 3), unchanged), (up, is_kind(0, 2), unchanged))
            counters = part.stop()
    assert {name: value for name, value in counters.items() if value} == {
        "received": COUNT,
        "redirected": COUNT // 2,
        "passed": COUNT // 2,
    }


@pytest.mark.parametrize("name", ["scanner", "firewall"])
def test_examples_entirely_in_user_space(name: str, tmp_path: Path, wire: Wire, pins: Path) -> None:
    """Verdicts by what arrives where, and maps, against the interpreter."""
    near, far = wire
    module = import_object((EXAMPLES / name / f"{name}.o").read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, "raise")
    maps = traffic.maps(name)
    sent = traffic.generate(name, 2500, seed=9)
    reference = InterpProgram(module, maps=maps, ncpu=syscalls.possible_cpus())
    outcomes = [reference.run(packet, ifindex=far.ifindex) for packet in sent]
    binary = build(emit(module)["af_xdp.c"], tmp_path / "af_xdp")
    with Running(binary, far, "--pin", pins) as part, Capture(far) as up:
        fill(pins, {map_: entries for map_, entries in maps.items() if (pins / map_).exists()})
        for start in range(0, len(sent), SLICE):
            send(near, sent[start : start + SLICE])
            passed = [o.data for o in outcomes[start : start + SLICE] if o.verdict == 2]
            # The kernel shows a capture the packets of a batch protocol by protocol.
            assert sorted(up.take(len(passed))) == sorted(passed)
        fds = {file.name: syscalls.obj_get(file) for file in pins.iterdir()}
        counters = part.stop()
    assert counters["received"] == len(sent)
    assert counters["dropped"] == sum(outcome.verdict == 1 for outcome in outcomes)
    expected = reference.dump_maps()
    for map_, fd in fds.items():
        assert contents.read_map(fd, contents.shape_of(fd, map_), contents.World()) == expected[map_], map_


def test_the_scanner_split_between_kernel_and_user_space(tmp_path: Path, wire: Wire, pins: Path) -> None:
    """Its kernel part loads, where the whole does not; together they do what the original does."""
    near, far = wire
    module = import_object((EXAMPLES / "scanner" / "scanner.o").read_bytes(), "scanner.o")
    reference = InterpProgram(module.clone(), maps=traffic.maps("scanner"))
    run_pipeline(make_context(), module, "raise,decompose{targets=xdp,af-xdp},share-maps,lower")
    [kernel] = [op for op in module.ops if isinstance(op, ModuleOp)]
    (tmp_path / "xdp.o").write_bytes(export_object(kernel))
    binary = build(emit(module)["af_xdp.c"], tmp_path / "af_xdp")
    sent = traffic.generate("scanner", 2500, seed=9)
    outcomes = [reference.run(packet, ifindex=far.ifindex) for packet in sent]
    with Running(binary, far, "-o", tmp_path / "xdp.o", "--pin", pins) as part, Capture(far) as up:
        fill(pins, traffic.maps("scanner"))
        for start in range(0, len(sent), SLICE):
            send(near, sent[start : start + SLICE])
            passed = [o.data for o in outcomes[start : start + SLICE] if o.verdict == 2]
            assert sorted(up.take(len(passed))) == sorted(passed)
        fds = {name: syscalls.obj_get(pins / name) for name in reference.dump_maps()}
        counters = part.stop()
    assert 0 < counters["received"] < len(sent)
    assert counters["received"] == counters["passed"] + counters["dropped"]
    expected = reference.dump_maps()
    for name, fd in fds.items():
        assert contents.read_map(fd, contents.shape_of(fd, name), contents.World()) == expected[name], name


# Handing over


LAYOUT = Layout(5, (32, 16))

KERNEL_PART = """
struct { __uint(type, BPF_MAP_TYPE_XSKMAP); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); }
    sockets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    stats SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u32); __type(value, __u64); }
    table SEC(".maps");
struct handoff { __u16 magic; __u8 version, size; __u16 resume, own; __u32 number; __u16 kind, pad;
                 __u16 trailer_size, trailer_magic; };
SEC("xdp") int kernel_part(struct xdp_md *ctx) {
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 kind, number, own = OWN;
    __u64 *count;
    if (data + 19 > end) return XDP_DROP;
    kind = data[14];
    number = data[15] << 24 | data[16] << 16 | data[17] << 8 | data[18];
    count = bpf_map_lookup_elem(&stats, &kind);
    if (count) __sync_fetch_and_add(count, 1);
    if (kind == 0) return XDP_PASS;
    if (own) {
        if (bpf_xdp_adjust_meta(ctx, -4)) return XDP_ABORTED;
        __u32 *mine = (void *)(long)ctx->data_meta;
        if ((void *)(mine + 1) > (void *)(long)ctx->data) return XDP_ABORTED;
        *mine = number;
    }
    if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(struct handoff))) return XDP_ABORTED;
    data = (void *)(long)ctx->data;
    unsigned char *meta = (void *)(long)ctx->data_meta;
    if (meta + 4 * !!own + sizeof(struct handoff) > data) return XDP_ABORTED;
    if (own) *(__u32 *)meta = number;
    struct handoff *h = (void *)(meta + 4 * !!own);
    h->magic = 0xf5ca; h->version = 1; h->size = 16; h->resume = kind == 3 ? 99 : 5; h->own = 4 * !!own;
    h->number = number; h->kind = kind; h->pad = 0; h->trailer_size = 16; h->trailer_magic = 0xf5ca;
    return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP);
}
"""

USER_PART = """
map.decl @stats "array" key 4 value 8 entries 4 flags 1024
map.decl @table "hash" key 4 value 8 entries 64 flags 0
map.decl @own "percpu_array" key 4 value 8 entries 1 flags 0
placement.part @kernel on "xdp" {
  ebpf.func @kernel_part section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %zero = arith.constant 0 : i16
    %none = arith.constant 0 : i32
    placement.handoff 5 to @user from %ctx carrying (%none, %zero) : !packet.ctx, i32, i16
  }
}
placement.part @user on "af-xdp" {
  ebpf.func @kernel_part section "xdp" attributes {prog_type = "xdp"} {
  ^entry(%ctx: !packet.ctx):
    %resume = placement.resume %ctx : !packet.ctx -> i32
    %number = placement.carried %ctx at 5[0] : !packet.ctx -> i32
    %kind = placement.carried %ctx at 5[1] : !packet.ctx -> i16
    placement.accept %ctx at 5 : !packet.ctx
    %base = packet.data %ctx : !packet.ctx -> !packet.ptr
    packet.store %base[19], %number : !packet.ptr, i32
    %mask = arith.constant 31 : i32
    %slot = arith.andi %number, %mask : i32
    %one = arith.constant 1 : i64
    %flags = arith.constant 0 : i64
    %key = arith.extui %kind : i16 to i32
    %count = map.lookup @stats(%key) : i32 -> !map.value<@stats>
    %some = map.hit %count : !map.value<@stats> -> i1
    cf.cond_br %some, ^add, ^table
  ^add:
    map.atomic "add" %count[0], %one : !map.value<@stats>, i64
    cf.br ^table
  ^table:
    %value = map.lookup @table(%slot) : i32 -> !map.value<@table>
    %hit = map.hit %value : !map.value<@table> -> i1
    cf.cond_br %hit, ^old, ^new
  ^old:
    %sum = map.load %value[0] : !map.value<@table> -> i64
    %wide = arith.extui %number : i32 to i64
    %next = arith.addi %sum, %wide : i64
    map.store %value[0], %next : !map.value<@table>, i64
    cf.br ^end
  ^new:
    %first = arith.extui %number : i32 to i64
    %error = map.update @table key (%slot) value (%first) flags %flags : i32, i64, i64 -> i64
    cf.br ^end
  ^end:
    %zero = arith.constant 0 : i32
    %mine = map.lookup @own(%zero) : i32 -> !map.value<@own>
    %always = map.hit %mine : !map.value<@own> -> i1
    cf.cond_br %always, ^counted, ^done
  ^counted:
    %n = map.load %mine[0] : !map.value<@own> -> i64
    %more = arith.addi %n, %one : i64
    map.store %mine[0], %more : !map.value<@own>, i64
    cf.br ^done
  ^done:
    packet.verdict %kind : i16
  }
}
placement.edge 5 from @kernel to @user {fields = [{name = "number", width = 32 : i64, kind = "scalar"},
  {name = "kind", width = 16 : i64, kind = "scalar"}], order = "commuting", transport = "metadata"}
placement.share @stats by "mmap" {parts = [@kernel, @user], consistency = "word", reason = "counters"}
placement.share @table by "pinned" {parts = [@kernel, @user], consistency = "operations", reason = "whole values"}
placement.share @own by "private" {parts = [@user], consistency = "exact", reason = "one part"}
"""


def hand_over(near: Interface, sent: list[bytes], up: Capture) -> None:
    """Kinds 0 and 2 arrive, 2 with the number that was carried. The kernel's overtake those of user space."""
    send(near, sent)
    expected = [f if f[14] == 0 else f[:19] + f[18:14:-1] + f[23:] for f in sent if f[14] in (0, 2)]
    assert sorted(up.take(len(expected))) == sorted(expected)


@pytest.mark.parametrize("own", [0, 1], ids=["no-metadata", "own-metadata"])
def test_a_kernel_part_hands_packets_over(
    own: int, compile_c: CompileC, tmp_path: Path, wire: Wire, pins: Path
) -> None:
    """Kind 0 stays in the kernel; 1 and 2 are finished in user space, by their carried kind: dropped, passed; 3 has an
    unknown resume point. Both parts count in the same array, and the user part alone in the others."""
    near, far = wire
    assert LAYOUT.size == 16
    kernel = tmp_path / "xdp.o"
    kernel.write_bytes(compile_c(KERNEL_PART, f"-DOWN={own}"))
    binary = build(emit(parse(USER_PART))["af_xdp.c"], tmp_path / "af_xdp", "-Wall", "-Wextra", "-Werror")
    sent = frames()
    numbers = range(COUNT)
    with Running(binary, far, "-o", kernel, "--pin", pins) as part, Capture(far) as up:
        for start in range(0, COUNT, SLICE):
            hand_over(near, sent[start : start + SLICE], up)
        fds = {file.name: syscalls.obj_get(file) for file in pins.iterdir()}
        counters = part.stop()
    each = COUNT // 4
    found = {name: value for name, value in counters.items() if value}
    assert found == {
        "received": 3 * each,
        "resume_5": 2 * each,
        "passed": each,
        "dropped": each,
        "handoff_errors": each,
    }
    stats, table, mine = (
        contents.read_map(fds[name], contents.shape_of(fds[name], name), contents.World())
        for name in ("stats", "table", "own")
    )
    assert [int.from_bytes(bytes.fromhex(entry["value"]), "little") for entry in stats] == [
        each,
        2 * each,
        2 * each,
        each,
    ]
    sums: dict[int, int] = {}
    for number in numbers:
        if number % 4 in (1, 2):
            sums[number & 31] = sums.get(number & 31, 0) + number
    got = {int.from_bytes(bytes.fromhex(e["key"]), "little"): bytes.fromhex(e["value"]) for e in table}
    assert {slot: int.from_bytes(value, "little") for slot, value in got.items()} == sums
    per_cpu = [int.from_bytes(bytes.fromhex(value), "little") for entry in mine for value in entry["values"]]
    assert sum(per_cpu) == 2 * each
    assert not program_on(far)
    assert list(pins.iterdir()) == []


@pytest.mark.parametrize("by", ["path", "number"])
def test_a_kernel_part_that_is_attached_already(
    by: str, compile_c: CompileC, tmp_path: Path, wire: Wire, pins: Path
) -> None:
    """Another loader has attached it: this one only puts its socket in the map, and takes it out again."""
    near, far = wire
    binary = build(emit(parse(USER_PART))["af_xdp.c"], tmp_path / "af_xdp")
    program = compile_c(KERNEL_PART.replace("max_entries, 4);", "max_entries, 4); __uint(map_flags, 1024);"), "-DOWN=0")
    pins.mkdir()
    with KernelProgram(program) as kernel, attached(far, kernel.fd):
        for name, found in kernel.maps.items():
            syscalls.obj_pin(found.fd, pins / name)
        sockets = pins / "sockets"
        number = syscalls.map_facts(syscalls.obj_get(sockets)).id
        where = sockets if by == "path" else number
        with pytest.raises(LiveError, match="is the kernel part's, too: give the folder where it is pinned"):
            Running(binary, far, "--sockets", str(where))
        with Running(binary, far, "--sockets", str(where), "--pin", pins) as part, Capture(far) as up:
            hand_over(near, frames(400)[:SLICE], up)
            counters = part.stop()
        assert counters["received"] == 3 * SLICE // 4
        assert program_on(far)
        assert (pins / "stats").exists()
        with Capture(far) as up:
            exchange(near, frames(400)[:SLICE], (up, is_kind(0), unchanged))


def test_the_kernel_part_must_be_given(tmp_path: Path, wire: Wire) -> None:
    binary = build(emit(parse(USER_PART))["af_xdp.c"], tmp_path / "af_xdp")
    with pytest.raises(LiveError, match="goes on with packets of the kernel part: give that with -o"):
        Running(binary, wire[1])


def test_compiler_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match="error"):
        build(b"this is no C", tmp_path / "af_xdp")
