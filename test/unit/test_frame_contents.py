"""What a load from a stack frame gives: the kind of what was stored there, where nothing else may have been."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from codegen_helpers import parse
from xdsl.dialects.builtin import ModuleOp

from fsir.dialects import ebpf
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.object.importer import import_object

STATIC = 'section ".text" attributes {bind = #builtin.int<0>}'
PROGRAM = """
map.decl @m "hash" key 4 value 8 entries 1 flags 0
ebpf.func @main section "xdp" attributes {{prog_type = "xdp"}} {{
^entry(%ctx : !ebpf.reg):
  %fp = ebpf.frame -> reg
  %data = ebpf.ldx32 %ctx[0] : reg -> reg
  %x = ebpf.ldx32 %ctx[16] : reg -> reg
  %s = ebpf.addi %fp, -32 : reg -> reg
  {}
  %r = ebpf.movi 0 -> reg
  ebpf.exit (%r) : reg
}}
"""
STORE = "ebpf.stx64 %fp[-24], %data : reg, reg\n"
LOAD = "%got = ebpf.ldx64 %fp[-24] : reg -> reg\n"
SPILL = "ebpf.stx64 %fp[-64], %s : reg, reg\n"
CALL = "%c = ebpf.call_local @f(%s) : reg -> reg\n"
CALL2 = "%c = ebpf.call_local @f(%s, %data) : reg, reg -> reg\n"


def function(body: str, name: str = "f", args: str = "%p : !ebpf.reg", attributes: str = STATIC) -> str:
    """A function that returns 0."""
    body += "\n%r = ebpf.movi 0 -> reg\nebpf.exit (%r) : reg\n"
    return f"ebpf.func @{name} {attributes} {{\n^entry({args}):\n{body}}}\n"


TWO = "%p : !ebpf.reg, %q : !ebpf.reg"
BOTH = "%i = ebpf.andi %x, 8 : reg -> reg\n %a = ebpf.add {}, %i : reg, reg -> reg\n"
"""An address that is this or 8 bytes above."""

CASES = [
    ("what was stored", STORE + LOAD, "", "packet.ptr"),
    ("nothing was", LOAD, "", "reg"),
    ("a constant", "ebpf.st64 %fp[-24], 7 : reg\n" + LOAD, "", "i64"),
    ("through another address", "ebpf.stx64 %s[8], %data : reg, reg\n" + LOAD, "", "packet.ptr"),
    ("the last store counts", STORE + "ebpf.stx64 %fp[-24], %ctx : reg, reg\n" + LOAD, "", "packet.ctx"),
    ("a part was overwritten", STORE + "ebpf.st8 %fp[-17], 0 : reg\n" + LOAD, "", "reg"),
    ("bytes beside it were", STORE + "ebpf.st8 %fp[-16], 0 : reg\n" + LOAD, "", "packet.ptr"),
    ("a word across it was", STORE + "ebpf.stx64 %fp[-28], %data : reg, reg\n" + LOAD, "", "reg"),
    ("an atomic operation", STORE + "ebpf.atomic_add64 %fp[-24], %x : reg, reg\n" + LOAD, "", "reg"),
    ("an unknown offset below", STORE + BOTH.format("%s") + "ebpf.st8 %a[0], 0 : reg\n" + LOAD, "", "reg"),
    (
        "an unknown offset above",
        STORE + "%o = ebpf.addi %fp, -16 : reg -> reg\n" + BOTH.format("%o") + "ebpf.st8 %a[0], 0 : reg\n" + LOAD,
        "",
        "packet.ptr",
    ),
    (
        "a relocated offset",
        STORE
        + 'ebpf.st8 %s[0], 0 {core = {type = #builtin.int<1>, access = "0:1", kind = #builtin.int<0>}} : reg\n'
        + LOAD,
        "",
        "reg",
    ),
    (
        "a helper that writes over it",
        STORE
        + "%z = ebpf.movi 0 -> reg\n %n = ebpf.movi 12 -> reg\n"
        + "%h = ebpf.call 189(%ctx, %z, %s, %n) : reg, reg, reg, reg -> reg\n"
        + LOAD,
        "",
        "reg",
    ),
    (
        "a helper that writes less",
        STORE
        + "%z = ebpf.movi 0 -> reg\n %n = ebpf.movi 8 -> reg\n"
        + "%h = ebpf.call 189(%ctx, %z, %s, %n) : reg, reg, reg, reg -> reg\n"
        + LOAD,
        "",
        "packet.ptr",
    ),
    (
        "a helper that only reads",
        STORE + "%m = ebpf.ld_sym @m -> reg\n %h = ebpf.call 1(%m, %s) : reg, reg -> reg\n" + LOAD,
        "",
        "packet.ptr",
    ),
    (
        "a kernel function",
        STORE
        + '%k = ebpf.call_kfunc -1(%s) {callee = @some, via = "some", pseudo = #builtin.int<1>} : reg -> reg\n'
        + LOAD,
        "",
        "reg",
    ),
    (
        "a kernel function that calls one of the program's",
        STORE
        + "ebpf.stx64 %fp[-64], %s : reg, reg\n %t = ebpf.addi %fp, -64 : reg -> reg\n %f = ebpf.ld_sym @f -> reg\n"
        + '%k = ebpf.call_kfunc -1(%t, %f) {callee = @some, via = "some", pseudo = #builtin.int<1>} : reg, reg -> reg\n'
        + LOAD,
        function("%a = ebpf.ldx64 %p[0] : reg -> reg\n ebpf.st64 %a[8], 0 : reg"),
        "reg",
    ),
    ("the address is in the frame", STORE + SPILL + LOAD, "", "packet.ptr"),
    (
        "and comes back from there",
        STORE + SPILL + "%b = ebpf.ldx64 %fp[-64] : reg -> reg\n ebpf.stx64 %b[8], %ctx : reg, reg\n" + LOAD,
        "",
        "packet.ctx",
    ),
    (
        "or perhaps does",
        STORE
        + SPILL
        + "ebpf.st32 %fp[-72], 0 : reg\n %b = ebpf.ldx64 %fp[-72] : reg -> reg\n ebpf.st64 %b[0], 0 : reg\n"
        + LOAD,
        "",
        "reg",
    ),
    (
        "other memory has none",
        STORE + SPILL + "%b = ebpf.ldx64 %data[0] : reg -> reg\n ebpf.st64 %b[0], 0 : reg\n" + LOAD,
        "",
        "packet.ptr",
    ),
    ("a function that stores", CALL2 + LOAD, function("ebpf.stx64 %p[8], %q : reg, reg", args=TWO), "packet.ptr"),
    ("a function that does not", STORE + CALL + LOAD, function("ebpf.st64 %p[0], 0 : reg"), "packet.ptr"),
    ("a function that overwrites", STORE + CALL + LOAD, function("ebpf.st32 %p[8], 0 : reg"), "reg"),
    (
        "a function in between",
        STORE + CALL + LOAD,
        function("%c = ebpf.call_local @g(%p) : reg -> reg") + function("ebpf.st32 %p[8], 0 : reg", "g"),
        "reg",
    ),
    ("a function that loads", STORE + CALL, function("%got = ebpf.ldx64 %p[8] : reg -> reg"), "packet.ptr"),
    (
        "two that differ",
        STORE + CALL + "ebpf.stx64 %fp[-24], %ctx : reg, reg\n %d = ebpf.call_local @f(%s) : reg -> reg\n",
        function("%got = ebpf.ldx64 %p[8] : reg -> reg"),
        "reg",
    ),
    (
        "from two frames",
        STORE + CALL,
        function("%got = ebpf.ldx64 %p[8] : reg -> reg")
        + """ebpf.func @other section "xdp" attributes {prog_type = "xdp"} {
             ^entry(%ctx : !ebpf.reg):
               %fp = ebpf.frame -> reg
               %data = ebpf.ldx32 %ctx[0] : reg -> reg
               ebpf.stx64 %fp[-192], %data : reg, reg
               %s = ebpf.addi %fp, -200 : reg -> reg
               %c = ebpf.call_local @f(%s) : reg -> reg
               ebpf.exit (%c) : reg
             }""",
        "packet.ptr",
    ),
    ("a function that others may replace", STORE + CALL + LOAD, function("", attributes='section ".text"'), "reg"),
    (
        "its own frame is another",
        STORE + CALL + LOAD,
        function("%fp = ebpf.frame -> reg\n ebpf.st64 %fp[-24], 0 : reg"),
        "packet.ptr",
    ),
    (
        "an address that is returned",
        STORE + CALL + "ebpf.stx64 %c[8], %ctx : reg, reg\n" + LOAD,
        f"ebpf.func @f {STATIC} {{\n^entry(%p : !ebpf.reg):\nebpf.exit (%p) : reg\n}}\n",
        "packet.ctx",
    ),
]
LOOP = "%f = ebpf.ld_sym @f -> reg\n %n = ebpf.movi 3 -> reg\n"
LOOP += "%h = ebpf.call 181(%n, %f, %s, %x) : reg, reg, reg, reg -> reg\n"
CALLBACKS = [
    ("a callback loads", STORE + LOOP, "%got = ebpf.ldx64 %q[8] : reg -> reg", "packet.ptr"),
    (
        "what another round stored",
        STORE + LOOP,
        "%got = ebpf.ldx64 %q[8] : reg -> reg\n ebpf.stx64 %q[8], %p : reg, reg",
        "reg",
    ),
    (
        "which may be the same kind",
        STORE + LOOP,
        "%got = ebpf.ldx64 %q[8] : reg -> reg\n %next = ebpf.addi %got, 1 : reg -> reg\n"
        "ebpf.stx64 %q[8], %next : reg, reg",
        "packet.ptr",
    ),
    ("it may not run at all", STORE + LOOP + LOAD, "ebpf.stx64 %q[8], %p : reg, reg", "reg"),
    ("it may leave a part", STORE + LOOP + LOAD, "ebpf.st8 %q[8], 1 : reg", "reg"),
    ("or nothing", STORE + LOOP + LOAD, "ebpf.st64 %q[0], 1 : reg", "packet.ptr"),
]


def kind_of_load(module: ModuleOp) -> str | None:
    """The type of the value that is named `got`."""
    run_pipeline(make_context(), module, "raise-types")
    types = [str(r.type) for op in module.walk() for r in op.results if r.name_hint == "got"]
    return types[0].removeprefix("!").removeprefix("ebpf.") if types else None


@pytest.mark.parametrize(("body", "functions", "kind"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_kind_of_what_is_loaded(body: str, functions: str, kind: str | None) -> None:
    assert kind_of_load(parse(PROGRAM.format(body) + functions)) == kind


@pytest.mark.parametrize(("body", "callback", "kind"), [pytest.param(*case[1:], id=case[0]) for case in CALLBACKS])
def test_callbacks_run_any_number_of_times(body: str, callback: str, kind: str) -> None:
    assert kind_of_load(parse(PROGRAM.format(body) + function(callback, args=TWO))) == kind


def test_paths_meet() -> None:
    """It is of one kind where all paths store that, or nothing at all: then it is undefined, and may be anything."""
    store = "ebpf.stx64 %fp[-24], {} : reg, reg\n"
    for second, kind in ((store.format("%data"), "packet.ptr"), (store.format("%x"), "reg"), ("", "packet.ptr")):
        body = f"""ebpf.jeqi %x, 0, ^a, ^b : reg
            ^a:
              {store.format("%data")}
              ebpf.ja ^c
            ^b:
              {second}
              ebpf.ja ^c
            ^c:
              {LOAD}"""
        assert kind_of_load(parse(PROGRAM.format(body))) == kind


def test_a_pointer_that_goes_up_in_a_loop_stays_one() -> None:
    body = f"""{STORE}
        ebpf.ja ^loop
        ^loop:
          {LOAD}
          %next = ebpf.addi %got, 4 : reg -> reg
          ebpf.stx64 %fp[-24], %next : reg, reg
          ebpf.jeqi %x, 0, ^loop, ^out : reg
        ^out:"""
    assert kind_of_load(parse(PROGRAM.format(body))) == "packet.ptr"


def test_many_callers_are_taken_together() -> None:
    """Beyond the states that are told apart, what holds in all of them is still known."""
    calls = "".join(
        f"ebpf.st64 %fp[-{64 + 8 * i}], {i} : reg\n %c{i} = ebpf.call_local @f(%s) : reg -> reg\n" for i in range(30)
    )
    load = function("%got = ebpf.ldx64 %p[8] : reg -> reg\n %n = ebpf.ldx64 %p[-200] : reg -> reg")
    assert kind_of_load(parse(PROGRAM.format(STORE + calls) + load)) == "packet.ptr"


GLOBAL = """
struct pair {{ u64 first, second; }};
{} int mix(u32 a, struct pair *into)
{{
    if (!into) return -1;
    into->first = a + {};
    return 0;
}}
SEC("xdp") int prog(struct xdp_md *ctx)
{{
    struct {{ u8 *volatile below; struct pair pair; u8 *volatile above; }} frame;
    frame.below = frame.above = (void *)(long)ctx->data;
    frame.pair.first = frame.pair.second = 0;
    mix(ctx->queue, &frame.pair);
    u8 *p = frame.{};
    return (void *)(p + 1) > (void *)(long)ctx->data_end ? 1 : *p + frame.pair.first;
}}
"""


@pytest.mark.parametrize("visibility", ["default", "hidden"])
@pytest.mark.parametrize("place", ["below", "above"])
def test_a_global_function_gets_what_its_prototype_says(visibility: str, place: str) -> None:
    """The kernel verifies it by itself, whatever it is replaced by; not a hidden one, of which nothing is promised."""
    attributes = f'__attribute__((noinline, visibility("{visibility}")))'
    module = import_object(compile_c(GLOBAL.format(attributes, 1, place), "-g"), "t.o")
    run_pipeline(make_context(), module, "raise-registers,raise-types")
    guarded = [str(op.lhs.type) for op in module.walk() if isinstance(op, ebpf.JccRROp)]
    assert ("!packet.ptr" in guarded) == (visibility == "default")
