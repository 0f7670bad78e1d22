"""What can be in a P4 program, operation by operation, and that the emitter says the same."""

from __future__ import annotations

import pytest
from p4_placed import MODULE, placed

from fsir.backends.p4.capabilities import P4Context, map_uses, why_not
from fsir.backends.p4.emit import emit
from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.inputs import parse_text
from fsir.driver.targets import EmitOptions

MAPS = """
  map.decl @hash "hash" key 4 value 8 entries 16 flags 0
  map.decl @lru "lru_hash" key 4 value 8 entries 16 flags 0
  map.decl @percpu "percpu_array" key 4 value 8 entries 16 flags 0
  map.decl @array "array" key 4 value 8 entries 16 flags 0
  map.decl @mixed "array" key 4 value 8 entries 16 flags 0
  map.decl @unsized "hash" key 4 value 8 entries 0 flags 0
  map.decl @trie "lpm_trie" key 8 value 8 entries 16 flags 1
  map.decl @ports "devmap" key 4 value 4 entries 16 flags 0
  map.decl @programs "devmap" key 4 value 8 entries 16 flags 0
  map.decl @sockets "xskmap" key 4 value 4 entries 16 flags 0
"""
BODY = """
^bb0(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %there = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
  %one = arith.constant 1 : i64
  cf.cond_br %there, ^in, ^out
^out:
  packet.verdict %one : i64
^in:
  %word = packet.load %data[14] : !packet.ptr -> i32
  %wide = arith.extui %word : i32 to i64
  %zero = arith.constant 0 : i64
  %in_hash = map.lookup @hash(%word) : i32 -> !map.value<@hash>
  %in_array = map.lookup @array(%word) : i32 -> !map.value<@array>
  %in_percpu = map.lookup @percpu(%word) : i32 -> !map.value<@percpu>
  %in_mixed = map.lookup @mixed(%word) : i32 -> !map.value<@mixed>
  %read = map.load %in_mixed[0] : !map.value<@mixed> -> i32
  {op}
  packet.verdict %one : i64
"""

