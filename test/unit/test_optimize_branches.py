"""Passes over control flow, on random functions whose conditions repeat: behaviour before and after each."""

from __future__ import annotations

import random
from functools import cache

import pytest
from xdsl.parser import Parser

from fsir.analysis.effects import EffectTable
from fsir.analysis.frame import declared_maps
from fsir.analysis.verify import verify_module
from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import InterpProgram
from fsir.passes.merge_guards import merge_guards
from fsir.passes.sink_code import sink
from fsir.passes.thread_jumps import thread_jumps

BLOCKS = 24
ENTRY = """\
ebpf.func @prog section "xdp" attributes {prog_type = "xdp"} {
^bb0(%ctx: !packet.ctx):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.st64 %fp[-8], 0 : !ebpf.fp
  ebpf.st64 %fp[-16], 0 : !ebpf.fp
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %queue = packet.ctx_load %ctx[16] : !packet.ctx -> i32
  %q = arith.extui %queue : i32 to i64
  %interface = packet.ctx_load %ctx[12] : !packet.ctx -> i32
  %i = arith.extui %interface : i32 to i64
  %none = arith.constant 0 : i64
  %all = packet.guard %data[20], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %all, ^bb1(%q, %i : i64, i64), ^bb{fail}(%q, %none : i64, i64)
"""


