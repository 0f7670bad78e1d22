"""Bundles of the examples: their files, their manifest, and the artifacts at work against the original."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import traffic
from xdsl.dialects.builtin import ModuleOp

from fsir.backends.af_xdp.inprocess import compiler
from fsir.bundle.emit import emit
from fsir.bundle.manifest import schema
from fsir.bundle.read import BundleError, bundle_of, read_bundle
from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.output import write_directory
from fsir.driver.pass_manager import run_pipeline
from fsir.driver.targets import EmitOptions
from fsir.interp.packet_io import Packet
from fsir.interp.results import compare
from fsir.object.importer import import_object
from fsir.run.engines import Settings, Subject
from fsir.run.session import run

ROOT = Path(__file__).parent.parent.parent
NIC = "p4-v1model"
FILES = {
    "xdp": {"xdp.o"},
    "af-xdp": {"af_xdp.c", "Makefile"},
    NIC: {"nic.p4"},
}
SPLITS = [
    ("scanner", "xdp,af-xdp", {"xdp", "af-xdp"}),
    ("scanner", f"{NIC},xdp,af-xdp", {NIC, "xdp", "af-xdp"}),
    ("router", f"{NIC},xdp", {NIC, "xdp"}),
    ("firewall", f"{NIC},xdp,af-xdp", {NIC, "xdp"}),
    ("maglev", f"{NIC},xdp", {NIC, "xdp"}),
    ("ipv6-filter", f"{NIC},xdp,af-xdp", {NIC, "xdp", "af-xdp"}),
    ("vxlan-gateway", f"{NIC},xdp", {NIC, "xdp"}),
    ("kv-cache", f"{NIC},xdp program=kv_cache", {NIC, "xdp"}),
    ("router", "xdp,af-xdp cut-at=bb8", {"xdp", "af-xdp"}),
    ("firewall", "xdp,af-xdp cut-at=bb38", {"xdp", "af-xdp"}),
    ("firewall", f"{NIC},xdp,af-xdp cut-at=bb11", {NIC, "xdp"}),
    ("snat", "xdp,af-xdp cut-at=bb28", {"xdp", "af-xdp"}),
    ("vlan-router", f"{NIC},xdp,af-xdp", {NIC, "xdp", "af-xdp"}),
    ("policer", f"{NIC},xdp,af-xdp", {NIC, "xdp"}),
]

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler is installed")


def example(name: str) -> str:
    return str(ROOT / "examples" / name / f"{name}.o")


@cache
def split(name: str, targets: str) -> ModuleOp:
    module = import_object(Path(example(name)).read_bytes(), f"{name}.o")
    run_pipeline(make_context(), module, f"raise,decompose{{targets={targets}}},share-maps,lower")
    return module


@cache
def files(name: str, targets: str) -> dict[str, bytes]:
    return emit(split(name, targets), EmitOptions(name))


@cache
def original(name: str, count: int) -> Any:
    return run(Subject(example(name)), "interp", settings(name), packets(name, count), None)


def settings(name: str) -> Settings:
    return Settings(program=traffic.program(name), maps=traffic.maps(name), ifindex=3)


@cache
def packets(name: str, count: int) -> list[Packet]:
    frames = [f for f in traffic.generate(name, count, seed=11) if len(f) >= 14]
    return [Packet(frame, 1_700_000_000_000_000_000 + 1000 * i) for i, frame in enumerate(frames)]


@pytest.mark.parametrize(("name", "targets", "used"), SPLITS)
def test_manifest_follows_its_schema_and_names_the_files(name: str, targets: str, used: set[str]) -> None:
    written = files(name, targets)
    manifest = json.loads(written["manifest.json"])
    jsonschema.validate(manifest, schema())
    assert {part["target"] for part in manifest["parts"]} == used
    assert set(written) == {"manifest.json", "placement.mlir"}.union(*(FILES[target] for target in used))
    numbers = [handoff["resume"] for handoff in manifest["handoffs"]]
    assert len(set(numbers)) == len(numbers)
    assert all(part["reasons"] for part in manifest["parts"])


@needs_compiler
@pytest.mark.parametrize(("name", "targets", "used"), SPLITS)
def test_artifacts_do_what_the_program_did(name: str, targets: str, used: set[str], tmp_path: Path) -> None:
    count = 300
    write_directory(tmp_path / "bundle", files(name, targets))
    after = run(Subject(str(tmp_path / "bundle")), "bundle", settings(name), packets(name, count), None)
    before = original(name, count)
    difference = compare(before.results, after.results, before.maps, after.maps, ignore_maps=after.added_maps)
    assert difference is None, str(difference)
    seen = {part for result in after.results for part, _ in result.parts}
    assert len(seen) == len(used), f"packets came to {seen} only"


@needs_compiler
def test_a_module_runs_as_the_bundle_that_it_makes() -> None:
    subject = Subject(example("scanner"), "raise,decompose,share-maps,lower")
    after = run(subject, "bundle", settings("scanner"), packets("scanner", 60), None)
    before = original("scanner", 60)
    assert compare(before.results, after.results, before.maps, after.maps, ignore_maps=after.added_maps) is None


def test_a_bundle_needs_lowered_parts() -> None:
    module = import_object(Path(example("scanner")).read_bytes(), "scanner.o")
    run_pipeline(make_context(), module, "raise,decompose,share-maps")
    with pytest.raises(FailedAt, match="not lowered"):
        emit(module, EmitOptions("scanner.o"))


def test_a_module_that_is_not_placed_makes_no_bundle() -> None:
    module = import_object(Path(example("router")).read_bytes(), "router.o")
    with pytest.raises(FailedAt, match="decompose"):
        emit(module, EmitOptions("router.o"))


def test_damaged_bundles_are_refused(tmp_path: Path) -> None:
    whole = files("scanner", "xdp,af-xdp")
    with pytest.raises(BundleError, match="no manifest"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"xdp\.o is missing"):
        bundle_of({name: data for name, data in whole.items() if name != "xdp.o"})
    with pytest.raises(BundleError, match="damaged"):
        bundle_of(whole | {"manifest.json": b"{"})
    other = json.loads(whole["manifest.json"]) | {"format": 99}
    with pytest.raises(BundleError, match="format 99"):
        bundle_of(whole | {"manifest.json": json.dumps(other).encode()})
