"""Emitted programs as packets and what becomes of them: length checks, verdicts, handoffs, structure."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from p4_placed import ABORTED, DROP, PASS, REDIRECT, TX, Nic, Result, placed

from fsir.backends.p4.interp import load

HEAD = """
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
"""
LADDER = (
    HEAD
    + """
  %g1 = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
  %r1 = arith.constant 1 : i8
  cf.cond_br %g1, ^b1, ^out(%r1 : i8)
^b1:
  %g2 = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  %r2 = arith.constant 2 : i8
  cf.cond_br %g2, ^b2, ^out(%r2 : i8)
^b2:
  %off = packet.offset %data[18] : !packet.ptr -> !packet.ptr
  %g3 = packet.guard %off[16], %end : !packet.ptr, !packet.end_ptr -> i1
  %r3 = packet.load %off[1] : !packet.ptr -> i8
  cf.cond_br %g3, ^b3, ^out(%r3 : i8)
^b3:
  %r4 = packet.load %off[15] : !packet.ptr -> i8
  cf.br ^out(%r4 : i8)
^out(%r: i8):
  %tx = arith.constant 3 : i64
  %x = arith.extui %r : i8 to i64
  %verdict = arith.addi %tx, %x : i64
  placement.handoff 9 to @xdp from %ctx carrying (%r) : !packet.ctx, i8
"""
)


@pytest.mark.parametrize("size", [14, 15, 19, 20, 21, 33, 34, 35, 1500])
def test_length_checks(size: int) -> None:
    """A check holds exactly from its size on, and frames cut anywhere leave as they came."""
    nic = Nic(placed(LADDER))
    data = bytes(n & 0xFF for n in range(size))
    expected = 2 if size < 20 else 19 if size < 34 else 33
    assert nic.run(data) == Result(None, data, resume=9, values=(expected,))


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0, ABORTED), (1, DROP), (2, PASS), (3, TX), (4, REDIRECT), (5, ABORTED), (1 << 32 | 2, PASS)],
)
@pytest.mark.parametrize("computed", [False, True])
def test_verdicts(value: int, verdict: int, computed: bool) -> None:
    """Constants, and the same number computed from the packet. A redirection to nowhere is the kernel's to refuse."""
    body = HEAD + (
        """
      %there = packet.guard %data[22], %end : !packet.ptr, !packet.end_ptr -> i1
      %one = arith.constant 1 : i64
      cf.cond_br %there, ^in, ^out
    ^out:
      packet.verdict %one : i64
    ^in:
      %value = packet.load %data[14] : !packet.ptr -> i64
      packet.verdict %value : i64
    """
        if computed
        else f"%value = arith.constant {value} : i64\npacket.verdict %value : i64"
    )
    data = bytes(14) + value.to_bytes(8, "little") + b"rest"
    result = Nic(placed(body)).run(data, port=3)
    assert (result.verdict, result.data) == (verdict, None if verdict == DROP else data)


HANDOFF = (
    HEAD
    + """
  %there = packet.guard %data[22], %end : !packet.ptr, !packet.end_ptr -> i1
  %one = arith.constant 1 : i64
  cf.cond_br %there, ^in, ^out
^out:
  placement.handoff 258 to @xdp from %ctx carrying () : !packet.ctx
^in:
  %a = packet.load %data[14] : !packet.ptr -> i64
  %b = packet.load %data[15] : !packet.ptr -> i16
  %c = arith.trunci %a : i64 to i8
  %d = arith.trunci %a : i64 to i1
  %e = arith.trunci %a : i64 to i32
  packet.store %data[0], %b : !packet.ptr, i16
  placement.handoff 7 to @xdp from %ctx carrying (%d, %a, %c, %b, %e) : !packet.ctx, i1, i64, i8, i16, i32
"""
)
EDGE = """
  placement.edge 7 from @nic to @xdp {fields = [
    {name = "flag", width = #builtin.int<1>, kind = "scalar"}, {name = "padding", width = #builtin.int<64>, kind = "s"},
    {name = "ipv4.ttl", width = #builtin.int<8>, kind = "s"}, {name = "x", width = #builtin.int<16>, kind = "s"},
    {name = "x", width = #builtin.int<32>, kind = "s"}], order = "sequential", transport = "cpu-port"}
"""


def test_handoff_header_is_that_of_the_other_backends() -> None:
    """Little-endian, packed, padded; in front of the frame with its changes. Names that clash are told apart."""
    nic = Nic(placed(HANDOFF, EDGE))
    data = bytes(14) + bytes.fromhex("8182838485868788") + b"payload"
    changed = bytes.fromhex("8283") + data[2:]
    values = (1, 0x8887868584838281, 0x81, 0x8382, 0x84838281)
    assert nic.run(data) == Result(None, changed, resume=7, values=values)
    assert nic.run(data[:21]) == Result(None, data[:21], resume=258)
    names = [field["name"] for field in nic.control["handoffs"][0]["fields"]]
    assert names == ["flag", "padding_2", "ipv4_ttl", "x", "x_2"]


