"""Tests that need the running kernel: root, libbpf, BTF, clang.

Where something is missing they are skipped, and a line at the end of the run says how many and why. With
FRANKENSTACK_REQUIRE_KERNEL=1 in the environment they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsir.kernel.availability import unavailable
from fsir.kernel.interfaces import Interface, Namespace, veth_pair

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOOLS = ("clang", "ip")

CompileC = Callable[..., bytes]


def missing() -> str | None:
    """What these tests lack here, or None."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not installed" if absent else unavailable()


def required() -> bool:
    return os.environ.get("FRANKENSTACK_REQUIRE_KERNEL") == "1"


@pytest.fixture(autouse=True)
def _kernel() -> None:
    reason = missing()
    if reason is not None:
        (pytest.fail if required() else pytest.skip)(f"needs the kernel: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    here = [report for report in terminalreporter.stats.get("skipped", ()) if "test/kernel/" in report.nodeid]
    if here:
        terminalreporter.section("SKIPPED: tests in the running kernel", red=True, bold=True)
        terminalreporter.line(
            f"{len(here)} kernel tests did NOT run: {missing() or 'see the reasons above'}. "
            "FRANKENSTACK_REQUIRE_KERNEL=1 makes this a failure."
        )


PRELUDE = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def compile_c(tmp_path: Path) -> CompileC:
    """`compile_c(body, *flags)`: the object that clang makes of a BPF C program, with the usual includes."""

    def build(body: str, *flags: str) -> bytes:
        source, output = tmp_path / "program.c", tmp_path / "program.o"
        source.write_text(PRELUDE + body)
        command = ["clang", "-target", "bpf", "-O2", "-g", "-Wall", "-Werror", "-c", str(source), "-o", str(output)]
        multiarch = sysconfig.get_config_var("MULTIARCH")
        includes = [f"-I/usr/include/{multiarch}"] if multiarch else []
        subprocess.run([*command, *includes, *flags], check=True)
        return output.read_bytes()

    return build


@pytest.fixture
def example() -> Callable[[str], bytes]:
    """`example(name)`: the object in examples/name."""
    return lambda name: (ROOT / "examples" / name / f"{name}.o").read_bytes()


@pytest.fixture
def wire() -> Iterator[tuple[Interface, Interface]]:
    """The two ends of a veth pair, each in a namespace of its own."""
    with Namespace() as near, Namespace() as far:
        yield veth_pair(near, "near", far, "far")
