"""Maps on the NIC: tables, counters and redirection of emitted programs against the interpreter's maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from p4_placed import DROP, PASS, REDIRECT, TX, Nic, Result, placed

from fsir.backends.p4 import evaluate
from fsir.backends.p4.mirror import MirrorError, add_to
from fsir.interp.engine import InterpProgram

FRAME = bytes(range(64))

HEAD = """
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %pass = arith.constant 2 : i64
  %tx = arith.constant 3 : i64
  %there = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %there, ^in, ^short
^short:
  packet.verdict %drop : i64
^in:
"""

HIT = """
  %hit = map.hit %value : !map.value<@m> -> i1
  cf.cond_br %hit, ^found, ^missed
^missed:
  packet.verdict %pass : i64
^found:
"""


def entry(key: bytes, value: bytes) -> dict[str, str]:
    return {"key": key.hex(), "value": value.hex()}


def frame(at: dict[int, bytes]) -> bytes:
    """The frame with other bytes at some offsets."""
    data = bytearray(FRAME)
    for offset, new in at.items():
        data[offset : offset + len(new)] = new
    return bytes(data)


def check(nic: Nic, program: InterpProgram, frames: Sequence[bytes], port: int = 1) -> list[Result]:
    """Run the frames through both; they must agree. What became of them, on the NIC."""
    results = []
    for data in frames:
        outcome, result = program.run(data, ifindex=port), nic.run(data, port)
        assert result.verdict == outcome.verdict, nic.text
        assert outcome.verdict == DROP or result.data == outcome.data, nic.text
        results.append(result)
    return results


def pair(body: str, declarations: str, contents: dict[str, Any], **options: Any) -> tuple[Nic, InterpProgram]:
    module = placed(HEAD + body, declarations)
    return Nic(module, contents, **options), InterpProgram(module, maps=contents)


# -- tables --------------------------------------------------------------------------------------------------------

STORE_VALUE = """
  %low = map.load %value[0] : !map.value<@m> -> i32
  %high = map.load %value[6] : !map.value<@m> -> i16
  %byte = map.load %value[4] : !map.value<@m> -> i8
  packet.store %data[0], %low : !packet.ptr, i32
  packet.store %data[4], %high : !packet.ptr, i16
  packet.store %data[6], %byte : !packet.ptr, i8
  packet.verdict %tx : i64
"""


def test_hash_with_key_of_fields_and_constants() -> None:
    declarations = 'map.decl @m "hash" key 8 value 8 entries 16 flags 0'
    body = """
      %a = packet.load %data[26] : !packet.ptr -> i32
      %b = packet.load %data[20] : !packet.ptr -> i16
      %w = arith.extui %b : i16 to i64
      %s = ebpf.be16 %w : i64 -> i64
      %c = arith.constant 17 : i8
      %pad = arith.constant 0 : i8
      %n = arith.trunci %s : i64 to i16
      %value = map.lookup @m(%a, %n, %c, %pad) : i32, i16, i8, i8 -> !map.value<@m>
    """
    contents = {
        "m": [
            entry(bytes.fromhex("1a1b1c1d 1514 11 00"), b"ABCDEFGH"),
            entry(bytes.fromhex("01020304 1514 11 00"), b"abcdefgh"),
            entry(bytes.fromhex("01020304 1514 06 00"), b"never..."),
        ]
    }
    nic, program = pair(body + HIT + STORE_VALUE, declarations, contents)
    found, other, missed = check(nic, program, [FRAME, frame({26: b"\1\2\3\4"}), frame({20: b"\0\0"})])
    assert found.data is not None and found.data[:7] == b"ABCDGHE"
    assert (other.verdict, missed.verdict) == (TX, PASS)
    (table,) = nic.control["tables"]
    assert [(k["offset"], k["size"]) for k in table["keys"]] == [(0, 4), (4, 2)]
    assert table["constants"] == [{"offset": 6, "bytes": "11"}, {"offset": 7, "bytes": "00"}]
    assert len(nic.switch.entries("m")) == 2, "the entry that this lookup cannot ask for is not mirrored"


@pytest.mark.parametrize("names", [("action", "m_hit", "a.b"), ("x", "x", "b6"), ("table", "m_action", "apply")])
def test_members_may_have_any_name(names: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also words of P4, and those that variables would have: a parameter must not hide one."""
    offsets = [(0, 4), (4, 1), (6, 2)]
    members = [(name, *place) for name, place in zip(names, offsets, strict=True)]
    monkeypatch.setattr(evaluate, "members_of", lambda btf, type_id, whole: members if whole == "value" else [])
    declarations = 'map.decl @m "hash" key 4 value 8 entries 4 flags 0'
    body = "%a = packet.load %data[26] : !packet.ptr -> i32\n%value = map.lookup @m(%a) : i32 -> !map.value<@m>"
    nic, program = pair(body + HIT + STORE_VALUE, declarations, {"m": [entry(FRAME[26:30], b"ABCDEFGH")]})
    found, missed = check(nic, program, [FRAME, frame({26: b"\0"})])
    assert (found.verdict, missed.verdict) == (TX, PASS)