SHARED = (
    HEAD
    + """
  %there = packet.guard %data[18], %end : !packet.ptr, !packet.end_ptr -> i1
  %k0 = arith.constant 0 : i8
  %k3 = arith.constant 3 : i8
  cf.cond_br %there, ^in, ^last(%k3 : i8)
^in:
  %a = packet.load %data[14] : !packet.ptr -> i8
  %b = packet.load %data[15] : !packet.ptr -> i8
  %c = packet.load %data[16] : !packet.ptr -> i8
  %ca = arith.cmpi eq, %a, %k0 : i8
  %cb = arith.cmpi eq, %b, %k0 : i8
  %cc = arith.cmpi eq, %c, %k0 : i8
  cf.cond_br %ca, ^left(%a : i8), ^right
^left(%l: i8):
  %l1 = packet.load %data[17] : !packet.ptr -> i8
  packet.store %data[0], %l1 : !packet.ptr, i8
  cf.cond_br %cb, ^middle(%l1 : i8), ^last(%l : i8)
^right:
  packet.store %data[1], %b : !packet.ptr, i8
  cf.cond_br %cb, ^middle(%c : i8), ^far
^middle(%m: i8):
  packet.store %data[2], %m : !packet.ptr, i8
  cf.cond_br %cc, ^last(%m : i8), ^far
^far:
  packet.store %data[3], %c : !packet.ptr, i8
  cf.br ^last(%c : i8)
^last(%z: i8):
  placement.handoff 3 to @xdp from %ctx carrying (%z) : !packet.ctx, i8
"""
)


def expected(data: bytes) -> Result:
    """What SHARED does, written down once more."""
    if len(data) < 18:
        return Result(None, data, resume=3, values=(3,))
    a, b, c, d = data[14:18]
    out, last = bytearray(data), 0
    if a == 0:
        out[0] = d
        middle = d
    else:
        out[1] = b
        middle = c
    if b == 0:
        out[2] = last = middle
        if c != 0:
            out[3] = last = c
    elif a != 0:
        out[3] = last = c
    return Result(None, bytes(out), resume=3, values=(last,))


def test_blocks_that_several_paths_share() -> None:
    nic = Nic(placed(SHARED))
    for n in range(16):
        data = b"frame headers." + bytes((n >> bit & 1) * (bit + 5) for bit in range(4)) + b"rest"
        assert nic.run(data) == expected(data), nic.text
    assert nic.run(b"frame headers.123") == expected(b"frame headers.123")


def test_names_do_not_clash() -> None:
    """Maps may be called anything: also as words of P4, or as other maps once illegal characters are gone."""
    names = ["apply", "hdr", "a.b", "a_b", "register", "9lives", "Ingress", "drop"]
    declarations = "\n".join(f'map.decl @"{name}" "hash" key 4 value 4 entries 4 flags 0' for name in names)
    body = (
        HEAD + "%key = ebpf.sub %end, %data : !packet.end_ptr, !packet.ptr -> i64\n%k = arith.trunci %key : i64 to i32"
    )
    body += "\n%s0 = arith.constant 0 : i32"
    for n, name in enumerate(names):
        type_ = f'!map.value<@"{name}">'
        body += f"""
          %p{n} = map.lookup @"{name}"(%k) : i32 -> {type_}
          %h{n} = map.hit %p{n} : {type_} -> i1
          cf.cond_br %h{n}, ^f{n}, ^n{n}(%s{n} : i32)
        ^f{n}:
          %v{n} = map.load %p{n}[0] : {type_} -> i32
          %w{n} = arith.addi %v{n}, %s{n} : i32
          cf.br ^n{n}(%w{n} : i32)
        ^n{n}(%s{n + 1}: i32):
        """
    body += f"placement.handoff 1 to @xdp from %ctx carrying (%s{len(names)}) : !packet.ctx, i32"
    contents = {name: [{"key": "14000000", "value": f"{1 << n:02x}000000"}] for n, name in enumerate(names)}
    assert Nic(placed(body, declarations), contents).run(bytes(20)).values == (255,)


def test_output_is_deterministic() -> None:
    assert Nic(placed(SHARED)).text == Nic(placed(SHARED)).text


def test_every_emitted_text_loads_without_change_of_meaning() -> None:
    """The text is a whole program by itself."""
    for body, declarations in ((LADDER, ""), (HANDOFF, EDGE), (SHARED, "")):
        load(Nic(placed(body, declarations)).text, "nic.p4")


P4C = next((name for name in ("p4c-bm2-ss", "p4test", "p4c") if shutil.which(name)), None)


@pytest.mark.skipif(P4C is None, reason="no P4 compiler here (p4c-bm2-ss, p4test or p4c): emitted text is not compiled")
@pytest.mark.parametrize("body", [LADDER, HANDOFF, SHARED])
def test_the_reference_compiler_takes_it(body: str, tmp_path: Path) -> None:
    assert P4C is not None
    file = tmp_path / "nic.p4"
    file.write_text(Nic(placed(body)).text)
    result = subprocess.run([P4C, str(file)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
