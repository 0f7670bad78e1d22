"""Frames on real interfaces: attached programs, captures, and frames put back into the kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.kernel.interfaces import Interface, Namespace, ip, private_interfaces, veth_pair
from fsir.kernel.live import Capture, attached, receiving, send
from fsir.kernel.reentry import Reentry, flood
from fsir.kernel.syscalls import prog_load
from fsir.kernel.tiny import verdict_program
from fsir.kernel.uapi import XdpVerdict

CompileC = Callable[..., bytes]
Wire = tuple[Interface, Interface]

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


def ipv4_checksum(header: bytes) -> bytes:
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
    return (~(total % 0xFFFF) & 0xFFFF).to_bytes(2, "big")


def ipv4(protocol: int, payload: bytes) -> bytes:
    """A packet from 192.0.2.2 to 192.0.2.1."""
    head = bytes.fromhex("4500") + (20 + len(payload)).to_bytes(2, "big") + bytes.fromhex("0000 4000 40")
    addresses = socket.inet_aton("192.0.2.2") + socket.inet_aton("192.0.2.1")
    check = ipv4_checksum(head + bytes([protocol]) + addresses)
    return head + bytes([protocol]) + check + addresses + payload


def tcp_flow(count: int) -> list[bytes]:
    """Segments with right checksums that follow each other: what receive offload merges."""
    segments = []
    for i in range(count):
        head = bytes.fromhex("1770 1b58") + (1000 * i).to_bytes(4, "big") + bytes.fromhex("00000001 5010 ffff")
        pseudo = socket.inet_aton("192.0.2.2") + socket.inet_aton("192.0.2.1") + bytes([0, 6, 1020 >> 8, 1020 & 255])
        check = ipv4_checksum(pseudo + head + bytes(2) + bytes(1000))
        segments.append(ADDRESSES + b"\x08\0" + ipv4(6, head + check + bytes(2) + bytes(1000)))
    return segments


def test_segments_of_a_flow_are_not_merged(wire: Wire) -> None:
    near, far = wire
    with receiving(far), Capture(far) as arriving, Reentry(near) as reentry:
        send(near, tcp_flow(64))
        assert arriving.take(64) == tcp_flow(64)
        reentry.put(tcp_flow(64), XdpVerdict.TX)
        assert arriving.take(64) == tcp_flow(64)


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


def test_flood(wire: Wire) -> None:
    near, far = wire
    frame = frames(1)[0]
    prog_fd, _ = prog_load(verdict_program(XdpVerdict.TX))
    with Capture(far) as arriving:
        flood(near, frame, 1000, prog_fd)
        assert arriving.take(1000) == [frame] * 1000
    os.close(prog_fd)


def test_each_frame_reenters_with_its_own_verdict(wire: Wire) -> None:
    near, far = wire
    ways = (XdpVerdict.PASS, XdpVerdict.TX, XdpVerdict.DROP)
    with Reentry(near) as reentry, Capture(near) as up, Capture(far) as out:
        assert reentry.put_each((frame, ways[i % 3], 0) for i, frame in enumerate(frames())) == COUNT
        assert up.take(len(frames()[0::3])) == frames()[0::3]
        assert out.take(len(frames()[1::3])) == frames()[1::3]
        assert up.pending() == [] and out.pending() == []


def test_pass_reaches_a_socket(wire: Wire) -> None:
    """The stack takes a re-entered frame for one that the interface received: UDP arrives, with its sender."""
    near = wire[0]
    with near.namespace.entered():
        ip("addr", "add", "192.0.2.1/24", "dev", near.name)
        (mac,) = (part for part in ip("-br", "link", "show", near.name).split() if part.count(":") == 5)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("192.0.2.1", 7000))
    payload = b"hello"
    udp = bytes.fromhex("1770 1b58") + (8 + len(payload)).to_bytes(2, "big") + bytes(2)
    frame = bytes.fromhex(mac.replace(":", "")) + ADDRESSES[6:] + b"\x08\0" + ipv4(17, udp + payload)
    with sock, Reentry(near) as reentry:
        reentry.put([frame])
        sock.settimeout(10)
        assert sock.recvfrom(100) == (payload, ("192.0.2.2", 6000))


def test_tx_and_redirect_leave_by_the_interface(wire: Wire) -> None:
    near, far = wire
    other, _ = veth_pair(near.namespace, "other", far.namespace, "unused")
    with Capture(far) as arriving, Reentry(near) as here, Reentry(other) as there:
        here.put(frames(), XdpVerdict.TX)
        assert arriving.take(COUNT) == frames()
        there.put(frames(), XdpVerdict.REDIRECT, near)
        assert arriving.take(COUNT) == frames()
        assert arriving.pending() == []
        with pytest.raises(ValueError, match="needs a target"):
            there.put(frames(), XdpVerdict.REDIRECT)


@pytest.mark.parametrize(("length", "message"), [(13, "this one 13"), (3521, "this one 3521"), (3520, "too long")])
def test_frames_that_cannot_reenter_are_errors(wire: Wire, length: int, message: str) -> None:
    with Reentry(wire[0]) as reentry, pytest.raises(KernelError, match=message):
        reentry.put([bytes(length)])


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
