"""The programs that calibration runs: each does one thing many times, and nothing else that differs from its base.

They are IR, so that what is measured is code as this compiler makes it, for the kernel and for user space. A program
ends with DROP; what it computes goes into the packet, so that no compiler leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KEYS = 16
VALUE = 512
MAP_TYPES = {"array": 0, "percpu_array": 0, "hash": 0, "percpu_hash": 0, "lru_hash": 0, "lpm_trie": 1}
"""Types whose lookup is measured, with the flags that they need (BPF_F_NO_PREALLOC)."""

_HEAD = """
ebpf.func @program section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %data = packet.data %ctx : !packet.ctx -> !packet.ptr
  %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %drop = arith.constant 1 : i64
  %verdict = arith.constant VERDICT : i64
  %zero = arith.constant 0 : i64
  %one = arith.constant 1 : i64
  %more = arith.constant 1000003 : i64
  %other = arith.constant 2654435761 : i64
  %rounds = arith.constant ROUNDS : i64
  %c20 = arith.constant 20 : i64
  %m4 = arith.constant -4 : i64
  %p4 = arith.constant 4 : i64
  %flags = arith.constant 0 : i64
  %long = packet.guard %data[60], %end : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %long, ^begin, ^out
^out:
  packet.verdict %drop : i64
^begin:
  %seed = packet.load %data[16] : !packet.ptr -> i64
"""
_WORK = """  cf.br ^round(%zero, %seed : i64, i64)
^round(%n: i64, %w: i64):
  %w1 = arith.xori %w, %other : i64
  %w2 = arith.addi %w1, %more : i64
  %n1 = arith.addi %n, %one : i64
  %again = arith.cmpi ult, %n1, %rounds : i64
  cf.cond_br %again, ^round(%n1, %w2 : i64, i64), ^worked
^worked:
"""
_LOOKUP = """  %key = arith.constant 1 : i32
  %value = map.lookup @values(%key) : i32 -> !map.value<@values>
  %hit = map.hit %value : !map.value<@values> -> i1
  cf.cond_br %hit, ^found, ^out
^found:
"""
_VALUES = f'map.decl @values "array" key 4 value {VALUE} entries 4 flags 1024\n'
_TAIL = """  packet.store %data[24], RESULT : !packet.ptr, i64
  packet.verdict %verdict : i64
}
"""
_RESIZED_TAIL = """  %last = packet.data %ctx : !packet.ctx -> !packet.ptr
  %stop = packet.end %ctx : !packet.ctx -> !packet.end_ptr
  %still = packet.guard %last[40], %stop : !packet.ptr, !packet.end_ptr -> i1
  cf.cond_br %still, ^there, ^out
