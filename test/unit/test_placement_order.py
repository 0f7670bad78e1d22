"""Cuts between looking at a map and changing it: the same as long as packets are done with one after the other."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from placement_texts import GUARDED
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from fsir.backends.af_xdp.inprocess import compiler
from fsir.backends.handoff import ORDER, SLOTS
from fsir.backends.xdp._order import SENT
from fsir.dialects.placement import EdgeOp
from fsir.driver.clang import compile_c
from fsir.driver.cli import main as fs_opt
from fsir.driver.context import make_context
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.interp.packet_io import Packet
from fsir.object.importer import import_object
from fsir.run.bundle import BundleEngine
from fsir.run.engines import Settings, Subject

SOURCES = Path(__file__).resolve().parents[1] / "programs" / "order"
COUNTER = """
map.decl @count "array" key 4 value 8 entries 1 flags 0
ebpf.func @f section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %zero = arith.constant 0 : i32
  %c = map.lookup @count(%zero) : i32 -> !map.value<@count>
  %hit = map.hit %c : !map.value<@count> -> i1
  %drop = arith.constant 1 : i64
  cf.cond_br %hit, ^look, ^out
^look:
  %seen = map.load %c[0] : !map.value<@count> -> i64
  %three = arith.constant 3 : i64
  %low = arith.cmpi ult, %seen, %three : i64
  cf.cond_br %low, ^add, ^out
^add:
  %next = arith.addi %seen, %drop : i64
  map.store %c[0], %next : !map.value<@count>, i64
  %pass = arith.constant 2 : i64
  packet.verdict %pass : i64
^out:
  packet.verdict %drop : i64
}
"""
FLOWS = f"""
map.decl @flows "hash" key 4 value 8 entries 4 flags 0{GUARDED}  %key = packet.load %data[0] : !packet.ptr -> i32
  %v = map.lookup @flows(%key) : i32 -> !map.value<@flows>
  %known = map.hit %v : !map.value<@flows> -> i1
  cf.cond_br %known, ^old, ^out
^old:
  %n = map.load %v[0] : !map.value<@flows> -> i64
  %error = map.delete @flows(%key) : i32 -> i64
  packet.verdict %n : i64
^out:
  packet.verdict %drop : i64
}}
"""
ROUTES = f"""
map.decl @routes "lpm_trie" key 8 value 8 entries 4 flags 1{GUARDED}  %key = packet.load %data[0] : !packet.ptr -> i32
  %bits = arith.constant 6 : i32
  %v = map.lookup @routes(%bits, %key) : i32, i32 -> !map.value<@routes>
  %known = map.hit %v : !map.value<@routes> -> i1
  cf.cond_br %known, ^old, ^out
^old:
  %n = map.load %v[0] : !map.value<@routes> -> i64
  %error = map.delete @routes(%bits, %key) : i32, i32 -> i64
  packet.verdict %n : i64
^out:
  packet.verdict %drop : i64
}}
"""
NETWORK = {"routes": [{"key": "0600000000000000", "value": "0300000000000000"}]}
KEPT = {"flows": [{"key": "01010101", "value": "0300000000000000"}, {"key": "02020202", "value": "0200000000000000"}]}
ONE, TWO, THREE = (bytes([n]) * 64 for n in (1, 2, 3))


def parse(text: str) -> ModuleOp:
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    return module


@pytest.mark.parametrize(
    ("text", "maps", "cut", "frames", "order"),
    [
        (COUNTER, None, "bb2", [ONE] * 6, "sequential"),
        (FLOWS, KEPT, "bb2", [ONE, THREE, TWO, ONE, TWO], "per-flow"),
        (ROUTES, NETWORK, "bb2", [ONE, THREE, ONE, TWO], "sequential"),  # keys that differ have one element
    ],
)
def test_the_same_in_order(
    text: str, maps: dict[str, list[dict[str, str]]] | None, cut: str, frames: list[bytes], order: str
) -> None:
    module = parse(text)
    run_pipeline(make_context(), module, f"decompose{{cut-at={cut}}},share-maps")
    edges = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    assert [edge.order.data for edge in edges] == [order] * 2  # the cut, and the way around for those behind
    original, placed = InterpProgram(parse(text), "f", maps=maps), InterpProgram(module, "f", maps=maps)
    expected = [original.run(frame).verdict for frame in frames]
    assert [placed.run(frame).verdict for frame in frames] == expected
    assert len(set(expected)) > 1
    assert placed.dump_maps() == original.dump_maps()


def test_values_of_tries_are_changed_in_the_kernel() -> None:
    text = ROUTES.replace("%error =", "map.store %v[0], %drop : !map.value<@routes>, i64\n  %error =")
    with pytest.raises(PassFailure) as failure:
        run_pipeline(make_context(), parse(text), "decompose{targets=af-xdp}")
    assert "values of map 'routes', a lpm_trie, change in the kernel only" in str(failure.value.__cause__)


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("name", ["sequence", "flows", "turns"])
@pytest.mark.parametrize("somebody", [True, False], ids=["handed over", "nobody takes them"])
def test_behind_one_in_flight(name: str, somebody: bool, tmp_path: Path) -> None:
    """User space does all of a packet as the original would; the kernel does when nobody takes packets any more."""
    source, bundle = SOURCES / f"{name}.c", tmp_path / "bundle"
    passes = "raise,optimize,decompose{objective=cpu},share-maps,lower"
    assert fs_opt([str(source), "-p", passes, "-t", "bundle", "-o", str(bundle), "--quiet"]) == 0
    original = InterpProgram(import_object(compile_c(source), name))
    engine = BundleEngine(Subject(str(bundle)), Settings())
    machine = engine._kernel.machine
    order = machine.maps[ORDER]
    if not somebody:
        machine.maps["fs_xsks"].set_target(0, None)  # type: ignore[attr-defined]
    rng = random.Random(5)
    for index in range(60):
        slow = somebody and rng.random() < 0.2
        packet = bytes([rng.randrange(4)] * 12) + b"\x88\xb5" + bytes([rng.randrange(256), slow]) + rng.randbytes(40)
        for slot in range(SLOTS):  # a ticket that nobody comes back with
            at = order.lookup(slot.to_bytes(4, "little"), 0)
            machine.memory.write_bytes(at + SENT, (1000 * index + 77).to_bytes(4, "little"))
        expected, found = original.run(packet), engine.run(index, Packet(packet, 0), 0)
        assert (found.verdict, found.data) == (expected.verdict, expected.data)
        user = [part for part, _ in found.parts if part == "af_xdp"]
        assert bool(user) == somebody
    maps = engine.dump_maps()
    assert {n: maps[n] for n in maps if n not in (ORDER, "fs_xsks")} == original.dump_maps()
    engine.close()


LOOP = """cf.br ^spin(%seen : i64)
^spin(%i: i64):
  %down = arith.subi %i, %drop : i64
  %more = arith.cmpi ult, %down, %seen : i64
  cf.cond_br %more, ^spin(%down : i64), ^store
^store:
  %next ="""


def test_not_chosen_where_another_cut_will_do() -> None:
    """The kernel cannot run the loop. To hand over in front of it would be for the fewest packets, but is too late."""
    module = parse(COUNTER.replace("%next =", LOOP))
    run_pipeline(make_context(), module, "decompose,share-maps")
    edges = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
    assert edges
    assert {op.order.data for op in edges} == {"commuting"}
