"""From C text to an object."""

from __future__ import annotations

import subprocess

from fsir.driver.clang import find_clang
from fuzz.generate import Program

FLAGS = ("-target", "bpf", "-fwrapv", "-fno-strict-aliasing", "-w")


class CompileError(Exception):
    """clang does not take the program."""


def compile_program(program: Program) -> bytes:
    """The object. Raises CompileError."""
    clang = find_clang()
    assert clang is not None
    command = [clang, *FLAGS, *program.flags, "-x", "c", "-", "-c", "-o", "-"]
    done = subprocess.run(command, input=program.source.encode(), capture_output=True, check=False)
    if done.returncode:
        raise CompileError(done.stderr.decode("utf-8", "replace")[:2000])
    return done.stdout
