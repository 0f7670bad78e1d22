"""`fs-opt`: from the parsed command line to the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fsir.driver.arguments import make_parser, with_report_kind
from fsir.driver.garbage import collect_rarely, collector_paused
from fsir.driver.shell import guard

if TYPE_CHECKING:
    from xdsl.universe import Universe


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fs-opt` with the arguments `argv` (those of the process by default); the exit status."""
    args = make_parser().parse_args(with_report_kind(sys.argv[1:] if argv is None else argv))
    if args.version or args.list_passes or args.list_targets or args.help_pass:
        return guard(lambda: _inform(args), "fs-opt", args.debug)
    several = len(args.inputs) > 1
    args.input = args.inputs[0]
    name = "fs-opt" if several else "<stdin>" if args.input == "-" else args.input
    return guard(lambda: _run(args, several), name, args.debug)


def _inform(args: argparse.Namespace) -> int:
    """What needs no input."""
    from fsir.driver import listing
    from fsir.driver.registry import PassRegistry

    registry = PassRegistry(lambda: universes(args))
    if args.version:
        sys.stdout.write(listing.versions())
    if args.list_targets:
        sys.stdout.write(listing.list_targets(universes(args)))
    if args.list_passes:
        sys.stdout.write(listing.list_passes(registry, args.list_passes == "all"))
    if args.help_pass:
        sys.stdout.write(listing.help_pass(registry, args.help_pass))
    return 0


def _run(args: argparse.Namespace, several: bool) -> int:
    collect_rarely()
    with collector_paused():
        from fsir.driver.errors import UsageError
        from fsir.driver.optimizer import Optimizer

    if args.input == "-" and sys.stdin.isatty():
        raise UsageError("nothing to read: name an input file, or pipe one in; --help lists the options")
    if not several:
        return Optimizer(args, tuple(universes(args))).run()
    with collector_paused():
        from fsir.driver.batch import run_batch

    return run_batch(args, tuple(universes(args)))


def universes(args: argparse.Namespace) -> Iterable[tuple[str, Universe]]:
    """The plugins that the command line names, then the installed ones."""
    from fsir.driver import plugins

    for name in args.load_plugin:
        yield from plugins.load(name)
    yield from plugins.installed()
