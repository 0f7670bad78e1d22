"""Helper prototypes as data, and what helpers do that no test run of the kernel can show."""

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from fsir.interp.fib import Interface, Route
from fsir.interp.helper_calls import call_of, is_interpreted
from fsir.interp.helper_timer import fire_timers
from fsir.interp.helpers import HELPERS, MEMORY_KINDS, SIZE_KINDS, ReturnKind, helper_named
from fsir.interp.machine import HelperError, Machine, Redirect
from fsir.interp.map_base import MapSpec
from fsir.interp.printk import FormatError, render

M64 = (1 << 64) - 1
FRAME = bytes(12) + b"\x08\0" + bytes(46)


def call(machine: Machine, name: str, *args: int) -> int:
    helper = helper_named(name)
    assert helper is not None
    result = call_of(helper.number)(machine, *(*(arg & M64 for arg in args), 0, 0, 0, 0, 0)[:5])
    return result - (1 << 64) if result >> 63 else result


# Prototypes


def test_the_table_is_complete() -> None:
    assert sorted(HELPERS) == list(range(1, 212))
    assert len({helper.name for helper in HELPERS.values()}) == 211


@pytest.mark.parametrize(
    ("name", "number", "kinds", "returns"),
    [
        ("map_lookup_elem", 1, "map key", ReturnKind.MAP_VALUE),
        ("bpf_map_update_elem", 2, "map key value scalar", ReturnKind.INTEGER),
        ("csum_diff", 28, "ro size0 ro size0 scalar", ReturnKind.INTEGER),
        ("xdp_adjust_head", 44, "ctx scalar", ReturnKind.INTEGER),
        ("fib_lookup", 69, "ctx rw size scalar", ReturnKind.INTEGER),
        ("ringbuf_reserve", 131, "map allocsize scalar", ReturnKind.ALLOC_MEM),
        ("loop", 181, "scalar func stack scalar", ReturnKind.INTEGER),
    ],
)
def test_prototypes(name: str, number: int, kinds: str, returns: ReturnKind) -> None:
    helper = helper_named(name)
    assert helper is not None
    assert (helper.number, " ".join(arg.kind.value for arg in helper.args), helper.returns) == (number, kinds, returns)


def test_memory_arguments_have_a_size() -> None:
    for helper in HELPERS.values():
        for index, arg in enumerate(helper.args):
            if arg.kind in MEMORY_KINDS and not arg.size:
                assert helper.args[index + 1].kind in SIZE_KINDS, helper.name
            if arg.kind in SIZE_KINDS:
                assert helper.args[index - 1].kind in MEMORY_KINDS, helper.name


def test_properties() -> None:
    changing = {helper.name for helper in HELPERS.values() if helper.changes_packet and "xdp" in helper.types}
    assert changing == {"tail_call", "xdp_adjust_head", "xdp_adjust_meta", "xdp_adjust_tail"}
    assert {helper.name for helper in HELPERS.values() if helper.calls_back} == {
        "for_each_map_elem",
        "find_vma",
        "loop",
        "timer_set_callback",
        "user_ringbuf_drain",
    }
    lookup, adjust = HELPERS[1], HELPERS[44]
    assert lookup.may_return_null and lookup.packet_args and not lookup.gpl
    assert adjust.types == {"xdp"} and adjust.since == (4, 10)
    assert {"xdp", "sched_cls", "kprobe"} <= lookup.types
    assert HELPERS[132].args[0].releases and HELPERS[28].args[0].nullable
    assert HELPERS[204].args[0].size == 20
    assert HELPERS[1].args[1].reads_memory and HELPERS[69].args[1].writes_memory
    assert HELPERS[89].args[1].reads_memory and HELPERS[89].args[1].writes_memory  # a bloom filter is asked for a value


def test_every_helper_of_xdp_that_packet_programs_use_is_interpreted() -> None:
    names = """map_lookup_elem ktime_get_ns trace_printk map_update_elem tail_call get_smp_processor_id redirect_map
    fib_lookup xdp_adjust_head perf_event_output csum_diff redirect get_prandom_u32 xdp_adjust_meta map_delete_elem
    loop xdp_adjust_tail kptr_xchg jiffies64 spin_lock spin_unlock xdp_load_bytes xdp_store_bytes ringbuf_reserve
    ringbuf_output ringbuf_submit ringbuf_discard probe_read_kernel ktime_get_coarse_ns tcp_raw_gen_syncookie_ipv4
    tcp_raw_check_syncookie_ipv4 skb_store_bytes l3_csum_replace l4_csum_replace skb_vlan_push clone_redirect"""
    for name in names.split():
        helper = helper_named(name)
        assert helper is not None and is_interpreted(helper.number), name


