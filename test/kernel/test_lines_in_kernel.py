"""Function and line records of compiled programs: the kernel takes them, and shows each instruction with its line."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

import pytest
from marked_lines import FLAG, SOURCE

from fsir.driver.context import make_context
from fsir.driver.pass_manager import run_pipeline
from fsir.kernel.engine import KernelProgram
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

NAMES = """
typedef __u8 u8; typedef __u32 u32; typedef __u64 u64;
#define lookup bpf_map_lookup_elem
"""
PIPELINES = ["", "raise,optimize,lower-to-xdp", "raise,optimize,chain{at=bb4},lower-to-xdp"]
LINE = re.compile(r"^; (?P<text>.*) \[file:\S+ line_num:(?P<line>\d+) line_col:\d+\]")
NUMBER = re.compile(r"\b(?:0x[0-9a-f]+|[1-9]\d*)\b")


def shown(elf: bytes) -> dict[int, str]:
    """The source text that the kernel shows above each instruction with a mark, by mark."""
    found: dict[int, str] = {}
    with KernelProgram(elf, "marked") as program:
        command = ["bpftool", "prog", "dump", "xlated", "id", str(program.facts.id), "linum"]
        dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text, line = "", 0
    for row in dump.splitlines():
        if said := LINE.match(row):
            text, line = said["text"], int(said["line"])
            continue
        for number in (int(digits, 0) for digits in NUMBER.findall(row.partition(":")[2])):
            if number >> 16 == FLAG >> 16:
                found[number & 0xFFFF] = text
                assert line == number & 0xFFFF or "MARK" not in text
    return found


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is not installed")
def test_the_kernel_shows_the_lines(compile_c: Callable[..., bytes]) -> None:
    data = compile_c(NAMES + SOURCE)
    texts = []
    for pipeline in PIPELINES:
        module = import_object(data, "in.o")
        run_pipeline(make_context(), module, pipeline)
        texts.append(shown(export_object(module)))
    first = texts[0]
    assert len(first) >= 12
    for other in texts[1:]:
        assert other.keys() == first.keys()
        assert [mark for mark in first if other[mark] != first[mark] and "MARK" not in other[mark]] == []
