"""Arithmetic of the ISA as C expressions: RFC 9669 sections 4.1 to 4.3, one entry per operation and width.

`{a}` and `{b}` are operands of type `uint64_t`. Every 64-bit expression has that type; the value of a 32-bit one is
below 2**32.
"""

from __future__ import annotations

BINARY: dict[tuple[str, int], str] = {
    ("add", 64): "{a} + {b}",
    ("sub", 64): "{a} - {b}",
    ("mul", 64): "{a} * {b}",
    ("div", 64): "fs_div({a}, {b})",
    ("mod", 64): "fs_mod({a}, {b})",
    ("sdiv", 64): "fs_sdiv((int64_t){a}, (int64_t){b})",
    ("smod", 64): "fs_smod((int64_t){a}, (int64_t){b})",
    ("or", 64): "{a} | {b}",
    ("and", 64): "{a} & {b}",
    ("xor", 64): "{a} ^ {b}",
    ("lsh", 64): "{a} << ({b} & 63)",
    ("rsh", 64): "{a} >> ({b} & 63)",
    ("arsh", 64): "(uint64_t)fs_sar((int64_t){a}, {b} & 63)",
    ("add", 32): "(uint32_t)({a} + {b})",
    ("sub", 32): "(uint32_t)({a} - {b})",
    ("mul", 32): "(uint32_t)({a} * {b})",
    ("div", 32): "fs_div((uint32_t){a}, (uint32_t){b})",
    ("mod", 32): "fs_mod((uint32_t){a}, (uint32_t){b})",
    ("sdiv", 32): "(uint32_t)fs_sdiv((int32_t){a}, (int32_t){b})",
    ("smod", 32): "(uint32_t)fs_smod((int32_t){a}, (int32_t){b})",
    ("or", 32): "(uint32_t)({a} | {b})",
    ("and", 32): "(uint32_t)({a} & {b})",
    ("xor", 32): "(uint32_t)({a} ^ {b})",
    ("lsh", 32): "(uint32_t)({a} << ({b} & 31))",
    ("rsh", 32): "(uint32_t){a} >> ({b} & 31)",
    ("arsh", 32): "(uint32_t)fs_sar((int32_t){a}, {b} & 31)",
}

UNARY: dict[tuple[str, int], str] = {
    ("neg", 64): "-{a}",
    ("neg", 32): "(uint32_t)-{a}",
    ("mov", 64): "{a}",
    ("mov", 32): "(uint32_t){a}",
    ("movsx8", 64): "fs_sext({a}, 8)",
    ("movsx16", 64): "fs_sext({a}, 16)",
    ("movsx32", 64): "fs_sext({a}, 32)",
    ("movsx8", 32): "(uint32_t)fs_sext({a}, 8)",
    ("movsx16", 32): "(uint32_t)fs_sext({a}, 16)",
    ("addr_space_cast", 64): "{a}",
    ("le", 16): "(uint16_t){a}",
    ("le", 32): "(uint32_t){a}",
    ("le", 64): "{a}",
    ("be", 16): "__builtin_bswap16((uint16_t){a})",
    ("be", 32): "__builtin_bswap32((uint32_t){a})",
    ("be", 64): "__builtin_bswap64({a})",
}
UNARY |= {("bswap", bits): UNARY["be", bits] for bits in (16, 32, 64)}

_RELATIONS = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
COMPARE: dict[tuple[str, int], str] = {("jset", 64): "{a} & {b}", ("jset", 32): "(uint32_t)({a} & {b})"}
for _name, _sign in _RELATIONS.items():
    COMPARE[f"j{_name}", 64] = f"{{a}} {_sign} {{b}}"
    COMPARE[f"j{_name}", 32] = f"(uint32_t){{a}} {_sign} (uint32_t){{b}}"
    if _name not in ("eq", "ne"):
        COMPARE[f"js{_name}", 64] = f"(int64_t){{a}} {_sign} (int64_t){{b}}"
        COMPARE[f"js{_name}", 32] = f"(int32_t){{a}} {_sign} (int32_t){{b}}"
