"""The table of effects: who may change what somebody else reads."""

from __future__ import annotations

import pytest
from codegen_helpers import parse, xdp

from fsir.analysis.effects import ANYTHING, CTX, FRAME, LAYOUT, MEMORY, OTHER, PACKET, EffectTable
from fsir.dialects.ebpf import functions

BEFORE = """
map.decl @flows "hash" key 4 value 8 entries 16 flags 0
map.decl @other "hash" key 4 value 8 entries 16 flags 0
map.decl @cache "lru_hash" key 4 value 8 entries 16 flags 0
ebpf.func @sub section ".text" { ^bb0: ebpf.end }
"""
PROGRAM = """
%data = packet.data %ctx : !packet.ctx -> !packet.ptr
%fp = ebpf.frame -> !ebpf.fp
%n = arith.constant 4 : i64
%key = arith.constant 4 : i32
%flow = map.lookup @flows(%key) : i32 -> !map.value<@flows>
%flows = ebpf.ld_sym @flows -> !map.handle<@flows>
%what = ebpf.undef -> reg
{OP}
packet.verdict %n : i64
"""


def effects_of(op: str) -> tuple[EffectTable, int, int, bool]:
    """What the table says of an operation: itself, reads, writes, removable."""
    module = parse(xdp(PROGRAM.replace("{OP}", op), BEFORE))
    table = EffectTable(module)
    verdict = functions(module)[-1].entry.last_op
    found = verdict.prev_op if verdict is not None else None
    assert found is not None
    effects = table.of(found)
    return table, effects.reads, effects.writes, effects.removable


FIXED = [
    ("%r = packet.data %ctx : !packet.ctx -> !packet.ptr", LAYOUT, 0, True),
    ("%r = packet.load %data[0] : !packet.ptr -> i8", PACKET, 0, True),
    ("packet.store %data[0], %n : !packet.ptr, i64", 0, PACKET, False),
    ("%r = packet.ctx_load %ctx[16] : !packet.ctx -> i32", CTX, 0, True),
    ("%r = packet.adjust_head %ctx, %n : !packet.ctx, i64 -> i64", LAYOUT, PACKET | LAYOUT | CTX, False),
    ("%r = packet.guard %data[4], %data : !packet.ptr, !packet.ptr -> i1", 0, 0, True),
    ("%r = ebpf.ldx32 %fp[-4] : !ebpf.fp -> i64", FRAME, 0, True),
    ("ebpf.stx32 %fp[-4], %n : !ebpf.fp, i64", 0, FRAME, False),
    ("ebpf.atomic_add64 %fp[-8], %n : !ebpf.fp, i64", FRAME, FRAME, False),
    ("%r = ebpf.call 5() -> i64", OTHER, 0, True),
    ("%r = ebpf.call 7() -> i64", OTHER, OTHER, False),
    ("%r = ebpf.call 12(%ctx, %flows, %n) : !packet.ctx, !map.handle<@flows>, i64 -> i64", ANYTHING, ANYTHING, False),
    ("%r = ebpf.call 113(%fp, %n, %data) : !ebpf.fp, i64, !packet.ptr -> i64", OTHER | MEMORY, FRAME | OTHER, False),
    # bpf_get_hash_recalc looks at headers, bpf_skb_ecn_set_ce at those that it changes, bpf_snprintf at what an array
    # of addresses leads to.
    ("%r = ebpf.call 34(%ctx) : !packet.ctx -> i64", OTHER | LAYOUT | PACKET | CTX, OTHER | CTX, False),
    ("%r = ebpf.call 97(%ctx) : !packet.ctx -> i64", OTHER | LAYOUT | PACKET | CTX, OTHER | PACKET | CTX, False),
    (
        "%r = ebpf.call 165(%fp, %n, %data, %data, %n) : !ebpf.fp, i64, !packet.ptr, !packet.ptr, i64 -> i64",
        MEMORY,
        FRAME,
        False,
    ),
    ("%r = ebpf.call_local @sub(%n) : i64 -> i64", ANYTHING, ANYTHING, False),
    ("%r = ebpf.call 93(%flow) : !map.value<@flows> -> i64", ANYTHING, ANYTHING, False),
    ("%r = arith.addi %n, %n : i64", 0, 0, True),
]


@pytest.mark.parametrize(("op", "reads", "writes", "removable"), FIXED, ids=lambda value: str(value)[:30])
def test_effects(op: str, reads: int, writes: int, removable: bool) -> None:
    assert effects_of(op)[1:] == (reads, writes, removable)


def test_maps_do_not_overlap() -> None:
    table, _, writes, _ = effects_of("map.store %flow[0], %n : !map.value<@flows>, i64")
    assert writes == table.values("flows")
    assert not writes & table.values("other")
    assert not writes & table.entries("flows")


def test_updates_change_entries_and_values_of_their_map_only() -> None:
    table, _, writes, removable = effects_of("%r = map.delete @flows(%key) : i32 -> i64")
    assert writes == table.values("flows") | table.entries("flows")
    assert not removable


def test_lookup_in_an_lru_is_an_effect() -> None:
    assert effects_of("%r = map.lookup @flows(%key) : i32 -> !map.value<@flows>")[2:] == (0, True)
    table, _, writes, removable = effects_of("%r = map.lookup @cache(%key) : i32 -> !map.value<@cache>")
    assert (writes, removable) == (table.entries("cache"), False)


def test_what_is_read_at_an_address_of_unknown_kind_may_be_anything() -> None:
    _, reads, _, _ = effects_of("%r = ebpf.ldx64 %what[0] : reg -> reg")
    assert reads & PACKET and reads & FRAME and not reads & LAYOUT


def test_a_helper_writes_the_memory_it_is_given() -> None:
    # bpf_xdp_load_bytes
    _, reads, writes, _ = effects_of("%r = ebpf.call 189(%ctx, %n, %fp, %n) : !packet.ctx, i64, !ebpf.fp, i64 -> i64")
    assert writes & FRAME and reads & PACKET and not writes & PACKET
