"""What splitting gives the payload scanner, which the kernel refuses as a whole, and what the generated AF_XDP loop
costs against one written by hand.

1. The scanner's kernel part finishes packets to ports that are not scanned, user space searches the others. Measured at
   fast-path shares from 0 to 100 %: the split, everything in user space, and the bound that follows from the rates at
   both ends, 1 / (p / R_xdp + (1 - p) / R_user), for one packet after the other. Kernel part and user part have a CPU
   each, so that the split can be above it.
2. The same work on each packet behind the same kernel part: the generated loop and bench/split_handwritten.c, by the
   CPU time that they take for a packet when the ring is full. The loop by hand is there once more, to show what of a
   difference is chance.

All in one run, in rounds that take turns; medians, but for the loops: there the fastest tenth of the turns, since what
else the machine does only ever adds to them. How much that was is said with the figures.
"""

from __future__ import annotations

import json
import os
import random
import re
import struct
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench_split import source
from rich.console import Console
from rich.table import Table
from split_common import ROUNDS, SECONDS, middle, object_of, require

from fsir.backends.af_xdp.inprocess import compile_c
from fsir.backends.af_xdp.live import build
from fsir.bundle.emit import emit
from fsir.driver.context import make_context
from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.kernel.live import receiving
from fsir.kernel.syscalls import map_create
from fsir.kernel.uapi import MapFlag, MapType
from fsir.object.importer import import_object
from fsir.run.throughput import PATTERN, Load, Testbed

HERE = Path(__file__).resolve().parent
SCANNER = HERE.parent / "examples" / "scanner"
SHARES = (0, 25, 50, 75, 90, 100)
SCANNED, OTHER = 53, 1000
STEPS = (5, 100, 250, 500, 1000)
TURNS, LEAST_STARTS, MOST_STARTS, NARROW = 30, 6, 16, 0.03
AGAIN = "the same again"
PAYLOAD = bytes(range(64)) + b"\xde\xad\xbe\xef" + bytes(60)
"""Searched for what the rules of port 53 look for: found in the middle, so that the packet is dropped."""
SOCKETS = """
typedef unsigned int u32;
struct xdp_md { u32 data, data_end, data_meta, ifindex, queue, egress; };
static long (*redirect_map)(void *, unsigned long long, unsigned long long) = (void *)51;
struct { int (*type)[17]; u32 *key; u32 *value; int (*max_entries)[1]; } sockets
    __attribute__((section(".maps"), used));
__attribute__((section("xdp"), used)) int all(struct xdp_md *ctx) { return redirect_map(&sockets, 0, 1); }
"""


def frame() -> bytes:
    """UDP over IPv4; the destination port is filled in."""
    udp = struct.pack("!HHHH", 5000, 0, 8 + len(PAYLOAD), 0) + PAYLOAD
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), bytes(4))
    return bytes(12) + b"\x08\x00" + ip + udp


def variants(fast: int) -> list[int]:
    """Destination ports that take turns, so many percent of them not scanned."""
    count = PATTERN * fast // 100
    ports, due = [], 0
    for turn in range(PATTERN):
        now = (turn + 1) * count // PATTERN
        ports.append(OTHER if now > due else SCANNED)
        due = now
    return ports


def artifacts(elf: bytes, name: str, options: str) -> tuple[dict[str, bytes], Any]:
    """A bundle's files, and its manifest."""
    module = import_object(elf, name)
    run_pipeline(make_context(), module, f"raise,optimize,decompose{{{options}}},share-maps,lower")
    files = emit(module, EmitOptions(name))
    return files, json.loads(files["manifest.json"])


def mapped(stack: ExitStack, manifest: Any) -> dict[str, int]:
    """The arrays that the parts share by mapping them, which takes a flag from the start."""
    found = {}
    for entry in manifest["maps"]:
        if any(share["mechanism"] == "mmap" for share in entry["sharing"]) and not entry["name"].startswith("."):
            sizes = entry["key_size"], entry["value_size"], entry["max_entries"]
            kind = MapType[entry["type"].upper()]
            found[entry["name"]] = map_create(kind, *sizes, flags=MapFlag.MMAPABLE, name=entry["name"])
            stack.callback(os.close, found[entry["name"]])
    return found


def scanner(folder: Path, console: Console) -> None:
    elf = (SCANNER / "scanner.o").read_bytes()
    maps = json.loads((SCANNER / "maps.json").read_text())
    split, manifest = artifacts(elf, "scanner.o", "targets=xdp,af-xdp")
    user, _ = artifacts(elf, "scanner.o", "targets=af-xdp")
    split_binary = build(split["af_xdp.c"], folder / "split", "-g0")
    user_binary = build(user["af_xdp.c"], folder / "user", "-g0")
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        with Testbed() as bed, ExitStack() as stack, receiving(bed.near):
            shared = mapped(stack, manifest)
            with bed.program(split["xdp.o"], split_binary, maps=maps, shared=shared) as load:
                load.run(frame(), variants(50), seconds=0.02)
                for fast in SHARES:
                    handed = variants(fast).count(SCANNED) / PATTERN
                    found = load.run(frame(), variants(fast), SECONDS).rate(handed)
                    rates.setdefault(("split", fast), []).append(found)
        with Testbed() as bed, bed.user_only(user_binary, maps) as load:
            load.run(frame(), variants(50), seconds=0.02)
            for fast in SHARES:
                rates.setdefault(("user", fast), []).append(load.run(frame(), variants(fast), SECONDS).rate(1.0))
    at_xdp, at_user = median(rates["split", 100]), median(rates["user", 0])
    table = Table(title="scanner, Mpps")
    for column in ("fast path", "split", "AF_XDP", "times", "bound", "of the bound"):
        table.add_column(column, justify="right")
    for fast in SHARES:
        (rate, noise), (pure, pure_noise) = middle(rates["split", fast]), middle(rates["user", fast])
        p = 1 - variants(fast).count(SCANNED) / PATTERN
        bound = 1 / (p / at_xdp + (1 - p) / at_user) / 1e6
        cells = f"{rate:.2f} (±{noise / 2:.0f} %)", f"{pure:.2f} (±{pure_noise / 2:.0f} %)"
        table.add_row(f"{fast} %", *cells, f"{rate / pure:.2f}", f"{bound:.2f}", f"{rate / bound:.0%}")
    console.print(table)


