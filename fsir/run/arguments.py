"""The command line of `fs-run`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from fsir.run.engine_table import ENGINES

T = TypeVar("T")
INT_MAX, UINT_MAX = (1 << 31) - 1, (1 << 32) - 1
CPUS_MAX = 8192  # CONFIG_NR_CPUS of x86

DESCRIPTION = """\
Runs packets through an eBPF object, IR at any level, C, or a bundle, and shows what becomes of them.

  fs-run in.o --pcap in.pcap --maps maps.json                     verdicts, instructions, helper calls
  fs-run in.o --pcap in.pcap --compare-engine kernel              interpreter against kernel (root)
  fs-run in.o --pcap in.pcap --compare out.o                      two programs, packet by packet and map by map
  fs-run in.o --pcap in.pcap --compare-pipeline raise,optimize    a program before and after passes
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing of the compiler, so that `--help` is quick."""
    parser = argparse.ArgumentParser(
        prog="fs-run", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("input", metavar="IN", nargs="?", help=".o (ELF), .mlir or .c file, or a bundle directory; - is stdin")
    add("--engine", choices=sorted(ENGINES), help="what runs it; interp (bundle for a bundle directory) if not given")
    add("-p", "--pass-pipeline", metavar="P", help="passes to run on IN first, as for fs-opt")
    add("--prog", metavar="NAME", help="the program, by function or section name; needed when there are several")
    add("--prog-type", metavar="TYPE", help="type of programs whose section name does not say it: xdp, sched_cls, …")
    add("--from", dest="format", choices=("mlir", "elf", "c"), help="what IN is, if name and contents do not tell")

    group = parser.add_argument_group("packets")
    add = group.add_argument
    add("--pcap", metavar="FILE", help="pcap or pcapng of Ethernet frames; their times are the program's clock")
    add("--hex", metavar="BYTES", action="append", default=[], help="a frame in hex digits; may be repeated")
    add(
        "--ifindex",
        metavar="N",
        type=between(1, INT_MAX),
        help="interface that packets arrive on (default: 1; with live: 2)",
    )
    add("--queue", metavar="N", type=between(0, INT_MAX), default=0, help="receive queue (default: 0)")

    group = parser.add_argument_group("the world around the program")
    add = group.add_argument
    add("--maps", metavar="FILE", help="contents of maps (maps.json)")
    add("--routes", metavar="FILE", help="routes, neighbours and interfaces for bpf_fib_lookup (docs/fs-run.md)")
    add(
        "--map-size",
        metavar="NAME=N",
        action="append",
        default=[],
        type=pair(between(1, UINT_MAX)),
        help="max_entries of a map",
    )
    add("--rodata", metavar="NAME=HEX", action="append", default=[], type=pair(bytes.fromhex), help="a global variable")
    add(
        "--library",
        metavar="FILE",
        action="append",
        default=[],
        help="defines functions that only user space has: a source, object or shared library, or -lNAME (interpreters)",
    )
    add("--extern", metavar="NAME=N", action="append", default=[], type=pair(number), help="a configuration variable")
    add(
        "--cpu",
        metavar="N",
        type=between(0, CPUS_MAX - 1),
        help="CPU that runs the program (default: 0; with the kernel: the first usable)",
    )
    add(
        "--cpus",
        metavar="N",
        type=between(1, CPUS_MAX),
        help="possible CPUs, for per-CPU maps (default: 1; with the kernel: its own)",
    )
    add(
        "--time-start",
        metavar="NS",
        type=between(0, (1 << 63) - 1),
        help="clock at the first packet (default: its time in the pcap)",
    )
    add("--seed", metavar="N", type=between(0, (1 << 64) - 1), default=0, help="of bpf_get_prandom_u32 (default: 0)")
    add(
        "--kernel-btf",
        metavar="FILE",
        default="/sys/kernel/btf/vmlinux",
        help="types for CO-RE relocations (default: the running kernel's); none: in interpreters, as compiled",
    )
    add(
        "--freeze",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="time of the packets and seeded random numbers in the kernel, too, by the pass "
        "freeze-environment (default); --no-freeze: the kernel's own",
    )
    add("--poison", action="store_true", help="garbage in the unspecified upper bits of narrow values (interpreters)")
    add(
        "--budget",
        metavar="N",
        type=between(1, 1 << 40),
        default=1_000_000,
        help="instructions per packet (default: 1000000)",
    )

    group = parser.add_argument_group("results")
    add = group.add_argument
    add("--json", action="store_true", help="everything as one JSON document on stdout")
    add("--packets", action=argparse.BooleanOptionalAction, help="a line for each packet (default: up to 20)")
    add("--pcap-out", metavar="FILE", help="the frames that were not dropped, as they left")
    add("--maps-out", metavar="FILE", help="the maps afterwards")
    add("--profile-out", metavar="FILE", help="how often branches were taken, for decompose{profile=FILE} (interp)")
    add("--quiet", action="store_true", help="no report; with --compare, only a difference")
    add("--debug", action="store_true", help="tracebacks with the errors")

    group = parser.add_argument_group("comparing with a second run; exit status 1 if anything differs")
    add = group.add_argument
    add("--compare", metavar="OTHER", help="another file or bundle, run the same way")
    add("--compare-engine", choices=sorted(ENGINES), help="the second run's engine")
    add("--compare-pipeline", metavar="P", help="the second run's passes")
    add("--ignore-map", metavar="NAME", action="append", default=[], help="a map that may differ")

    group = parser.add_argument_group("measuring this machine (root)")
    add = group.add_argument
    add("--calibrate", action="store_true", help="what things cost here, for decompose{targets=FILE}")
    add("-o", "--output", metavar="FILE.toml", default="my-target.toml", help="the file (default: my-target.toml)")

    group = parser.add_argument_group("at work on interfaces of this machine, until interrupted (root)")
    add = group.add_argument
    add("--live", metavar="IFACE", nargs="+", help="attach the kernel's part there, start the user part, show counters")
    add("--queues", metavar="N|all", default="all", help="receive queues that the user part serves (default: all)")
    add("--generic", action="store_true", help="generic XDP, for drivers without it")
    add("--seconds", metavar="S", type=float, help="end by itself after that time")
    add("--user-options", metavar="OPTIONS", default="", help="more for the user part: =--spin (docs/af-xdp.md)")

    group = parser.add_argument_group("extending")
    group.add_argument("--load-plugin", metavar="MODULE_OR_FILE", action="append", default=[], help="as for fs-opt")
    return parser


def number(text: str) -> int:
    """A decimal, hexadecimal (0x) or octal (0o) number."""
    return int(text, 0)


def between(lowest: int, highest: int) -> Callable[[str], int]:
    """A number of that range."""

    def parse(text: str) -> int:
        try:
            value = number(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be a number from {lowest} to {highest}, not '{text}'")
        return value

    return parse


def pair(convert: Callable[[str], T]) -> Callable[[str], tuple[str, T]]:
    """NAME=VALUE, the value by `convert`."""

    def parse(text: str) -> tuple[str, T]:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not '{text}'")
        try:
            return name, convert(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{value}' is no value for {name}: {error}") from error

    return parse