def test_longest_prefix() -> None:
    declarations = 'map.decl @m "lpm_trie" key 8 value 8 entries 16 flags 1'
    body = """
      %bits = arith.constant 32 : i32
      %a = packet.load %data[30] : !packet.ptr -> i32
      %value = map.lookup @m(%bits, %a) : i32, i32 -> !map.value<@m>
    """
    prefixes = {"0a000000": 8, "0a010000": 16, "0a010203": 32, "c0a80180": 25}
    contents = {
        "m": [
            entry(length.to_bytes(4, "little") + bytes.fromhex(net), bytes([length] * 8))
            for net, length in prefixes.items()
        ]
    }
    nic, program = pair(body + HIT + STORE_VALUE, declarations, contents)
    addresses = ["0a020304", "0a01ffff", "0a010203", "0a010204", "c0a801ff", "c0a8017f", "0b000000"]
    results = check(nic, program, [frame({30: bytes.fromhex(address)}) for address in addresses])
    assert [r.data[0] if r.verdict == TX and r.data else None for r in results] == [8, 16, 32, 16, 25, None, None]


def test_shared_map_is_looked_up_twice() -> None:
    declarations = 'map.decl @m "hash" key 4 value 8 entries 4 flags 0'
    body = """
      %a = packet.load %data[26] : !packet.ptr -> i32
      %b = packet.load %data[30] : !packet.ptr -> i32
      %first = map.lookup @m(%a) : i32 -> !map.value<@m>
      %hit1 = map.hit %first : !map.value<@m> -> i1
      cf.cond_br %hit1, ^go(%first : !map.value<@m>), ^again
    ^again:
      %second = map.lookup @m(%b) : i32 -> !map.value<@m>
      %hit2 = map.hit %second : !map.value<@m> -> i1
      cf.cond_br %hit2, ^go(%second : !map.value<@m>), ^missed
    ^missed:
      packet.verdict %pass : i64
    ^go(%value: !map.value<@m>):
    """
    contents = {"m": [entry(b"\1\2\3\4", b"12345678"), entry(b"\5\6\7\10", b"abcdefgh")]}
    nic, program = pair(body + STORE_VALUE, declarations, contents)
    frames = [frame({26: b"\1\2\3\4"}), frame({30: b"\5\6\7\10"}), frame({26: b"\5\6\7\10", 30: b"\1\2\3\4"}), FRAME]
    assert [r.verdict for r in check(nic, program, frames)] == [TX, TX, TX, PASS]
    assert len(nic.control["tables"]) == 2


@pytest.mark.parametrize("index", ["%small", "%three", "%seven"])
def test_array_elements(index: str) -> None:
    """Elements exist up to the array's size, and are zero until written."""
    declarations = 'map.decl @m "array" key 4 value 8 entries 6 flags 0'
    body = f"""
      %byte0 = packet.load %data[26] : !packet.ptr -> i8
      %small = arith.extui %byte0 : i8 to i32
      %three = arith.constant 3 : i32
      %seven = arith.constant 7 : i32
      %value = map.lookup @m({index}) : i32 -> !map.value<@m>
    """
    contents = {"m": [entry(bytes([n, 0, 0, 0]), bytes([n] * 8)) for n in (1, 3)]}
    nic, program = pair(body + HIT + STORE_VALUE, declarations, contents)
    check(nic, program, [frame({26: bytes([n])}) for n in (0, 1, 3, 5, 6, 255)])


def test_hash_with_constant_key_is_a_default_action() -> None:
    declarations = 'map.decl @m "hash" key 4 value 8 entries 4 flags 0'
    body = """
      %key = arith.constant 5 : i32
      %value = map.lookup @m(%key) : i32 -> !map.value<@m>
    """
    contents = {"m": [entry(b"\5\0\0\0", b"12345678"), entry(b"\6\0\0\0", b"notme...")]}
    nic, program = pair(body + HIT + STORE_VALUE, declarations, contents)
    (result,) = check(nic, program, [FRAME])
    assert result.verdict == TX
    nic.controller.mirror({"m": []})
    assert nic.run(FRAME).verdict == PASS, "taking the entry away takes it away from the switch"