POSSIBLE = [
    "%x = packet.load %data[33] : !packet.ptr -> i8",
    "packet.store %data[0], %word : !packet.ptr, i32",
    "%x = packet.ctx_load %ctx[12] : !packet.ctx -> i32",
    "%x = ebpf.sub %end, %data : !packet.end_ptr, !packet.ptr -> i64",
    "%p = packet.offset %data[9] : !packet.ptr -> !packet.ptr\n"
    "%x = ebpf.sub %p, %data : !packet.ptr, !packet.ptr -> i64\npacket.store %data[0], %x : !packet.ptr, i64",
    "%x = ebpf.frame -> !ebpf.fp",
    "%eight = arith.constant 8 : i64\n%x = arith.divui %wide, %eight : i64",
    "%three = arith.constant 3 : i64\n%x = arith.muli %wide, %three : i64",
    "%x = ebpf.lsh %wide, %wide : i64, i64 -> i64",
    "%x = map.load %in_hash[0] : !map.value<@hash> -> i64",
    'map.atomic "add" %in_array[0], %one : !map.value<@array>, i64',
    'map.atomic "add" %in_mixed[4], %word : !map.value<@mixed>, i32',
    "%bits = arith.constant 32 : i32\n%x = map.lookup @trie(%bits, %word) : i32, i32 -> !map.value<@trie>",
    "%x = map.redirect @ports[%wide] flags %one : i64, i64 -> i64",
    "%x = ebpf.call 188(%ctx) : !packet.ctx -> i64\npacket.store %data[0], %x : !packet.ptr, i64",
    "%x = ebpf.call 23(%wide, %zero) : i64, i64 -> i64",
]
IMPOSSIBLE = [
    ("%x = packet.load %data[31] : !packet.ptr -> i32", "no check of the packet's length covers these bytes"),
    ("%x = packet.advance %data, %wide : !packet.ptr, i64 -> !packet.ptr", "the packet offset is no constant"),
    (
        "%p = packet.advance %data, %wide : !packet.ptr, i64 -> !packet.ptr\n"
        "%x = ebpf.sub %p, %data : !packet.ptr, !packet.ptr -> i64",
        "",
    ),
    ("%x = packet.ctx_load %ctx[16] : !packet.ctx -> i32", "does not know this field of the context"),
    ("%x = packet.adjust_head %ctx, %one : !packet.ctx, i64 -> i64", "the packet's start is moved"),
    ("%ten = arith.constant 10 : i64\n%x = arith.divui %wide, %ten : i64", "divides by powers of two only"),
    ("%x = arith.muli %wide, %wide : i64", "product of two variables"),
    ("%x = ebpf.div %wide, %wide : i64, i64 -> i64", "ebpf.div has no counterpart"),
    ("%x = map.lookup @lru(%word) : i32 -> !map.value<@lru>", "keeps it from being evicted"),
    ("%x = map.lookup @unsized(%word) : i32 -> !map.value<@unsized>", "left to the loader"),
    ("%x = map.load %in_percpu[0] : !map.value<@percpu> -> i64", "the NIC has none of the kernel's CPUs"),
    ("%x = map.lookup @trie(%word, %word) : i32, i32 -> !map.value<@trie>", "the prefix length looked up is no con"),
    (
        "%bits = arith.constant 24 : i32\n%x = map.lookup @trie(%bits, %word) : i32, i32 -> !map.value<@trie>",
        "prefix length other than 32",
    ),
    ("map.store %in_array[0], %one : !map.value<@array>, i64", "entries are read-only for the packets"),
    ('map.atomic "or" %in_array[0], %one : !map.value<@array>, i64', "only additions whose result is not used"),
    ('map.atomic "add" %in_hash[0], %one : !map.value<@hash>, i64', "entries are read-only on the NIC"),
    ('map.atomic "add" %in_mixed[0], %one : !map.value<@mixed>, i64', "map mixed is more than counters: map.load"),
    (
        'map.atomic "add" %in_array[0], %one : !map.value<@array>, i64\n'
        'map.atomic "add" %in_array[4], %word : !map.value<@array>, i32',
        "numbers of different widths that overlap",
    ),
    ("%x = map.delete @hash(%word) : i32 -> i64", "it changes map hash"),
    ("%x = map.redirect @programs[%wide] flags %one : i64, i64 -> i64", "can have programs"),
    ("%x = map.redirect @sockets[%wide] flags %one : i64, i64 -> i64", "redirects to no port"),
    ("%x = map.redirect @ports[%wide] flags %wide : i64, i64 -> i64", "these flags of bpf_redirect_map"),
    ("%x = ebpf.call 5() -> i64", "bpf_ktime_get_ns is the kernel's"),
    ("%fp = ebpf.frame -> !ebpf.fp\n%x = ebpf.ldx64 %fp[-8] : !ebpf.fp -> i64", "reads memory that is neither"),
    ("%x = ebpf.cast %data : !packet.ptr -> i64", "an address becomes a number"),
]


def reasons(op: str) -> list[str]:
    module = placed(BODY.format(op=op), MAPS)
    context = P4Context(module)
    function = next(each for each in module.walk() if each.name == "ebpf.func")
    found = (why_not(each, context) for block in function.regions[0].blocks for each in block.ops)
    return [reason for reason in found if reason is not None]


@pytest.mark.parametrize("op", POSSIBLE)
def test_possible(op: str) -> None:
    assert reasons(op) == []
    emit(placed(BODY.format(op=op), MAPS))


@pytest.mark.parametrize(("op", "reason"), IMPOSSIBLE)
def test_impossible(op: str, reason: str) -> None:
    found = reasons(op)
    assert found and all(reason in each for each in found)
    with pytest.raises(FailedAt) as error:
        emit(placed(BODY.format(op=op), MAPS))
    assert reason in str(error.value)
    assert str(error.value).endswith("; place it on another target")