def loops(folder: Path, console: Console) -> None:
    """CPU time per packet of loops that find their ring full: the rate of a flood would be the generator's."""
    kernel = object_of(SOCKETS, folder, "sockets")
    table = Table(
        title="AF_XDP loops, nanoseconds of CPU per packet, and the generated one's speed in percent of the other's"
    )
    before = os.getloadavg()[0]
    for column in ("steps", "generated", "by hand", "speed", "by hand, huge pages", "speed", AGAIN, "speed"):
        table.add_column(column, justify="right")
    for steps in STEPS:
        binaries = _binaries(steps, folder)
        times, ratios = _in_turns(binaries | {AGAIN: binaries["by hand, huge pages"]}, kernel)
        cells = [f"{median(times.pop('generated')):.1f}"]
        for name, each in times.items():
            low, middle_one, high = (100 * bound for bound in _interval(ratios[name]))
            cells += [f"{median(each):.1f}", f"{middle_one:.0f} % ({low:.0f}-{high:.0f})"]
        table.add_row(str(steps), *cells)
    table.caption = f"load of the machine: {before:.0f} to {os.getloadavg()[0]:.0f}, {os.cpu_count()} CPUs"
    console.print(table)


def _binaries(steps: int, folder: Path) -> dict[str, Path]:
    text, _ = source(steps)
    generated, _ = artifacts(object_of(text, folder, "work"), "work.o", "targets=af-xdp")
    code = b"#define WORK " + _by_hand(text).encode() + b"\n" + (HERE / "split_handwritten.c").read_bytes()
    binaries = {"generated": build(generated["af_xdp.c"], folder / f"generated{steps}", "-g0")}
    for name, flags in (("by hand", ()), ("by hand, huge pages", ("-DHUGE_PAGES",))):
        binaries[name] = folder / f"{name}{steps}"
        compile_c(code, binaries[name], "-O2", *flags, libraries=("-lxdp", "-lbpf"))
    return binaries


def _by_hand(program: str) -> str:
    """The work of a program on a packet, as C for any machine."""
    cases = []
    flows = re.findall(r'asm volatile\("(.*?)" : "\+r"\(h\)\); \*\(u64 \*\)\(data \+ (\d+)\)', program)
    for flow, (chain, offset) in enumerate(flows):
        steps = "; ".join(f"h {op}= {number}u" for op, number in re.findall(r"%0 (.)= (\d+);", chain))
        cases.append(f"case {flow}: {steps}; memcpy(data + {offset}, &h, sizeof(h)); break;")
    return f"switch (data[37] & 3) {{ {' '.join(cases)} }}"


def _in_turns(binaries: dict[str, Path], kernel: bytes) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Times, and how many times those of the generated loop they are. All run at once and are given packets in turns,
    both in an order that changes, so that what else the machine does hits them alike; each start gives one figure of
    each, from the fastest of its turns (where its memory lies makes a difference). As many starts as it takes for the
    interval of every ratio to be narrow."""
    times: dict[str, list[float]] = {name: [] for name in binaries}
    ratios: dict[str, list[float]] = {name: [] for name in binaries}
    for start in range(1, MOST_STARTS + 1):
        with ExitStack() as stack:
            order = random.sample(list(binaries), len(binaries))
            loads = {name: _sleeping(stack, kernel, binaries[name], name) for name in order}
            turns: dict[str, list[float]] = {name: [] for name in binaries}
            for _ in range(TURNS):
                random.shuffle(order)
                for name in order:
                    turns[name].append(loads[name].drain(bytes(64)))
        fastest = {name: sorted(each)[len(each) // 10] for name, each in turns.items()}
        for name, each in fastest.items():
            times[name].append(each)
            ratios[name].append(each / fastest["generated"])
        if start >= LEAST_STARTS and all(_is_narrow(each) for each in ratios.values()):
            break
    return times, ratios


def _sleeping(stack: ExitStack, kernel: bytes, binary: Path, name: str) -> Load:
    def arguments(folder: Path, sockets: Path) -> list[str | Path]:
        return [sockets] if name != "generated" else ["--pin", folder, "--sockets", sockets]

    bed = stack.enter_context(Testbed())
    bed.set_variants((0,))
    return stack.enter_context(bed.program(kernel, binary, arguments=arguments))


def _interval(values: list[float]) -> tuple[float, float, float]:
    """The median, between the bounds of its 95 % confidence interval (by ranks)."""
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5
    low, high = int(len(ordered) / 2 - half), int(len(ordered) / 2 + half)
    return ordered[max(low, 0)], median(ordered), ordered[min(high, len(ordered) - 1)]


def _is_narrow(ratios: list[float]) -> bool:
    low, _, high = _interval(ratios)
    return high - low < NARROW


def main() -> int:
    require()
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="fs-bench-") as name, collecting(Diagnostics()):
        scanner(Path(name), console)
        loops(Path(name), console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
