"""Arithmetic of the ISA as Python expressions: RFC 9669 sections 4.1 to 4.3, one entry per operation and width.

`{a}` is the destination operand, `{b}` the source, each a name or literal holding an unsigned 64-bit word.
"""

from __future__ import annotations

from fsir.interp.emit_base import M32, M64, hexa, signed

_M, _W = hex(M64), hex(M32)
_S64, _S32 = hex(1 << 63), hex(1 << 31)

BINARY: dict[tuple[str, int], str] = {
    ("add", 64): f"({{a}} + {{b}}) & {_M}",
    ("sub", 64): f"({{a}} - {{b}}) & {_M}",
    ("mul", 64): f"({{a}} * {{b}}) & {_M}",
    ("div", 64): "{a} // {b} if {b} else 0",
    ("mod", 64): "{a} % {b} if {b} else {a}",
    ("sdiv", 64): "sdiv64({a}, {b})",
    ("smod", 64): "smod64({a}, {b})",
    ("or", 64): "{a} | {b}",
    ("and", 64): "{a} & {b}",
    ("xor", 64): "{a} ^ {b}",
    ("lsh", 64): f"({{a}} << ({{b}} & 63)) & {_M}",
    ("rsh", 64): "{a} >> ({b} & 63)",
    ("arsh", 64): f"((({{a}} ^ {_S64}) - {_S64}) >> ({{b}} & 63)) & {_M}",
    ("add", 32): f"({{a}} + {{b}}) & {_W}",
    ("sub", 32): f"({{a}} - {{b}}) & {_W}",
    ("mul", 32): f"({{a}} * {{b}}) & {_W}",
    ("div", 32): f"({{a}} & {_W}) // ({{b}} & {_W}) if {{b}} & {_W} else 0",
    ("mod", 32): f"({{a}} & {_W}) % ({{b}} & {_W}) if {{b}} & {_W} else {{a}} & {_W}",
    ("sdiv", 32): f"sdiv32({{a}} & {_W}, {{b}} & {_W})",
    ("smod", 32): f"smod32({{a}} & {_W}, {{b}} & {_W})",
    ("or", 32): f"({{a}} | {{b}}) & {_W}",
    ("and", 32): f"{{a}} & {{b}} & {_W}",
    ("xor", 32): f"({{a}} ^ {{b}}) & {_W}",
    ("lsh", 32): f"({{a}} << ({{b}} & 31)) & {_W}",
    ("rsh", 32): f"({{a}} & {_W}) >> ({{b}} & 31)",
    ("arsh", 32): f"((({{a}} & {_W} ^ {_S32}) - {_S32}) >> ({{b}} & 31)) & {_W}",
}

UNARY: dict[tuple[str, int], str] = {
    ("neg", 64): f"-{{a}} & {_M}",
    ("neg", 32): f"-{{a}} & {_W}",
    ("mov", 64): "{a}",
    ("mov", 32): f"{{a}} & {_W}",
    ("movsx8", 64): f"(({{a}} & 0xff ^ 0x80) - 0x80) & {_M}",
    ("movsx16", 64): f"(({{a}} & 0xffff ^ 0x8000) - 0x8000) & {_M}",
    ("movsx32", 64): f"(({{a}} & {_W} ^ {_S32}) - {_S32}) & {_M}",
    ("movsx8", 32): f"(({{a}} & 0xff ^ 0x80) - 0x80) & {_W}",
    ("movsx16", 32): f"(({{a}} & 0xffff ^ 0x8000) - 0x8000) & {_W}",
    ("addr_space_cast", 64): "{a}",
    ("le", 16): "{a} & 0xffff",
    ("le", 32): f"{{a}} & {_W}",
    ("le", 64): "{a}",
    ("be", 16): "({a} & 0xff) << 8 | {a} >> 8 & 0xff",
    ("be", 32): "({a} & 0xff) << 24 | ({a} & 0xff00) << 8 | {a} >> 8 & 0xff00 | {a} >> 24 & 0xff",
    ("be", 64): "swap64({a})",
}
UNARY |= {("bswap", bits): UNARY["be", bits] for bits in (16, 32, 64)}

# Signed comparison of unsigned words: flipping the sign bit turns one order into the other.
COMPARE: dict[tuple[str, int], str] = {
    ("jeq", 64): "{a} == {b}",
    ("jne", 64): "{a} != {b}",
    ("jgt", 64): "{a} > {b}",
    ("jge", 64): "{a} >= {b}",
    ("jlt", 64): "{a} < {b}",
    ("jle", 64): "{a} <= {b}",
    ("jset", 64): "{a} & {b}",
}
COMPARE |= {
    (op, 32): text.replace("{a}", f"{{a}} & {_W}").replace("{b}", f"{{b}} & {_W}")
    for (op, _), text in list(COMPARE.items())
}
for _op, _text in {"jsgt": ">", "jsge": ">=", "jslt": "<", "jsle": "<="}.items():
    COMPARE[_op, 64] = f"({{a}} ^ {_S64}) {_text} ({{b}} ^ {_S64})"
    COMPARE[_op, 32] = f"({{a}} & {_W} ^ {_S32}) {_text} ({{b}} & {_W} ^ {_S32})"

_SIGN_AGNOSTIC = frozenset({"add", "sub", "mul"})


def immediate(op: str, width: int, imm: int) -> str:
    """The literal of an instruction's immediate, sign-extended to the operation's width.

    Additions keep the sign: the result is masked anyway, and small integers are faster.
    """
    if op in _SIGN_AGNOSTIC:
        return str(imm) if imm >= 0 else f"({imm})"
    return hexa(imm & (M64 if width == 64 else M32))


def _truncated(a: int, b: int) -> int:
    """Division of signed integers that rounds towards zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def sdiv64(a: int, b: int) -> int:
    """Signed division: by zero gives 0, the smallest integer by -1 itself."""
    return _truncated(signed(a, 64), signed(b, 64)) & M64 if b else 0


def smod64(a: int, b: int) -> int:
    """Signed remainder, with the sign of the dividend: by zero gives the dividend."""
    if not b:
        return a
    x, y = signed(a, 64), signed(b, 64)
    return (x - y * _truncated(x, y)) & M64


def sdiv32(a: int, b: int) -> int:
    """As `sdiv64`, on 32 bits, zero-extended."""
    return _truncated(signed(a, 32), signed(b, 32)) & M32 if b else 0


def smod32(a: int, b: int) -> int:
    """As `smod64`, on 32 bits, zero-extended."""
    if not b:
        return a
    x, y = signed(a, 32), signed(b, 32)
    return (x - y * _truncated(x, y)) & M32


def swap64(a: int) -> int:
    """The eight bytes in the other order."""
    return int.from_bytes(a.to_bytes(8, "little"), "big")


FUNCTIONS = {f.__name__: f for f in (sdiv64, smod64, sdiv32, smod32, swap64)}
"""What the expressions call; part of every namespace of generated code."""
