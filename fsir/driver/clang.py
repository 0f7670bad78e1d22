"""C to BPF object, by clang."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fsir.driver.errors import UsageError

FLAGS = ("-O2", "-g", "-target", "bpf")
CANDIDATES = ("clang", *(f"clang-{version}" for version in range(21, 11, -1)))


def find_clang() -> str | None:
    """The clang to use: $CLANG, else the first of the usual names on PATH; None without any."""
    chosen = os.environ.get("CLANG")
    return shutil.which(chosen) if chosen else next((c for c in map(shutil.which, CANDIDATES) if c), None)


def system_includes() -> list[str]:
    """Flags for the headers that <linux/…> needs and `-target bpf` does not look for (Debian's multiarch folder)."""
    folders = Path("/usr/include").glob(f"{platform.machine()}-*/asm/types.h")
    return [flag for header in sorted(folders) for flag in ("-idirafter", str(header.parent.parent))]


def compile_c(source: Path, flags: Sequence[str] = ()) -> bytes:
    """The object that clang makes of `source`. Raises `UsageError`; clang's own messages go to stderr."""
    clang = find_clang()
    if clang is None:
        raise UsageError("clang is needed to compile C and is not there; apt-get install clang, or set CLANG=/path")
    command = [clang, *FLAGS, *system_includes(), *flags, "-c", "-x", "c", str(source), "-o", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    sys.stderr.write(done.stderr.decode("utf-8", "replace"))
    sys.stderr.flush()
    if done.returncode:
        raise UsageError(f"clang refuses this file (exit status {done.returncode}); its messages are above")
    return done.stdout