def test_what_is_not_interpreted_says_so_when_it_is_reached() -> None:
    machine = Machine()
    with pytest.raises(HelperError, match=r"bpf_override_return \(helper 58\) is not interpreted"):
        call_of(58)(machine, 0, 0, 0, 0, 0)
    with pytest.raises(HelperError, match="helper 999, which no kernel has"):
        call_of(999)(machine, 0, 0, 0, 0, 0)


# Environment


def test_time_and_random_are_the_machines() -> None:
    machine = Machine(seed=7)
    machine.begin_packet(FRAME, clock_ns=2_000_000_000)
    assert call(machine, "ktime_get_ns") == 2_000_000_000
    assert call(machine, "ktime_get_boot_ns") == 2_000_000_000
    assert call(machine, "ktime_get_tai_ns") == 39_000_000_000
    assert call(machine, "jiffies64") == (1 << 32) - 300 * 250 + 500
    numbers = [call(machine, "get_prandom_u32") for _ in range(3)]
    assert numbers == [call(again, "get_prandom_u32") for again in [Machine(seed=7)] for _ in range(3)]
    assert numbers != [call(other, "get_prandom_u32") for other in [Machine(seed=8)] for _ in range(3)]


# Redirects and tail calls


def test_redirect_map_records_the_target() -> None:
    machine = Machine()
    devices = machine.add_map(MapSpec("tx", "devmap", 4, 4, 4))
    devices.update(b"\1\0\0\0", b"\x09\0\0\0", 0, 0)
    machine.begin_packet(FRAME)
    assert call(machine, "redirect_map", devices.addr, 1, 0) == 4
    assert machine.redirect == Redirect(map_name="tx", key=1)
    assert call(machine, "redirect_map", devices.addr, 2, 2) == 2
    assert machine.redirect is None
    assert call(machine, "redirect_map", devices.addr, 2, 8 | 16) == 4
    assert machine.redirect == Redirect(map_name="tx", flags=24)
    assert call(machine, "redirect_map", devices.addr, 1, 32) == 0


def test_tail_calls_fail_softly_and_end_after_33() -> None:
    machine = Machine()
    array = machine.add_map(MapSpec("jumps", "prog_array", 4, 4, 4))
    from fsir.interp.maps_handles import ProgArrayMap

    assert isinstance(array, ProgArrayMap)
    array.set_program(1, "next")
    machine.begin_packet(FRAME)
    assert machine.tail_call(array.addr, 4) is None
    assert machine.tail_call(array.addr, (1 << 32) + 1) == "next"
    assert [machine.tail_call(array.addr, 1) for _ in range(33)] == ["next"] * 32 + [None]
    machine.begin_packet(FRAME)
    assert machine.tail_call(array.addr, 1) == "next"


# Routes

PARAMS = struct.Struct("<BB2s2sHI4s16s16s4s6s6s")


