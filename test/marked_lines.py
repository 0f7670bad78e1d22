"""A program whose instructions can be told apart by their immediates, and what line records say of each of them.

`MARK` is a number that stands once in the program, with its own line in the low half. Compilers may give it the line
before, where the condition stands that they make it for; so that one is right, too.
"""

from __future__ import annotations

from fsir import isa
from fsir.object.btf import load_btf
from fsir.object.btf_ext import BtfExt, LineInfo, load_btf_ext
from fsir.object.elf import ElfObject, read_elf

FLAG = 0x11220000

SOURCE = """
#define MARK (0x11220000 + __LINE__)
struct {
    __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64[8]);
} counts SEC(".maps");

static __attribute__((noinline)) u32 mix(u32 a, u32 b)
{
    a ^= MARK;
    if (a & 1)
        b += MARK;
    else
        b ^= MARK;
    for (int i = 0; i < 3; i++)
        a += b ^ MARK;
    return a ^ b;
}

SEC("xdp") int marked(struct xdp_md *ctx)
{
    u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (p + 64 > end)
        return 1;
    u32 key = p[0] & 7;
    u64 *value = lookup(&counts, &key);
    if (!value) {
        *(u32 *)(p + 4) = MARK;
        return 2;
    }
    value[0] += MARK;
    if (p[12] == 8) {
        *(u32 *)(p + 16) = MARK;
        value[1] ^= MARK;
        if (p[13] > 3)
            return 2;
        value[2] -= MARK;
    } else if (p[12] == 6) {
        *(u32 *)(p + 24) ^= MARK;
        if (*(u32 *)(p + 32) == MARK)
            return 3;
    }
    *(u32 *)(p + 40) = mix(*(u32 *)(p + 44), key);
    __sync_fetch_and_add(value + 3, MARK);
    return *(u32 *)(p + 48) > MARK ? 1 : 3;
}
"""


def check(before: bytes, after: bytes) -> set[int]:
    """The marks of what has been made of an object, which must have a line that they have in their source, or in the
    object."""
    lines, again = marks(before), marks(after)
    assert len(lines) >= 12
    for mark, found in again.items():
        assert found <= lines[mark] | {mark}
    return set(again)


def marks(data: bytes) -> dict[int, set[int]]:
    """What the line records say of the instructions with each mark. Checks that the records are in order and of
    instructions, and that every function begins with one."""
    obj, ext = _read(data)
    found: dict[int, set[int]] = {}
    for section in obj.sections:
        if not section.is_code:
            continue
        records = [record for record in ext.line_info if record.section == section.name]
        offsets = [record.insn_off for record in records]
        assert offsets == sorted(set(offsets)), "records in order, one for an instruction"
        code = bytes(section.data)
        instructions = _instructions(code)
        assert set(offsets) <= set(instructions), "records of instructions only"
        starts = {info.insn_off for info in ext.func_info if info.section == section.name}
        assert starts <= set(offsets), "a record for the first instruction of each function"
        for at, insn in instructions.items():
            if insn.imm & 0xFFFF0000 == FLAG:
                found.setdefault(insn.imm & 0xFFFF, set()).add(_line_of(records, at))
    return found


def _read(data: bytes) -> tuple[ElfObject, BtfExt]:
    obj = read_elf(data, "out.o")
    ext = load_btf_ext(obj, load_btf(obj))
    assert ext is not None
    return obj, ext


def _instructions(code: bytes) -> dict[int, isa.Insn]:
    found, at = {}, 0
    while at < len(code):
        insn = isa.decode(code, at)
        assert insn is not None
        found[at] = insn
        row = isa.row_of(insn)
        at += isa.INSN_SIZE * (row.slots if row is not None else 1)
    return found


def _line_of(records: list[LineInfo], at: int) -> int:
    return max((record for record in records if record.insn_off <= at), key=lambda record: record.insn_off).line
