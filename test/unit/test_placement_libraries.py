"""Functions that only user space has: the same calls from the interpreter and from the C of the part in user space."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from af_xdp_helpers import needs_compiler
from bpf_clang import compile_c

from fsir.analysis.libraries import Unknown, prototype
from fsir.backends.af_xdp.emit import emit
from fsir.backends.af_xdp.inprocess import Library, Process, link_words
from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.interp.engine import ExecutionError, InterpProgram
from fsir.interp.library import load_library
from fsir.object.importer import import_object

HEAD = """
struct pair { u16 a, b; };
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, struct pair); } pairs SEC(".maps");
extern int mixed(signed char small, u16 word, u64 large);
extern u32 sum(const void *text, u32 size);
extern void turn(void *text, u16 size);
extern short swapped(struct pair *pair);
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 30 > end) return 1;
    u32 key = data[14] & 3; struct pair *pair = lookup(&pairs, &key); if (!pair) return 1;
    %s
    return 3;
}
"""
LIBRARY = """
#include <stdint.h>
struct pair { uint16_t a, b; };
int32_t mixed(int8_t small, uint16_t word, uint64_t large) { return small * 1000 - word + (int32_t)(large >> 40); }
uint32_t sum(const void *text, uint32_t size) {
    uint32_t total = text ? size : 12345;
    for (const uint8_t *at = text; size--; at++) total = total * 31 + *at;
    return total;
}
void turn(void *text, uint16_t size) {
    uint8_t *at = text;
    for (int i = 0; i < size / 2; i++) { uint8_t t = at[i]; at[i] = at[size - 1 - i]; at[size - 1 - i] = t; }
}
int16_t swapped(struct pair *pair) {
    uint16_t a = pair->a++; pair->a ^= pair->b; pair->b = a * 3 + 1; return -(int16_t)pair->b;
}
"""
CALLS = {
    "integers": "*(u32 *)data = mixed(data[15], *(u16 *)(data + 16), *(u64 *)(data + 18));",
    "bytes": "*(u32 *)data = sum(data + 14, data[14] & 15);",
    "bytes that change": "turn(data + 14, data[15] & 15); data[0] = data[14];",
    "a value of a map": "*(u16 *)data = swapped(pair); data[2] = pair->a;",
    "the stack": "u8 text[8]; __builtin_memcpy(text, data + 14, 8); turn(text, 7); __builtin_memcpy(data, text, 8);",
    "beyond the packet": "*(u32 *)data = sum(data + 14, data[14]);",
}


@needs_compiler
@pytest.mark.parametrize("name", CALLS)
def test_interpreter_and_c_call_it_alike(name: str, tmp_path: Path) -> None:
    """An argument beyond the packet stops the interpreter, and drops the packet in C."""
    library = tmp_path / "library.c"
    library.write_text(LIBRARY)
    module = import_object(compile_c(HEAD % CALLS[name], "-g"), "program.o")
    run_pipeline(make_context(), module, "raise,optimize")
    program = InterpProgram(module, library=load_library(module, [str(library)]))
    mirror = InterpProgram(module)
    flags = link_words([library])
    process = Process(Library(emit(module)["af_xdp.c"], flags=flags), mirror.machine)
    rng = random.Random(5)
    stopped = 0
    for _ in range(60):
        frame = rng.randbytes(rng.choice((29, 30, 40, 90)))
        got = process.run(frame)
        try:
            expected = program.run(frame)
        except ExecutionError:
            stopped += 1
            assert got.dropped_because
            continue
        assert (got.verdict, got.packet) == (expected.verdict, expected.data)
    assert program.dump_maps() == mirror.dump_maps()
    assert bool(stopped) == (name == "beyond the packet")


@pytest.mark.parametrize(("declared", "called", "why"), [
    ("extern int f(const void *text);", "f(data)", "without the number of bytes"),
    ("extern int f(const void *text, const void *other);", "f(data, data)", "without the number of bytes"),
    ("extern int f(u8 **texts);", "f((u8 **)data)", "takes an address of a ptr"),
    ("extern void *f(int x);", "(int)(long)f(key)", "returns a ptr, no integer"),
])  # fmt: skip
def test_prototypes_that_no_contract_covers(declared: str, called: str, why: str) -> None:
    source = HEAD.replace('SEC("xdp")', f'{declared}\nSEC("xdp")', 1) % f"data[0] = {called};"
    module = import_object(compile_c(source, "-g"), "program.o")
    with pytest.raises(Unknown, match=why):
        prototype(module, "f")