def test_global_data_starts_as_in_the_object() -> None:
    declarations = """
      map.decl @".rodata" "array" key 4 value 8 entries 1 flags 128 {section = ".rodata", internal = unit}
      object.section ".rodata" type 1 flags 2 align 4 {data = "0a00000041424344"}
    """
    body = """
      %at = ebpf.ld_sym @".rodata" {offset = #builtin.int<4>} -> !map.value<@".rodata">
      %word = map.load %at[0] : !map.value<@".rodata"> -> i32
      packet.store %data[0], %word : !packet.ptr, i32
      packet.verdict %tx : i64
    """
    nic, program = pair(body, declarations, {})
    (result,) = check(nic, program, [FRAME])
    assert result.data is not None and result.data[:4] == b"ABCD"
    other = {".rodata": [{"key": "00000000", "value": "0a00000061626364"}]}
    nic.controller.mirror(other)
    program.set_maps(other)
    (result,) = check(nic, program, [FRAME])
    assert result.data is not None and result.data[:4] == b"abcd"
    nic.controller.mirror({".rodata": []})
    zeroed = nic.run(FRAME).data
    assert zeroed is not None and zeroed[:4] == bytes(4), "a zero element is not listed, and is no longer what it was"


# -- counters ------------------------------------------------------------------------------------------------------

LENGTH = """
  %length = ebpf.sub %end, %data : !packet.end_ptr, !packet.ptr -> i64
  %n32 = arith.constant 32 : i64
  %l1 = arith.shli %length, %n32 : i64
  %bytes = arith.shrui %l1, %n32 : i64
  %one = arith.constant 1 : i64
  %byte0 = packet.load %data[26] : !packet.ptr -> i8
  %index = arith.extui %byte0 : i8 to i32
  %value = map.lookup @m(%index) : i32 -> !map.value<@m>
"""
ADD = 'map.atomic "add" %value[{off}], {what} : !map.value<@m>, i64'
LOAD_STORE = """
  %old{off} = map.load %value[{off}] : !map.value<@m> -> i64
  %new{off} = arith.addi %old{off}, {what} : i64
  map.store %value[{off}], %new{off} : !map.value<@m>, i64
"""
COUNTS = [
    ("packets", [(ADD, 0, "%one")], ["packets"]),
    ("bytes", [(ADD, 8, "%bytes")], ["bytes"]),
    ("both, in one counter", [(ADD, 0, "%one"), (ADD, 8, "%bytes")], ["bytes packets"]),
    ("read, add, write", [(LOAD_STORE, 0, "%one"), (LOAD_STORE, 8, "%bytes")], ["bytes packets"]),
    ("a sum, in a register", [(ADD, 0, "%l1")], ["sum"]),
    ("packets and a sum", [(ADD, 0, "%one"), (LOAD_STORE, 8, "%l1")], ["packets", "sum"]),
]


@pytest.mark.parametrize("kind", ["array", "percpu_array"])
@pytest.mark.parametrize(("adds", "objects"), [row[1:] for row in COUNTS], ids=[row[0] for row in COUNTS])
def test_counters(kind: str, adds: list[tuple[str, int, str]], objects: list[str]) -> None:
    declarations = f'map.decl @m "{kind}" key 4 value 16 entries 40 flags 0'
    body = LENGTH + HIT + "\n".join(text.format(off=off, what=what) for text, off, what in adds)
    value = bytes.fromhex("05" + "00" * 15).hex()
    start = {"m": [{"key": "1a000000", **({"value": value} if kind == "array" else {"values": [value]})}]}
    nic, program = pair(body + "\n  packet.verdict %tx : i64", declarations, start)
    check(nic, program, [FRAME, FRAME, frame({26: b"\3"}) + b"more", frame({26: b"\x28"}), FRAME[:20]])
    kinds = [" ".join(sorted(count["what"] for count in each["counts"])) for each in nic.control["counters"]]
    assert kinds == objects
    merged = add_to(start, nic.control, nic.controller.collect())
    assert merged["m"] == program.dump_maps()["m"]
    assert nic.controller.collect() == [], "what was merged is not merged again"
    check(nic, program, [FRAME])
    merged = add_to(merged, nic.control, nic.controller.collect())
    assert merged["m"] == program.dump_maps()["m"]


TWO_PLACES = """
  cf.cond_br %there, ^first, ^second
^first:
  map.atomic "add" %value[0], {first} : !map.value<@m>, i64
  map.atomic "add" %{other}[8], %bytes : !map.value<@m>, i64
  cf.br ^second
^second:
  map.atomic "add" %value[0], {second} : !map.value<@m>, i64
  {more}
  packet.verdict %tx : i64
"""


