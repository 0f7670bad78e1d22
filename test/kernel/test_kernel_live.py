"""Frames on real interfaces: attached programs, captures, and frames put back into the kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import Namespace, VethEnd, ip, private_interfaces, veth_pair
from fsir.kernel.live import Capture, attached, receiving, send
from fsir.kernel.reentry import Reentry
from fsir.kernel.uapi import XdpVerdict

CompileC = Callable[..., bytes]
Wire = tuple[VethEnd, VethEnd]

COUNT = 2000
ADDRESSES = bytes.fromhex("020000000001 020000000002")


def frames(count: int = COUNT, ethertype: str = "88b5") -> list[bytes]:
    """Frames that differ in a number and in length."""
    return [ADDRESSES + bytes.fromhex(ethertype) + i.to_bytes(4, "big") + bytes(42 + i % 1400) for i in range(count)]


def program(body: str) -> str:
    return f"""
    SEC("xdp") int prog(struct xdp_md *ctx) {{
        unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        if (data + 18 > end) return XDP_DROP;
        {body}
    }}
    """


def test_what_one_end_sends_the_other_captures(wire: Wire) -> None:
    near, far = wire
    with Capture(far) as arriving, Capture(near) as sent:
        assert send(near, frames()) == COUNT
        assert arriving.take(COUNT) == frames()
        assert arriving.pending() == [] and sent.pending() == []


def test_vlan_tags_are_captured_where_they_were(wire: Wire) -> None:
    near, far = wire
    tagged = [ADDRESSES + bytes.fromhex(tag) + bytes(46) for tag in ("8100 0064 0800", "88a8 2001 8100 0005 0800")]
    with Capture(far) as arriving:
        send(near, tagged)
        assert arriving.take(2) == tagged


def test_attached_program_decides_per_frame(compile_c: CompileC, wire: Wire) -> None:
    """Odd frames turn round, every fourth is dropped, the rest goes up changed."""
    near, far = wire
    body = """
        if (data[17] & 1) return XDP_TX;
        if (!(data[17] & 2)) return XDP_DROP;
        data[0] = 0x0a;
        return XDP_PASS;
    """
    sent = frames()
    passed = [b"\x0a" + f[1:] for f in sent if f[17] & 3 == 2]
    turned = [f for f in sent if f[17] & 1]
    prog = KernelProgram(compile_c(program(body)))
    with prog, attached(far, prog.fd), receiving(near), Capture(far) as up, Capture(near) as back:
        send(near, sent)
        assert up.take(len(passed)) == passed
        assert back.take(len(turned)) == turned
        assert up.pending() == [] and back.pending() == []
    with Capture(far) as up:
        send(near, sent)
        assert up.take(COUNT) == sent  # detached again


def test_redirect_map_sends_between_interfaces(compile_c: CompileC) -> None:
    source = """
    struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __type(key, __u32); __type(value, __u32); __uint(max_entries, 4); }
        ports SEC(".maps");
    """ + program("return bpf_redirect_map(&ports, data[17] & 3, XDP_DROP);")
    with Namespace() as middle, Namespace() as left, Namespace() as right:
        a, source_end = veth_pair(middle, "a", left, "source")
        b, sink = veth_pair(middle, "b", right, "sink")
        elf = compile_c(source)
        ports = [{"key": "02000000", "ifindex": b.ifindex}]
        with middle.entered():
            prog = KernelProgram(elf, maps={"ports": ports})
        with prog, attached(a, prog.fd), Capture(sink) as out:
            with middle.entered():
                assert prog.dump_maps()["ports"] == ports
            send(source_end, frames())
            expected = [f for f in frames() if f[17] & 3 == 2]
            assert out.take(len(expected)) == expected
            assert out.pending() == []


def test_pass_reenters_the_stack(wire: Wire) -> None:
    near, _ = wire
    with Reentry(near) as reentry, Capture(near) as up:
        assert reentry.put(frames()) == COUNT
        assert up.take(COUNT) == frames()
        reentry.flood(frames(1)[0], 1000)
        assert up.take(1000) == frames(1) * 1000


def test_pass_reaches_a_socket(wire: Wire) -> None:
    """The stack takes a re-entered frame for one that the interface received: UDP arrives, with its sender."""
    near = wire[0]
    with near.namespace.entered():
        ip("addr", "add", "192.0.2.1/24", "dev", near.name)
        (mac,) = (part for part in ip("-br", "link", "show", near.name).split() if part.count(":") == 5)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("192.0.2.1", 7000))
    payload = b"hello"
    udp = (6000).to_bytes(2, "big") + (7000).to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big") + bytes(2)
    header = bytearray.fromhex("4500") + (28 + len(payload)).to_bytes(2, "big") + bytes.fromhex("00000000 4011 0000")
    header += socket.inet_aton("192.0.2.2") + socket.inet_aton("192.0.2.1")
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    frame = bytes.fromhex(mac.replace(":", "")) + ADDRESSES[6:] + b"\x08\0" + bytes(header) + udp + payload
    with sock, Reentry(near) as reentry:
        reentry.put([frame])
        sock.settimeout(10)
        assert sock.recvfrom(100) == (payload, ("192.0.2.2", 6000))


def test_tx_and_redirect_leave_by_the_interface(wire: Wire) -> None:
    near, far = wire
    with Capture(far) as arriving:
        with Reentry(near, XdpVerdict.TX) as tx:
            tx.put(frames())
        assert arriving.take(COUNT) == frames()
        other, _ = veth_pair(near.namespace, "other", far.namespace, "unused")
        with Reentry(other, XdpVerdict.REDIRECT, near) as redirect:
            redirect.put(frames())
        assert arriving.take(COUNT) == frames()
        assert arriving.pending() == []


def test_reentry_of_an_impossible_frame_is_an_error(wire: Wire) -> None:
    with Reentry(wire[0]) as reentry, pytest.raises(KernelError, match="frame of 13 bytes into near"):
        reentry.put([bytes(13)])


def test_private_interfaces_give_test_runs_their_world(compile_c: CompileC) -> None:
    """A device map with, and frames from, interfaces that this machine does not have."""
    source = """
    struct { __uint(type, BPF_MAP_TYPE_DEVMAP_HASH); __type(key, __u32); __type(value, __u32);
             __uint(max_entries, 4); } ports SEC(".maps");
    """ + program("""
        if (ctx->rx_queue_index) return 100 + ctx->rx_queue_index;
        return bpf_redirect_map(&ports, ctx->ingress_ifindex, XDP_DROP);
    """)
    ports = [{"key": "4d000000", "ifindex": 1234}]
    elf = compile_c(source)
    with pytest.raises(KernelError, match="ports: the kernel refuses"):
        KernelProgram(elf, maps={"ports": ports})
    with private_interfaces({77: 8, 1234: 1, 1: 1}), KernelProgram(elf, maps={"ports": ports}) as prog:
        frame = frames(1)[0]
        assert prog.dump_maps()["ports"] == ports
        assert prog.run(frame, ifindex=77).verdict == XdpVerdict.REDIRECT
        assert prog.run(frame, ifindex=1234).verdict == XdpVerdict.DROP
        assert prog.run(frame, ifindex=77, rx_queue=7).verdict == 107
        with pytest.raises(KernelError):
            prog.run(frame, ifindex=77, rx_queue=8)


def test_namespaces_leave_nothing_behind() -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino, sorted(os.listdir("/proc/self/fd"))
    with Namespace() as one, Namespace() as two:
        veth_pair(one, "x", two, "y")
        with one.entered():
            assert {name for _, name in socket.if_nameindex()} == {"lo", "x"}
    with private_interfaces({5: 1}):
        assert socket.if_nameindex() == [(1, "lo"), (5, "if5")]
    assert (os.stat("/proc/thread-self/ns/net").st_ino, sorted(os.listdir("/proc/self/fd"))) == before