^there:
  packet.store %last[24], RESULT : !packet.ptr, i64
  packet.verdict %verdict : i64
}
"""

_OBJECT = """
object.section "xdp" type 1 flags 6 align 8
object.section "license" type 1 flags 3 align 1 {data = "47504c00"}
object.symbol "program" in 1 value 0 size 16 bind 1 type 2 {func = @program}
object.symbol "_license" in 2 value 0 size 4 bind 1 type 1
"""

Step = Callable[[int, str], str]
"""From the number of a repetition, and the value so far, to its code; the new value is called %x<number + 1>."""


def _simple(text: str) -> Step:
    def step(i: int, x: str) -> str:
        return text.replace("IN", x).replace("OUT", f"%x{i + 1}").replace("#", str(i))

    return step


def _alternate(one: str, two: str) -> Step:
    def step(i: int, x: str) -> str:
        return f"  %x{i + 1} = arith.{(one, two)[i % 2]} {x}, {('%more', '%other')[i % 2]} : i64\n"

    return step


def _lookup(kind: str) -> Step:
    def step(i: int, x: str) -> str:
        key, types = f"%k{i}", "i32"
        prefix = ""
        if kind == "lpm_trie":
            prefix, key, types = f"  %l{i} = arith.constant 32 : i32\n", f"%l{i}, %k{i}", "i32, i32"
        return (
            f"{prefix}  %k{i} = arith.constant {i} : i32\n"
            f"  %v{i} = map.lookup @tested({key}) : {types} -> !map.value<@tested>\n"
            f"  %h{i} = map.hit %v{i} : !map.value<@tested> -> i1\n"
            f"  cf.cond_br %h{i}, ^hit{i}, ^next{i}\n^hit{i}:\n  cf.br ^next{i}\n^next{i}:\n"
            f"  %x{i + 1} = arith.addi {x}, %more : i64\n"
        )

    return step


@dataclass(frozen=True)
class Program:
    """`name` is what it measures: `section.key` of a target's costs. `step` is repeated `times`; one repetition also
    does what `includes` names, which is taken off. Where user space takes much longer, `user_times` is smaller; 0:
    not measured there."""

    name: str
    step: Step
    times: int
    includes: tuple[str, ...] = ()
    maps: str = ""
    prefix: str = ""
    tail: str = _TAIL
    user_times: int | None = None

    def text(self, times: int, rounds: int = 0, verdict: int = 1) -> str:
        """The program with so many repetitions, after `rounds` of other work whose result they go on with."""
        x, body = "%w2" if rounds else "%seed", ""
        for i in range(times):
            code = self.step(i, x)
            body += code
            x = f"%x{i + 1}" if f"%x{i + 1} =" in code else x
        head = _HEAD.replace("ROUNDS", str(rounds)).replace("VERDICT", str(verdict))
        work = _WORK if rounds else ""
        return self.maps + head + work + self.prefix + body + self.tail.replace("RESULT", x) + _OBJECT


def _helper(name: str, call: str) -> Program:
    text = f"  %r# = ebpf.call {call} -> i64\n  OUT = arith.addi IN, %r# : i64\n"
    return Program(f"helpers.{name}", _simple(text), 16, ("alu",))


_BRANCH = (
    "  %t# = arith.xori IN, %other : i64\n  OUT = arith.addi %t#, %more : i64\n"
    "  %b# = arith.cmpi eq, OUT, %one : i64\n  cf.cond_br %b#, ^out, ^go#\n^go#:\n"
)


def _guard(i: int, x: str) -> str:
    return (
        f"  %g{i} = packet.guard %data[{20 + i}], %end : !packet.ptr, !packet.end_ptr -> i1\n"
        f"  cf.cond_br %g{i}, ^go{i}, ^out\n^go{i}:\n  %x{i + 1} = arith.addi {x}, %more : i64\n"
    )


def _packet(i: int, x: str) -> str:
    offset = i * 7 % 50
    return f"  %l{i} = packet.load %data[{offset}] : !packet.ptr -> i64\n  %x{i + 1} = arith.addi {x}, %l{i} : i64\n"


def _memory(i: int, x: str) -> str:
    return (
        f"  %l{i} = map.load %value[{i * 8 % VALUE}] : !map.value<@values> -> i64\n"
        f"  %x{i + 1} = arith.addi {x}, %l{i} : i64\n"
    )


def _atomic(i: int, x: str) -> str:
    return (
        f'  map.atomic "add" %value[{i * 8 % VALUE}], {x} : !map.value<@values>, i64\n'
        f"  %x{i + 1} = arith.addi {x}, %more : i64\n"
    )


def _resize(i: int, x: str) -> str:
    return f"  %r{i} = packet.adjust_head %ctx, {('%m4', '%p4')[i % 2]} : !packet.ctx, i64 -> i64\n"


def _map_program(kind: str, flags: int) -> Program:
    size = 8 if kind == "lpm_trie" else 4
    declaration = f'map.decl @tested "{kind}" key {size} value 16 entries 64 flags {flags}\n'
    times = 0 if kind == "lru_hash" else 4
    if kind == "array":
        declaration, times = declaration.replace("flags 0", "flags 1024"), 16
    return Program(f"maps.{kind}", _lookup(kind), KEYS, ("alu", "branch"), declaration, user_times=times)


ALU = Program("alu", _alternate("addi", "xori"), 512)
PROGRAMS: tuple[Program, ...] = (
    ALU,
    Program("mul", _simple("  %q# = arith.muli IN, %seed : i64\n  OUT = arith.xori %q#, %more : i64\n"), 256, ("alu",)),
    Program("div", _simple("  %q# = arith.divui IN, %seed : i64\n  OUT = arith.addi %q#, %more : i64\n"), 64, ("alu",)),
    Program("branch", _simple(_BRANCH), 128, ("alu", "alu", "alu")),
    Program("guard", _guard, 40, ("branch", "alu")),
    Program("packet", _packet, 128, ("alu",)),
    Program("memory", _memory, 128, ("alu",), _VALUES, _LOOKUP),
    Program("atomic", _atomic, 64, ("alu",), _VALUES, _LOOKUP),
    Program("resize", _resize, 16, (), tail=_RESIZED_TAIL),
    _helper("ktime_get_ns", "5()"),
    _helper("get_prandom_u32", "7()"),
    _helper("get_smp_processor_id", "8()"),
    Program(
        "helpers.csum_diff",
        _simple("  OUT = ebpf.call 28(%zero, %zero, %data, %c20, IN) : i64, i64, !packet.ptr, i64, i64 -> i64\n"),
        16,
    ),
    *(_map_program(kind, flags) for kind, flags in MAP_TYPES.items()),
)
"""In an order in which what a program includes comes before it."""
