"""When does it pay to split? Programs that work 100 to 1000 cycles on each packet, in the kernel (XDP), in user space
(AF_XDP), and split by packets: 25, 50 or 75 % of them are worked on in user space. Each placement is predicted from
costs measured on this machine, measured, and compared with what `decompose` chooses.

Four flows take turns; a program has a branch, with the same work, for each. Frames come from live runs of a generator
over a veth pair; kernel part and generator have one CPU, user space the other. Rates are packets per second of which
none is lost. Medians of short runs that take turns. An argument names a file of `fs-run --calibrate`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from split_common import Setup, middle, object_of, placed, predicted, require, side_by_side

from fsir.driver.diagnostics import Diagnostics, collecting
from fsir.run.calibrate import calibrate
from fsir.run.cli import main as fs_run

CYCLES = (100, 250, 500, 1000)
CLASSES = 4
FLOWS = tuple(range(CLASSES))
FRAME = bytes(64)
CLOSE = 0.95

_HEAD = """
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
struct xdp_md { u32 data, data_end, data_meta, ifindex, queue, egress; };
__attribute__((section("xdp"), used)) int work(struct xdp_md *ctx)
{
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 64 > end) return 0;
    u32 flow = data[37] & 3; u64 h = *(u64 *)(data + 40);
"""


def source(cycles: int) -> tuple[str, list[int]]:
    """The program, and the lines where the branches begin. Each cycle is an instruction that needs the one before."""
    text, lines = _HEAD, []
    for flow in FLOWS:
        text += f"    if (flow == {flow}) {{\n" if flow < CLASSES - 1 else "    {\n"
        steps = "".join(f"%0 {'+^'[i % 2]}= {(i * 7919 + flow * 104729 + 12345) % 65521 + 2};" for i in range(cycles))
        lines.append(text.count("\n") + 1)
        text += f' asm volatile("{steps}" : "+r"(h));' + f" *(u64 *)(data + {48 + flow % 2}) = h; return 1; }}\n"
    return text + "}\n", lines


def profile(elf: Path, output: Path) -> None:
    """How often branches are taken, from one packet of each flow."""
    frames = [f"--hex={(FRAME[:36] + bytes([0, flow]) + FRAME[38:]).hex()}" for flow in FLOWS]
    if fs_run([str(elf), "-p", "raise,optimize", *frames, "--quiet", "--profile-out", str(output)]):
        raise SystemExit("the program cannot be profiled")


def setups(cycles: int, target: str, folder: Path) -> list[Setup]:
    """Every placement of one program; the last is the one that decompose chooses."""
    text, lines = source(cycles)
    elf = object_of(text, folder, f"work{cycles}")
    (folder / "work.o").write_bytes(elf)
    profile(folder / "work.o", folder / "profile.json")
    options = f"targets={target} profile={folder / 'profile.json'}"
    chosen, decision = placed(elf, "chosen", options, folder)
    found = [Setup("XDP", 0.0, predicted(decision, "all on xdp"), elf, None)]
    for count in range(1, CLASSES):
        cuts = ",".join(map(str, lines[CLASSES - count :]))
        found.append(placed(elf, f"{100 * count // CLASSES} %", f"{options} cut-at={cuts}", folder)[0])
    user, _ = placed(elf, "AF_XDP", f"targets=af-xdp profile={folder / 'profile.json'}", folder)
    user.mpps = predicted(decision, "all on af-xdp")
    return [*found, user, chosen]


def main() -> int:
    require()
    console, within = Console(width=160), 0
    with tempfile.TemporaryDirectory(prefix="fs-bench-") as name, collecting(Diagnostics()):
        folder = Path(name)
        target = sys.argv[1] if len(sys.argv) > 1 else str(folder / "here.toml")
        if len(sys.argv) < 2:
            calibrate(target)
        table = Table(title="Mpps, predicted → measured, and how far the middle half is from it")
        shares = (f"{100 * n // CLASSES} %" for n in range(1, CLASSES))
        columns = ("cycles", "XDP", *shares, "AF_XDP", "chosen", "handed over", "of best")
        for column in columns:
            table.add_column(column, justify="right")
        for cycles in CYCLES:
            candidates = setups(cycles, target, folder)
            rates = side_by_side(candidates, FRAME, lambda _: FLOWS)
            measured = {name: middle(found) for name, found in rates.items()}
            best = max(rate for rate, _ in measured.values())
            ratio = measured["chosen"][0] / best
            within += ratio >= CLOSE
            cells = []
            for setup in candidates:
                rate, noise = measured[setup.name]
                cells.append(f"{setup.mpps:.2f} → {rate:.2f} ±{noise / 2:.0f} %")
            table.add_row(str(cycles), *cells, f"{candidates[-1].handed:.0%}", f"{ratio:.0%}")
        console.print(table)
    print(f"the placement that decompose chooses is within 5 % of the measured best in {within} of {len(CYCLES)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