class Writer:
    """Writes one function: forward branches between blocks of two arguments each; the last is the common end."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines = [ENTRY.replace("{fail}", str(BLOCKS))]
        self.count = 0

    def put(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}\n")
        return f"%v{self.count}"

    def constant(self, *values: int) -> str:
        return self.put(f"arith.constant {self.rng.choice(values)} : i64")

    def block(self, number: int) -> None:
        self.lines.append(f"^bb{number}(%a{number}: i64, %b{number}: i64):\n")
        values = [f"%a{number}", f"%b{number}", "%q", "%i"]
        for _ in range(self.rng.choice((0, 0, 0, 0, 1, 2)) if number < BLOCKS else 0):
            self.step(values)
        if number == BLOCKS:
            slot = self.put(f"ebpf.ldx64 %fp[-{8 * self.rng.randrange(1, 3)}] : !ebpf.fp -> i64")
            mixed = self.put(f"arith.xori {slot}, {self.rng.choice(values)} : i64")
            self.lines.append(f"  packet.verdict {mixed} : i64\n")
        else:
            self.leave(number, values)

    def step(self, values: list[str]) -> None:
        rng = self.rng
        kind = rng.randrange(6)
        if kind == 0:
            byte = self.put(f"packet.load %data[{rng.randrange(20)}] : !packet.ptr -> i8")
            values.append(self.put(f"arith.extui {byte} : i8 to i64"))
        elif kind == 1:
            self.lines.append(f"  ebpf.stx64 %fp[-{8 * rng.randrange(1, 3)}], {rng.choice(values)} : !ebpf.fp, i64\n")
        elif kind == 2:
            self.lines.append(f"  ebpf.st64 %fp[-{8 * rng.randrange(1, 3)}], {rng.randrange(3)} : !ebpf.fp\n")
        elif kind == 3:
            low = self.put(f"arith.trunci {rng.choice(values)} : i64 to i8")
            self.lines.append(f"  packet.store %data[{rng.randrange(20)}], {low} : !packet.ptr, i8\n")
        elif kind == 4:
            op = rng.choice(("addi", "andi", "xori", "shrui"))
            values.append(self.put(f"arith.{op} {rng.choice(values)}, {self.constant(1, 3)} : i64"))
        else:
            condition = self.condition(values)
            values.append(self.put(f"arith.extui {condition} : i1 to i64"))

    def condition(self, values: list[str]) -> str:
        rng = self.rng
        if rng.random() < 0.1:
            return self.guard()
        if rng.random() < 0.4:
            limit = self.constant(0, 1, 2)
            return self.put(f"arith.cmpi {rng.choice(('eq', 'ne'))}, {rng.choice(('%q', '%i'))}, {limit} : i64")
        predicate = rng.choice(("eq", "eq", "ne", "ult", "ugt"))
        left = self.put(f"arith.trunci {rng.choice(values)} : i64 to i32") if rng.random() < 0.3 else None
        if left is not None:
            limit = self.put(f"arith.constant {rng.randrange(3)} : i32")
            return self.put(f"arith.cmpi {predicate}, {left}, {limit} : i32")
        return self.put(f"arith.cmpi {predicate}, {rng.choice(values)}, {self.constant(0, 1, 2)} : i64")

    def guard(self) -> str:
        size = self.rng.choice((14, 20, 34, 42))
        return self.put(f"packet.guard %data[{size}], %end : !packet.ptr, !packet.end_ptr -> i1")

    def leave(self, number: int, values: list[str]) -> None:
        rng = self.rng
        ways = []
        for _ in range(2):
            target = BLOCKS if rng.random() < 0.1 else rng.randrange(number + 1, min(number + 4, BLOCKS) + 1)
            passed = [self.constant(0, 1, 2) if rng.random() < 0.4 else rng.choice(values) for _ in range(2)]
            ways.append(f"^bb{target}({passed[0]}, {passed[1]} : i64, i64)")
        if rng.random() < 0.15:
            self.lines.append(f"  cf.br {ways[0]}\n")
        elif rng.random() < 0.3:
            self.lines.append(f"  cf.cond_br {self.guard()}, {ways[0]}, ^bb{BLOCKS}(%q, %none : i64, i64)\n")
        else:
            self.lines.append(f"  cf.cond_br {self.condition(values)}, {ways[0]}, {ways[1]}\n")

    def text(self) -> str:
        self.lines.append("")
        for number in range(1, BLOCKS + 1):
            self.block(number)
        return "".join(self.lines) + "}\n"


def packets(seed: int) -> list[bytes]:
    """Frames of all lengths about those that guards ask for, of few values."""
    rng = random.Random(seed)
    lengths = [14, 19, 20, 21, 33, 34, 41, 42, 60, *(rng.randrange(14, 64) for _ in range(12))]
    return [bytes(rng.choice((0, 0, 1, 2, 3, 255)) for _ in range(length)) for length in lengths]


PIPELINES = (
    "simplify-cfg,thread-jumps",
    "simplify-cfg,value-numbering,thread-jumps,simplify-cfg,eliminate-dead-code",
    "merge-guards,value-numbering",
    "simplify-cfg,sink-code",
    "simplify-cfg,split-edges,merge-blocks",
    "optimize",
    "optimize,lower-to-xdp",
)


def behaviour(seed: int, pipeline: str) -> list[tuple[int, bytes]]:
    """Verdicts and packets of the function of a seed after the passes."""
    module = Parser(make_context(), Writer(seed).text()).parse_module()
    if pipeline:
        run_pipeline(make_context(), module, pipeline)
    verify_module(module)
    with InterpProgram(module, "prog") as program:
        return [
            (outcome.verdict, outcome.data)
            for number, packet in enumerate(packets(seed))
            for outcome in [program.run(packet, rx_queue=number % 3, ifindex=number // 3 % 3)]
        ]


@cache
def expected(seed: int) -> list[tuple[int, bytes]]:
    return behaviour(seed, "")


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("first", range(0, 30, 10))
def test_behaviour_is_kept(pipeline: str, first: int) -> None:
    for seed in range(first, first + 10):
        assert behaviour(seed, pipeline) == expected(seed), f"seed {seed}"


def test_there_is_something_to_do() -> None:
    threaded = merged = sunk = 0
    for seed in range(40):
        module = Parser(make_context(), Writer(seed).text()).parse_module()
        run_pipeline(make_context(), module, "simplify-cfg,value-numbering")
        effects = EffectTable(module)
        for func in functions(module):
            merged += merge_guards(func.body, effects)
            threaded += thread_jumps(func.body, effects)
            sunk += sink(func, effects, declared_maps(module))
    assert threaded > 20 and merged > 2 and sunk > 20, (threaded, merged, sunk)
