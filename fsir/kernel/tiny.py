"""XDP programs of a few instructions that do the same to every frame."""

from __future__ import annotations

import struct

from fsir.kernel.uapi import XdpVerdict

MOV64_IMM, CALL, EXIT = 0xB7, 0x85, 0x95
REDIRECT_HELPER = 23  # bpf_redirect(ifindex, flags)


def _insn(opcode: int, dst: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst, 0, imm)


def verdict_program(verdict: XdpVerdict, target: int = 0) -> bytes:
    """Instructions that return `verdict` for every frame; for REDIRECT, to interface `target`."""
    if verdict == XdpVerdict.REDIRECT:
        set_arguments = _insn(MOV64_IMM, 1, target) + _insn(MOV64_IMM, 2, 0)
        return set_arguments + _insn(CALL, imm=REDIRECT_HELPER) + _insn(EXIT)
    return _insn(MOV64_IMM, 0, verdict) + _insn(EXIT)
