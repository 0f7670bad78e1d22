"""`fs-run`: from the command line to the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsir.driver.shell import guard
from fsir.run.arguments import make_parser
from fsir.run.engine_table import DIRECTORY_ENGINE, IN_KERNEL, REAL_INTERFACE

if TYPE_CHECKING:
    from fsir.interp.branches import Branches
    from fsir.interp.packet_io import Packet
    from fsir.run.engines import Settings, Subject
    from fsir.run.session import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fs-run` with the arguments `argv` (those of the process by default); the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.calibrate:
        return guard(lambda: _calibrate(args), "--calibrate", args.debug)
    if args.input is None:
        parser.error("the following arguments are required: IN")
    return guard(lambda: _run(args), "<stdin>" if args.input == "-" else args.input, args.debug)


def _calibrate(args: argparse.Namespace) -> int:
    from fsir.run.calibrate import calibrate
    from fsir.run.errors import RunError, explained

    try:
        with explained("--calibrate"):
            calibrate(args.output)
    except RunError as error:
        if args.debug:
            raise
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> int:
    from fsir.run.errors import RunError

    try:
        return _run_all(args)
    except RunError as error:
        if args.debug:
            raise
        print(error, file=sys.stderr)
        return 1


def _run_all(args: argparse.Namespace) -> int:
    from fsir.driver.errors import UsageError
    from fsir.driver.output import check_place
    from fsir.run.errors import explained
    from fsir.run.session import run

    with explained("<stdin>" if args.input == "-" else args.input):
        if args.live is not None:
            return _deploy(args)
        for path in filter(None, (args.pcap_out, args.maps_out, args.profile_out)):
            check_place(path)
        packets = _packets(args)
        first, second = _plan(args)
        if args.profile_out is not None and first[1] != "interp":
            raise UsageError("--profile-out counts what the interpreter runs; leave out --engine")
        engines = {engine for _, engine in (first, second or first)}
        settings = _settings(args, engines)
    branches = settings.branches
    left = run(*first, settings, packets, args.time_start)
    settings = replace(settings, branches=None)
    if args.profile_out is not None:
        _write_profile(args, first[0], branches, len(packets))
    if second is None:
        _write(args, left, packets)
        _report(args, left)
        return 0
    right = run(*second, settings, packets, args.time_start)
    _write(args, left, packets)
    return _compare(args, left, right, packets)


def _deploy(args: argparse.Namespace) -> int:
    import shlex

    from fsir.driver.cli import universes
    from fsir.driver.errors import UsageError
    from fsir.driver.output import check_place, write_artifact
    from fsir.interp.mapfile import format_contents
    from fsir.run.deploy import Options
    from fsir.run.deploy_view import deploy
    from fsir.run.engines import Subject

    given = ("engine", "pcap", "hex", "compare", "compare_engine", "compare_pipeline", "pcap_out", "profile_out")
    if wrong := [name for name in given if getattr(args, name)]:
        raise UsageError(f"--{wrong[0].replace('_', '-')}: with --live, packets come from the interfaces")
    if args.maps_out is not None:
        check_place(args.maps_out)
    subject = Subject(args.input, args.pass_pipeline, args.format, args.prog_type, tuple(universes(args)))
    options = Options(tuple(args.live), args.generic, ("--queues", args.queues, *shlex.split(args.user_options)))
    settings = _settings(args, {"live"})
    document = deploy(subject, settings, options, seconds=args.seconds, json_output=args.json, quiet=args.quiet)
    if args.maps_out is not None:
        write_artifact(format_contents(document["maps"]), args.maps_out)
    return 0


def _packets(args: argparse.Namespace) -> list[Packet]:
    from fsir.driver.errors import UsageError
    from fsir.interp.packet_io import Packet, packet_from_hex, read_packets

    if args.pcap is None and not args.hex:
        raise UsageError("no packets: give --pcap FILE or --hex BYTES")
    packets = read_packets(args.pcap) if args.pcap is not None else []
    for text in args.hex:
        try:
            packets.append(Packet(packet_from_hex(text, "--hex: the frame"), packets[-1].time_ns if packets else 0))
        except ValueError as error:
            raise UsageError(str(error)) from error
    return packets


def _plan(args: argparse.Namespace) -> tuple[tuple[Subject, str], tuple[Subject, str] | None]:
    """What is run on what engine, and the second run to compare with."""
    from fsir.driver.cli import universes
    from fsir.run.engines import Subject

    plugins = tuple(universes(args))
    subject = Subject(args.input, args.pass_pipeline, args.format, args.prog_type, plugins)
    first = subject, args.engine or _default_engine(subject)
    if args.compare is None and args.compare_engine is None and args.compare_pipeline is None:
        return first, None
    other = args.compare if args.compare is not None else args.input
    pipeline = args.compare_pipeline
    if pipeline is None and args.compare is None:
        pipeline = args.pass_pipeline
    # IN may not be read twice (stdin), and need not be: passes are what changes a module.
    same = args.compare is None and pipeline == args.pass_pipeline
    second = subject if same else Subject(other, pipeline, args.format, args.prog_type, plugins)
    if args.compare is None and not same and not subject.path.is_dir():
        second.__dict__["source"] = subject.source
    return first, (second, args.compare_engine or args.engine or _default_engine(second))


def _default_engine(subject: Subject) -> str:
    return DIRECTORY_ENGINE if subject.path.is_dir() else "interp"


def _settings(args: argparse.Namespace, engines: Set[str]) -> Settings:
    from fsir.driver.errors import UsageError
    from fsir.interp.branches import Branches
    from fsir.interp.fib import Fib
    from fsir.interp.fib_file import read_fib
    from fsir.interp.mapfile import read_contents
    from fsir.run.engines import Settings

    cpu, cpus = args.cpu, args.cpus
    world: dict[str, Any] = {}
    if engines & IN_KERNEL:
        from fsir.kernel.engine import current_cpu
        from fsir.kernel.syscalls import possible_cpus
        from fsir.run.kernel import running_kernel

        cpu = current_cpu() if cpu is None else cpu
        cpus = possible_cpus() if cpus is None else cpus
        world["kernel"] = running_kernel()
    if cpus is not None and (cpu or 0) >= cpus:
        raise UsageError(f"there is no CPU {cpu} among {cpus}: they count from 0; give another --cpu or --cpus")
    return Settings(
        fib=read_fib(args.routes) if args.routes is not None else Fib(),
        program=args.prog,
        prog_type=args.prog_type,
        maps=read_contents(args.maps) if args.maps is not None else {},
        map_sizes=dict(args.map_size),
        rodata=dict(args.rodata),
        externs=dict(args.extern),
        libraries=tuple(args.library),
        ifindex=(2 if engines & REAL_INTERFACE else 1) if args.ifindex is None else args.ifindex,
        queue=args.queue,
        cpu=cpu or 0,
        cpus=max(cpus or 1, (cpu or 0) + 1),
        seed=args.seed,
        budget=args.budget,
        poison=args.poison,
        freeze=args.freeze,
        branches=Branches(counting=True) if args.profile_out is not None else None,
        kernel_btf=None if args.kernel_btf == "none" else Path(args.kernel_btf),
        **world,
    )


def _report(args: argparse.Namespace, run: Run) -> None:
    from fsir.run import report

    if args.json:
        _print_json(report.document(run))
    elif not args.quiet:
        report.print_run(run, args.packets)


def _compare(args: argparse.Namespace, left: Run, right: Run, packets: list[Packet]) -> int:
    from fsir.interp.results import compare
    from fsir.run import report

    ignored = frozenset(args.ignore_map) | left.added_maps | right.added_maps
    difference = compare(
        left.results,
        right.results,
        left.maps,
        right.maps,
        ignore_maps=ignored,
        perf_maps=left.perf_maps | right.perf_maps,
    )
    if args.json:
        found = None
        if difference is not None:
            found = {key: getattr(difference, key) for key in ("where", "what", "left", "right")}
        runs = {"left": report.document(left), "right": report.document(right)}
        _print_json({"equal": difference is None, "difference": found, **runs})
    elif difference is not None:
        report.print_difference(difference, left, right, packets)
    elif not args.quiet:
        print(report.agreement(left, right, ignored))
    return 0 if difference is None else 1


def _print_json(document: object) -> None:
    import json

    json.dump(document, sys.stdout, indent=1)
    print()


def _write_profile(args: argparse.Namespace, subject: Subject, branches: Branches | None, packets: int) -> None:
    import json

    from fsir.driver.output import write_artifact
    from fsir.placement.profile import collected

    assert branches is not None
    profile = collected(branches, subject.shown, subject.pipeline or "", packets)
    write_artifact(json.dumps(profile, indent=1) + "\n", args.profile_out)


def _write(args: argparse.Namespace, run: Run, packets: list[Packet]) -> None:
    """The files asked for, after everything went well."""
    from fsir.driver.output import write_artifact
    from fsir.interp.mapfile import format_contents
    from fsir.interp.packet_io import Packet, format_packets
    from fsir.run.errors import explained
    from fsir.run.verdicts import is_dropped

    with explained(run.input_name):
        if args.pcap_out is not None:
            left = [r for r in run.results if r.bytes_known and not is_dropped(r.verdict, run.hook)]
            frames = [Packet(result.data, packets[result.index].time_ns) for result in left]
            write_artifact(format_packets(frames), args.pcap_out)
        if args.maps_out is not None:
            write_artifact(format_contents(run.maps), args.maps_out)
