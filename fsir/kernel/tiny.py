"""Programs of a few instructions, by hand: XDP programs that do the same to every frame."""

from __future__ import annotations

import struct

from fsir.kernel.uapi import XdpVerdict

MOV64_IMM, CALL, EXIT = 0xB7, 0x85, 0x95
REDIRECT_HELPER = 23  # bpf_redirect(ifindex, flags)


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction slot."""
    return struct.pack("<BBhi", opcode, src << 4 | dst, off, imm)


def verdict_program(verdict: XdpVerdict, target: int = 0) -> bytes:
    """Instructions that return `verdict` for every frame; for REDIRECT, to interface `target`."""
    if verdict == XdpVerdict.REDIRECT:
        set_arguments = insn(MOV64_IMM, 1, imm=target) + insn(MOV64_IMM, 2)
        return set_arguments + insn(CALL, imm=REDIRECT_HELPER) + insn(EXIT)
    return insn(MOV64_IMM, 0, imm=verdict) + insn(EXIT)
