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
    language = () if "-x" in program.flags else ("-x", "c")
    command = [clang, *FLAGS, *program.flags, *language, "-", "-c", "-o", "-"]
    done = subprocess.run(command, input=program.source.encode(), capture_output=True, check=False)
    if done.returncode:
        raise CompileError(done.stderr.decode("utf-8", "replace")[:2000])
    return done.stdout
