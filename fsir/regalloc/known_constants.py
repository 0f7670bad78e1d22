"""Constants that registers hold: those made there, and those that a comparison found there."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import Operation, SSAValue

from fsir.dialects.ebpf import AluRIOp, AluRROp, CallOp, CastOp, JccRIOp, LdxOp, MovRIOp, MovRROp, UnaryOp

_M32 = (1 << 32) - 1
_M64 = (1 << 64) - 1
_EQUAL_SIDE = {"jeq": 0, "jne": 1}
_SCALAR = frozenset({"and", "or", "xor", "lsh", "rsh", "arsh", "mul", "div", "mod"})
"""64-bit arithmetic that gives no address."""


@dataclass(frozen=True, slots=True)
class Known:
    """All 64 bits of a register."""

    bits: int


def constant_of(op: Operation) -> Known | None:
    """The constant that an instruction makes; None for one that the loader patches (CO-RE)."""
    if not isinstance(op, MovRIOp) or "core" in op.properties:
        return None
    return Known(op.imm.data & (_M32 if op.row.width == 32 else _M64))


def known_after(terminator: Operation, index: int) -> tuple[SSAValue, Known] | None:
    """The register that a branch finds to be equal to a constant where it takes its edge number `index`.

    Only what is surely a number, or becomes one when it is 0: the kernel's verifier takes a pointer that was compared
    with 0 for a pointer still, unless it comes from a helper that may give none.
    """
    if not isinstance(terminator, JccRIOp) or terminator.then_block is terminator.else_block:
        return None
    if _EQUAL_SIDE.get(terminator.row.op) != index or "core" in terminator.properties:
        return None
    value, imm = terminator.lhs, terminator.imm.data
    if terminator.row.width == 32:
        return (value, Known(imm & _M32)) if _is_word(value) else None
    return (value, Known(imm & _M64)) if _is_number(value) else None


def _through_casts(value: SSAValue) -> SSAValue:
    while isinstance(value.owner, CastOp):
        value = value.owner.value
    return value


def _is_word(value: SSAValue) -> bool:
    """Whether a register has 32 bits at most, and surely no address, nor part of one."""
    op = _through_casts(value).owner
    if isinstance(op, LdxOp):
        return op.row.width <= 32 and not op.row.signed
    return isinstance(op, AluRROp | AluRIOp | MovRROp | MovRIOp | UnaryOp) and op.row.width <= 32


def _is_number(value: SSAValue) -> bool:
    """Whether a register holds no address, or one of a helper that may give none."""
    op = _through_casts(value).owner
    while isinstance(op, MovRROp) and op.row.op == "mov" and op.row.width == 64:
        op = _through_casts(op.value).owner
    if isinstance(op, CallOp | MovRIOp | UnaryOp):
        return True
    if isinstance(op, LdxOp):
        return op.row.width <= 16
    return isinstance(op, AluRROp | AluRIOp) and (op.row.width == 32 or op.row.op in _SCALAR)
