"""The command line of `fs-opt`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

REPORTS = ("contents", "access")

DESCRIPTION = """\
Reads an eBPF object, IR text or C; runs passes; writes IR text, an object, C, P4, or a bundle.

  fs-opt in.o -t elf -o out.o                                  the same bytes again
  fs-opt in.o -p raise                                         what the program does to packets and maps
  fs-opt in.o -p raise,optimize,lower-to-xdp -t elf -o out.o   optimised
  fs-opt in.o -p 'raise,decompose{targets=xdp,af-xdp},share-maps,lower' -t bundle -o DIR
  fs-opt *.o -p raise,optimize,lower-to-xdp -t elf -o DIR      each of them
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing of the compiler, so that `--help` is quick."""
    parser = argparse.ArgumentParser(
        prog="fs-opt",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "inputs",
        metavar="IN",
        nargs="*",
        default=["-"],
        help=".o (ELF), .mlir or .c file; - (the default) is stdin. Several are worked on in parallel, into -o DIR",
    )
    add("-o", "--output", metavar="OUT", default="-", help="file, or directory for a bundle; - is stdout")
    add(
        "-p",
        "--pass-pipeline",
        metavar="P",
        action="append",
        default=[],
        help="passes to run: 'a,b{x=1 y=2,3}' or 'builtin.module(a,func.func(b))'",
    )
    add("-t", "--target", metavar="TARGET", default="mlir", help="mlir (default), elf, c, p4, bundle; --list-targets")
    add("--from", dest="format", choices=("mlir", "elf", "c"), help="what IN is, if name and contents do not tell")
    add("--prog-type", metavar="TYPE", help="type of programs whose section name does not say it: xdp, sched_cls, …")
    add(
        "--section-type",
        metavar="SECTION=TYPE",
        action="append",
        default=[],
        help="type of the programs in a section, whatever its name says",
    )
    add(
        "--map-size",
        metavar="NAME=N",
        type=_map_size,
        action="append",
        default=[],
        help="max_entries of a map, as where the object leaves it to the loader",
    )

    group = parser.add_argument_group("C and several inputs")
    add = group.add_argument
    add("-I", "--include", metavar="DIR", action="append", default=[], help="where clang looks for headers")
    add("-D", "--define", metavar="NAME[=VALUE]", action="append", default=[], help="a macro for C")
    add("--clang-arg", metavar="ARG", action="append", default=[], help="any option of clang: --clang-arg=-mcpu=v2")
    add("-j", "--jobs", metavar="N", type=_positive, help="inputs at a time (default: one per processor)")

    group = parser.add_argument_group("finding out")
    add = group.add_argument
    add(
        "--report",
        metavar="KIND",
        nargs="?",
        const="contents",
        choices=REPORTS,
        help="instead of -t: what IN holds (contents), or what its programs do to packets and maps (access; raises it)",
    )
    add("--json", action="store_true", help="the report for scripts")
    add("--list-passes", metavar="all", nargs="?", const="own", choices=("own", "all"), help="names and summaries")
    add("--list-targets", action="store_true", help="what -t can name")
    add("--help-pass", metavar="NAME", help="what a pass does, its options, an example")
    add("--version", action="store_true", help="versions of this program and of xDSL")

    group = parser.add_argument_group("watching")
    add = group.add_argument
    add("--print-ir-before-all", action="store_true", help="the IR before each pass, to stderr")
    add("--print-ir-after-all", action="store_true", help="the IR after each pass, to stderr")
    add("--print-ir-before", metavar="NAMES", help="the IR before these passes (comma-separated)")
    add("--print-ir-after", metavar="NAMES", help="the IR after these passes")
    add("--timing", action="store_true", help="time per phase and pass, to stderr")
    add(
        "--verify-each",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="check structure, operations and dominance after each pass, and after each part of one (default: after "
        "each pass of the pipeline)",
    )
    add(
        "--verify-semantics",
        action="store_true",
        help="run every program before and after each pass, and each part of one, in the interpreter, on packets that "
        "are looked for to reach every branch; fail at the first difference",
    )
    add("--no-fallback", action="store_true", help="fail where something would keep its original form")
    add("--quiet", action="store_true", help="no remarks and warnings on stderr")
    add("--debug", action="store_true", help="tracebacks with the errors")

    group = parser.add_argument_group("printing")
    add = group.add_argument
    add("--print-op-generic", action="store_true", help="generic form for every operation")
    add("--print-debuginfo", action="store_true", help="with locations")

    group = parser.add_argument_group("testing and extending")
    add = group.add_argument
    add("--split-input-file", action="store_true", help="treat the parts between '// -----' lines as separate inputs")
    add(
        "--verify-diagnostics",
        action="store_true",
        help="check messages against '// expected-error@+1 {{text}}' comments",
    )
    add("--crash-reproducer", metavar="F", help="on failure write input IR and pipeline to F")
    add("--run-reproducer", action="store_true", help="take pipeline and target from the head of IN")
    add("--allow-unregistered-dialect", action="store_true", help="keep operations of unknown dialects")
    add(
        "--load-plugin",
        metavar="MODULE_OR_FILE",
        action="append",
        default=[],
        help="more dialects, passes, targets: a Python module or file that holds a xdsl.universe.Universe",
    )
    return parser


def with_report_kind(argv: Sequence[str]) -> list[str]:
    """The command line with the kind of report said where it was left out before an input: `--report in.o`."""
    result = list(argv)
    for i, (option, following) in enumerate(pairwise(argv)):
        if option == "--report" and following not in REPORTS and (following == "-" or Path(following).exists()):
            result[i] = f"--report={REPORTS[0]}"
    return result


def clang_flags(args: argparse.Namespace) -> tuple[str, ...]:
    """What the command line has for clang."""
    return (*(f"-I{folder}" for folder in args.include), *(f"-D{macro}" for macro in args.define), *args.clang_arg)


def map_sizes(args: argparse.Namespace) -> dict[str, int]:
    """The sizes that the command line gives to maps."""
    return dict(args.map_size)


def _map_size(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    if not name or not number.isdecimal() or not 1 <= int(number) < 1 << 32:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=N, with a number from 1 to {(1 << 32) - 1}")
    return name, int(number)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)