def fib_machine() -> Machine:
    machine = Machine()
    machine.fib.interfaces = {1: Interface(1), 2: Interface(2, b"\2" * 6, 1400), 3: Interface(3, forwarding=False)}
    machine.fib.routes = [
        Route(IPv4Network("10.0.0.0/8"), 2, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.9"), metric=7),
        Route(IPv4Network("10.9.0.0/16"), action="blackhole"),
        Route(IPv4Network("10.8.0.0/16"), 2),
        Route(IPv6Network("2001:db8::/32"), 2, IPv6Address("2001:db8::1"), mtu=1300),
    ]
    machine.fib.neighbours = {(2, IPv4Address("192.0.2.1")): b"\3" * 6, (2, IPv6Address("2001:db8::1")): b"\4" * 6}
    machine.begin_packet(FRAME)
    return machine


def lookup(machine: Machine, target: str, ifindex: int = 1, length: int = 100, flags: int = 0) -> tuple[int, bytes]:
    address = IPv6Address(target) if ":" in target else IPv4Address(target)
    family = 10 if address.version == 6 else 2
    source = bytes(12) + b"\1\1\1\1"
    params = PARAMS.pack(family, 6, b"", b"", length, ifindex, b"", source, address.packed, b"vlan", b"", b"")
    addr = machine.stack(0).base
    machine.memory.write_bytes(addr, params)
    return call(machine, "fib_lookup", machine.ctx_addr, addr, 64, flags), machine.memory.read_bytes(addr, 64)


@pytest.mark.parametrize(
    ("target", "ifindex", "length", "flags", "answer"),
    [
        ("10.1.1.1", 1, 100, 0, 0),
        ("10.9.1.1", 1, 100, 0, 1),
        ("11.1.1.1", 1, 100, 0, 4),
        ("10.1.1.1", 3, 100, 0, 5),
        ("10.8.1.1", 1, 100, 0, 7),
        ("10.8.1.1", 1, 100, 4, 0),
        ("10.1.1.1", 1, 1401, 0, 8),
        ("10.8.1.1", 1, 100, 16 | 4, 9),
        ("10.1.1.1", 9, 100, 0, -19),
        ("10.1.1.1", 1, 100, 64, -22),
        ("2001:db8::5", 1, 1300, 0, 0),
        ("2001:db8::5", 1, 1301, 0, 8),
        ("fe80::1", 1, 100, 0, 4),
    ],
)
def test_fib_answers(target: str, ifindex: int, length: int, flags: int, answer: int) -> None:
    assert lookup(fib_machine(), target, ifindex, length, flags)[0] == answer


def test_fib_fills_in_the_next_hop() -> None:
    answer, params = lookup(fib_machine(), "10.1.1.1")
    fields = PARAMS.unpack(params)
    assert answer == 0
    assert (fields[0], fields[4], fields[5]) == (2, 1400, 2)
    assert fields[6] == (7).to_bytes(4, "little")
    assert fields[8] == IPv4Address("192.0.2.1").packed + bytes(12)
    assert fields[9:] == (bytes(4), b"\2" * 6, b"\3" * 6)


def test_without_routes_nothing_is_forwarded() -> None:
    machine = Machine()
    machine.begin_packet(FRAME)
    answer, params = lookup(machine, "10.1.1.1", ifindex=77)
    assert answer == 4
    assert PARAMS.unpack(params)[5] == 77


# Callbacks, timers, locks


def test_timers_fire_between_packets_when_due() -> None:
    machine = Machine()
    table = machine.add_map(MapSpec("m", "hash", 4, 24, 4))
    table.update(b"key1", bytes(24), 0, 0)
    value = table.lookup(b"key1", 0)
    seen: list[tuple[bytes, int]] = []

    def expired(map_addr: int, key: int, value_addr: int) -> int:
        assert map_addr == table.addr
        seen.append((machine.memory.read_bytes(key, 4), value_addr))
        return 0

    callback = machine.function_address(expired, "expired")
    timer = value + 8
    assert call(machine, "timer_start", timer, 100, 0) == -22
    assert call(machine, "timer_init", timer, table.addr, 1) == 0
    assert call(machine, "timer_init", timer, table.addr, 1) == -16
    assert call(machine, "timer_start", timer, 100, 0) == -22
    assert call(machine, "timer_set_callback", timer, callback) == 0
    assert call(machine, "timer_start", timer, 100, 0) == 0
    machine.clock_ns = 99
    assert fire_timers(machine) == 0
    machine.clock_ns = 100
    assert fire_timers(machine) == 1 and seen == [(b"key1", value)]
    assert fire_timers(machine) == 0
    assert call(machine, "timer_start", timer, 100, 0) == 0
    machine.begin_packet(FRAME, clock_ns=199)
    assert len(seen) == 1
    machine.begin_packet(FRAME, clock_ns=200)
    assert len(seen) == 2
    assert call(machine, "timer_start", timer, 100, 0) == 0
    assert call(machine, "timer_cancel", timer) == 1
    assert call(machine, "timer_cancel", timer) == 0


def test_locks_are_balanced() -> None:
    machine = Machine()
    table = machine.add_map(MapSpec("m", "array", 4, 16, 1))
    lock = table.lookup(bytes(4), 0)
    call(machine, "spin_lock", lock)
    with pytest.raises(HelperError, match="another lock is held"):
        call(machine, "spin_lock", lock + 8)
    with pytest.raises(HelperError, match=r"spin lock at m\+0 held"):
        machine.end_packet()
    with pytest.raises(HelperError, match=r"m\+0 is not held"):
        call(machine, "spin_unlock", lock)


def test_an_open_reservation_is_an_error_at_the_end() -> None:
    machine = Machine()
    ring = machine.add_map(MapSpec("r", "ringbuf", 0, 0, 4096))
    record = call(machine, "ringbuf_reserve", ring.addr, 8, 0)
    with pytest.raises(HelperError, match="open reservation in ring buffer r"):
        machine.end_packet()
    assert call(machine, "ringbuf_submit", record, 0) == 0
    machine.end_packet()


@pytest.mark.parametrize(
    ("name", "what"), [("map_lookup_elem", "not the address of a map"), ("loop", "not the address of a function")]
)
def test_wrong_addresses_are_named(name: str, what: str) -> None:
    machine = Machine()
    args = (machine.stack(0).base + 8,) * 2 if name == "map_lookup_elem" else (3, 77, 0, 0)
    with pytest.raises(HelperError, match=what):
        call(machine, name, *args)


# Memory and output


def test_probe_read_survives_bad_addresses() -> None:
    machine = Machine()
    room = machine.stack(0).base
    machine.memory.write_bytes(room, b"text\0more")
    assert call(machine, "probe_read_kernel_str", room + 64, 16, room) == 5
    assert call(machine, "probe_read_kernel_str", room + 64, 3, room) == 3
    assert machine.memory.read_bytes(room + 64, 5) == b"te\0t\0"
    assert call(machine, "probe_read_kernel", room + 64, 4, 0) == -14
    assert machine.memory.read_bytes(room + 64, 5) == bytes(5)


def test_printk_goes_to_the_log() -> None:
    machine = Machine()
    room = machine.stack(0).base
    machine.memory.write_bytes(room, b"ip %pI4 %s\n\0\x0a\0\0\1name\0")
    assert call(machine, "trace_printk", room, 12, room + 12, room + 16, 0) == 17
    assert machine.log == ["ip 10.0.0.1 name\n"]
    assert call(machine, "trace_printk", room, 5, 0, 0, 0) == -22


@pytest.mark.parametrize(
    ("text", "args", "printed"),
    [
        (b"%pi4", (0,), b"010.000.000.001"),
        (b"%pI6", (16,), b"2001:0db8:0000:0000:0000:0000:0000:0001"),
        (b"%pi6", (16,), b"20010db8000000000000000000000001"),
        (b"%10s|%-6s|", (32, 32), b"       abc|abc   |"),
        (b"%s", (-8,), b""),
        (b"%px", (0,), b"%016x"),
    ],
)
def test_formats_of_pointers(text: bytes, args: tuple[int, ...], printed: bytes) -> None:
    memory = Machine().memory
    base = memory.alloc(40, "text", data=b"\x0a\0\0\1" + bytes(12) + IPv6Address("2001:db8::1").packed + b"abc").base
    assert render(memory, text, [base + arg for arg in args]) == printed.replace(b"%016x", b"%016x" % base)


@pytest.mark.parametrize("text", [b"%", b"%q", b"%d %d %d", b"%sx", b"%pZ", b"\x01", b"%-"])
def test_formats_that_the_kernel_refuses(text: bytes) -> None:
    with pytest.raises(FormatError):
        render(Machine().memory, text, [0, 0])


# SYN cookies


def tcp_header(sequence: int, acknowledgement: int, options: bytes = b"") -> bytes:
    words = (20 + len(options)) // 4
    return struct.pack(">HHIIBBHHH", 1234, 80, sequence, acknowledgement, words << 4, 2, 100, 0, 0) + options


@pytest.mark.parametrize(("family", "header_size", "mss"), [("ipv4", 20, 1460), ("ipv6", 40, 1440)])
def test_syn_cookies_are_accepted_by_the_machine_that_made_them(family: str, header_size: int, mss: int) -> None:
    machine = Machine(seed=1)
    ip, tcp = machine.stack(0).base, machine.stack(0).base + 64
    machine.memory.write_bytes(ip, bytes(range(header_size)))
    syn = tcp_header(1000, 0, b"\2\4\x05\xb4")
    machine.memory.write_bytes(tcp, syn)
    answer = call(machine, f"tcp_raw_gen_syncookie_{family}", ip, tcp, len(syn))
    assert answer >> 32 == mss
    assert call(machine, f"tcp_raw_gen_syncookie_{family}", ip, tcp, 20) == -22
    cookie = answer & 0xFFFFFFFF
    machine.memory.write_bytes(tcp, tcp_header(1001, cookie + 1 & 0xFFFFFFFF))
    assert call(machine, f"tcp_raw_check_syncookie_{family}", ip, tcp) == 0
    machine.memory.write_bytes(tcp, tcp_header(1001, cookie + 5 & 0xFFFFFFFF))
    assert call(machine, f"tcp_raw_check_syncookie_{family}", ip, tcp) == -13