def test_a_loop_is_not_possible() -> None:
    body = """
    ^bb0(%ctx: !packet.ctx):
      %zero = arith.constant 0 : i64
      cf.br ^loop(%zero : i64)
    ^loop(%n: i64):
      %one = arith.constant 1 : i64
      %next = arith.addi %n, %one : i64
      %more = arith.cmpi ult, %next, %one : i64
      cf.cond_br %more, ^loop(%next : i64), ^out
    ^out:
      packet.verdict %one : i64
    """
    with pytest.raises(FailedAt, match="it is in a loop, and P4 has none"):
        emit(placed(body))


def test_a_branch_without_a_condition_tells_nothing() -> None:
    found = reasons("ebpf.may_goto ^out, ^more\n^more:\n%x = packet.load %data[33] : !packet.ptr -> i8")
    assert found and all("may_goto" in each for each in found), found


def test_a_check_on_one_path_does_not_cover_the_other() -> None:
    body = """
    ^bb0(%ctx: !packet.ctx):
      %data = packet.data %ctx : !packet.ctx -> !packet.ptr
      %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
      %some = packet.guard %data[14], %end : !packet.ptr, !packet.end_ptr -> i1
      %one = arith.constant 1 : i64
      cf.cond_br %some, ^more, ^join
    ^more:
      %all = packet.guard %data[34], %end : !packet.ptr, !packet.end_ptr -> i1
      cf.cond_br %all, ^join, ^out
    ^join:
      %byte = packet.load %data[20] : !packet.ptr -> i8
      cf.br ^out
    ^out:
      packet.verdict %one : i64
    """
    with pytest.raises(FailedAt, match="covers these bytes on every path"):
        emit(placed(body))


def test_what_maps_are_used_for() -> None:
    op = 'map.atomic "add" %in_array[0], %one : !map.value<@array>, i64\n'
    op += "%x = map.load %in_hash[0] : !map.value<@hash> -> i64"
    module = placed(BODY.format(op=op), MAPS)
    uses = map_uses(module.walk(), P4Context(module))
    assert uses == {"array": {"counters"}, "hash": {"table"}, "mixed": {"table"}}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ('placement.part @nic on "xdp" {}', "one part must be placed on a P4 target .there is: @nic on xdp"),
        ("", "one part must be placed on a P4 target .there is: none"),
        ('placement.part @nic on "p4-v1model" {}', "a NIC runs one program, and @nic has 0 .none.; place one there"),
    ],
)
def test_modules_without_a_program_for_the_nic(parts: str, message: str) -> None:
    module = parse_text(make_context(), f"builtin.module {{ {parts} }}", "placed.mlir")
    with pytest.raises(FailedAt, match=message):
        emit(module)


def test_one_of_several_programs() -> None:
    function = 'ebpf.func @{} section "xdp" attributes {{prog_type = "xdp"}} {{\n^bb0:\n{}\n}}\n'
    verdict = "%v = arith.constant {} : i64\npacket.verdict %v : i64"
    text = "".join(function.format(name, verdict.format(number)) for name, number in (("first", 1), ("second", 3)))
    module = parse_text(make_context(), f'builtin.module {{ placement.part @nic on "p4-v1model" {{ {text} }} }}', "m")
    with pytest.raises(FailedAt, match=r"@nic has 2 .first, second.; choose one with -t 'p4.program=NAME.'"):
        emit(module)
    assert "sm.egress_spec = sm.ingress_port" in emit(module, EmitOptions(parameters={"program": ("second",)}))
    with pytest.raises(FailedAt, match="there is no function 'third' on P4; @nic has: first, second"):
        emit(module, EmitOptions(parameters={"program": ("third",)}))


def test_only_xdp_programs() -> None:
    text = MODULE.format(body=BODY.format(op=""), declarations=MAPS).replace('"xdp"}', '"sched_cls"}')
    with pytest.raises(FailedAt, match="only whole XDP programs are placed on a NIC, and prog is sched_cls"):
        emit(parse_text(make_context(), text, "placed.mlir"))
