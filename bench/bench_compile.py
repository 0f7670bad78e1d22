"""Compile time against program size: seconds per phase, and how they grow.

A program of N instructions is made from one shape (parse, key, lookup, rewrite, branch), repeated; growth is the ratio
of time per instruction to that of the smallest size, measured side by side in this run (1.0 is linear). `identity` is
import, print and export; `total` the whole way to an optimised object.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fsir.dialects.ebpf import functions
from fsir.driver.context import make_context
from fsir.driver.emitters import emit_mlir
from fsir.driver.garbage import collect_rarely
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.object.encode import instruction_count
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

_HEAD = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
struct xdp_md { u32 data, data_end, data_meta, ifindex, queue, egress; };
static void *(*lookup)(void *, const void *) = (void *)1;
struct key { u32 saddr, daddr; u16 port, pad; };
struct { int (*type)[1]; struct key *key; u64 *value; int (*max_entries)[1024]; } flows
    __attribute__((section(".maps"), used));
__attribute__((section("xdp"), used)) int prog(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    u32 *w = data; u64 *n; u32 h = 1;
    if (data + 64 > end) return 1;
"""
_STEP = """
    {{ struct key k = {{ w[{a}] ^ h, w[{b}], (u16)(h + {c}), 0 }};
      n = lookup(&flows, &k);
      if (n) {{ __sync_fetch_and_add(n, h); h = h * 33 + (u32)*n; if (h & {d}) w[{e}] = h ^ {c}; }}
      else h = (h << 5 | h >> 27) + w[{f}]; }}
"""
_TAIL = """
    return h & 1 ? 2 : 1;
}
"""


def program(steps: int) -> bytes:
    """The object of a program with so many lookups."""
    body = "".join(
        _STEP.format(a=i % 16, b=(i * 3) % 16, c=i * 7919 % 65536, d=1 << i % 31, e=i % 15, f=(i * 5) % 16)
        for i in range(steps)
    )
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "large.c"), Path(folder, "large.o")
        source.write_text(_HEAD + body + _TAIL)
        subprocess.run(["clang", "-target", "bpf", "-O2", "-g", "-c", source, "-o", output], check=True)
        return output.read_bytes()


def measure(data: bytes) -> dict[str, float]:
    """Seconds of CPU time per phase, and the instructions of the program before and after."""
    result: dict[str, float] = {}

    def phase(name: str, started: float) -> float:
        now = time.process_time()
        result[name] = now - started
        return now

    at = time.process_time()
    module = import_object(data, "large.o")
    at = phase("import", at)
    result["instructions"] = sum(instruction_count(func) for func in functions(module))
    emit_mlir(module, EmitOptions("large.o"))
    at = phase("print", at)
    export_object(module)
    at = phase("export", at)
    for pipeline in ("raise", "optimize", "lower-to-xdp"):
        run_pipeline(make_context(), module, pipeline)
        at = phase(pipeline, at)
    export_object(module)
    phase("write", at)
    result["after"] = sum(instruction_count(func) for func in functions(module))
    result["identity"] = sum(result[name] for name in ("import", "print", "export"))
    result["total"] = sum(result[name] for name in ("import", "raise", "optimize", "lower-to-xdp", "write"))
    return result


COLUMNS = (
    "instructions",
    "after",
    "import",
    "print",
    "export",
    "identity",
    "raise",
    "optimize",
    "lower-to-xdp",
    "total",
)
COUNTS = COLUMNS[:2]
GROWTH = ("identity", "total")
SIZES = (23, 92, 230, 345)
"""Steps of the programs: about 1,000, 4,000, 10,000 and 15,000 instructions."""
REAL = ("netif_receive_skb", "pyperf_subprogs", "test_verif_scale2", "core_kern")
"""Large programs of the corpus, measured where it is there."""


def real_programs() -> list[tuple[str, bytes]]:
    """One object of each of `REAL`, from the corpus if that has been collected."""
    corpus = Path(__file__).resolve().parent.parent / "build" / "corpus" / "obj"
    found = [(name, sorted(corpus.rglob(f"{name}.o"))) for name in REAL]
    return [(name, paths[0].read_bytes()) for name, paths in found if paths]


def help_seconds() -> float:
    """Wall time of `fs-opt --help`, the best of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fsir.tools.fs_opt", "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    """Print the table."""
    collect_rarely()
    table = Table(title="compile time (s of CPU; growth: time per instruction against the smallest program)")
    for column in ("program", *COLUMNS, *(f"growth of {name}" for name in GROWTH)):
        table.add_column(column, justify="left" if column == "program" else "right")
    measure(program(2))  # what is only done once: imports, tables
    first: dict[str, float] = {}
    generated = (("generated", program(steps)) for steps in SIZES)
    for name, data in (*generated, *real_programs()):
        row = measure(data)
        cells = [f"{row[column]:.0f}" if column in COUNTS else f"{row[column]:.2f}" for column in COLUMNS]
        for kind in GROWTH:
            each = row[kind] / row["instructions"]
            cells.append(f"{each / first.setdefault(kind, each):.2f}")
        table.add_row(name, *cells)
    Console(width=180).print(table)
    print(f"fs-opt --help: {help_seconds():.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