@pytest.mark.parametrize(
    ("first", "second", "other", "more", "objects"),
    [
        ("%one", "%bytes", "value", "", ["sum", "bytes"]),
        ("%one", "%one", "value", "", ["packets", "bytes"]),
        ("%one", "%one", "value2", 'map.atomic "add" %value2[8], %bytes : !map.value<@m>, i64', ["packets", "bytes"]),
        ("%one", "%one", "value", 'map.atomic "add" %value[8], %bytes : !map.value<@m>, i64', ["bytes packets"]),
    ],
)
def test_what_is_counted_together(first: str, second: str, other: str, more: str, objects: list[str]) -> None:
    """One counter counts packets and bytes only where the program adds to both, of the same element, everywhere."""
    declarations = 'map.decl @m "array" key 4 value 16 entries 256 flags 0'
    body = LENGTH + "%i2 = arith.constant 3 : i32\n%value2 = map.lookup @m(%i2) : i32 -> !map.value<@m>"
    body += TWO_PLACES.format(first=first, second=second, other=other, more=more)
    nic, program = pair(body, declarations, {})
    check(nic, program, [FRAME, FRAME + b"more"])
    kinds = [" ".join(sorted(count["what"] for count in each["counts"])) for each in nic.control["counters"]]
    assert kinds == objects
    assert add_to({}, nic.control, nic.controller.collect())["m"] == program.dump_maps()["m"]


def test_sums_of_narrow_numbers_wrap() -> None:
    declarations = 'map.decl @m "array" key 4 value 4 entries 1 flags 0'
    body = """
      %zero = arith.constant 0 : i32
      %large = arith.constant 2147483647 : i32
      %value = map.lookup @m(%zero) : i32 -> !map.value<@m>
      map.atomic "add" %value[0], %large : !map.value<@m>, i32
      packet.verdict %tx : i64
    """
    start = {"m": [entry(bytes(4), b"\xff\xff\xff\xff")]}
    nic, program = pair(body, declarations, start)
    check(nic, program, [FRAME] * 3)
    merged = add_to(start, nic.control, nic.controller.collect())
    assert merged == {"m": program.dump_maps()["m"]}


# -- redirection ---------------------------------------------------------------------------------------------------

REDIRECT_MAP = """
  %byte0 = packet.load %data[26] : !packet.ptr -> i8
  %key = arith.extui %byte0 : i8 to i64
  %verdict = map.redirect @ports[%key] flags {flags} : i64, i64 -> i64
  packet.verdict %verdict : i64
"""
DEVMAP = 'map.decl @ports "devmap" key 4 value 4 entries 8 flags 0'
PORTS = {"ports": [{"key": "01000000", "ifindex": 2}, {"key": "02000000", "ifindex": 70}]}


@pytest.mark.parametrize(("flags", "missed"), [("%drop", DROP), ("%pass", PASS)])
def test_redirect_through_a_map(flags: str, missed: int) -> None:
    nic, program = pair(REDIRECT_MAP.format(flags=flags), DEVMAP, PORTS, ports={1: 0, 2: 5})
    frames = [frame({26: bytes([key])}) for key in (1, 2, 3)]
    results = check(nic, program, frames, port=0)
    assert [(r.verdict, r.target) for r in results] == [(REDIRECT, 2), (REDIRECT, 70), (missed, None)]


def test_redirect_to_an_interface() -> None:
    body = """
      %byte0 = packet.load %data[26] : !packet.ptr -> i8
      %to = arith.extui %byte0 : i8 to i64
      %none = arith.constant 0 : i64
      %verdict = ebpf.call 23(%to, %none) : i64, i64 -> i64
      packet.verdict %verdict : i64
    """
    nic, program = pair(body, "", {}, ports={9: 3})
    results = check(nic, program, [frame({26: b"\x09"}), frame({26: b"\x08"})])
    assert [r.target for r in results] == [9, 8]


def test_ingress_interface() -> None:
    body = """
      %interface = packet.ctx_load %ctx[12] : !packet.ctx -> i32
      packet.store %data[0], %interface : !packet.ptr, i32
      packet.verdict %pass : i64
    """
    nic, program = pair(body, "", {}, ports={4711: 3})
    assert (nic.run(FRAME, port=3).data or b"")[:4] == (4711).to_bytes(4, "little")
    check(nic, program, [FRAME], port=5)


# -- contents that do not fit --------------------------------------------------------------------------------------

WRONG = [
    ({"ports": [{"key": "01000000", "ifindex": 2, "program": "p"}]}, "an entry with a program cannot be on the NIC"),
    ({"ports": [{"key": "01000000"}]}, "an entry needs 'ifindex'"),
    ({"ports": [{"key": "01", "ifindex": 2}]}, "key must be 4 bytes in hex, not '01'"),
    ({"ports": [{"key": "01000000", "ifindex": 2}] * 2}, "two entries of its map have one key"),
]


@pytest.mark.parametrize(("contents", "message"), WRONG)
def test_contents_that_cannot_be_mirrored(contents: dict[str, Any], message: str) -> None:
    with pytest.raises(MirrorError, match=message):
        Nic(placed(HEAD + REDIRECT_MAP.format(flags="%drop"), DEVMAP), contents)
