"""The corpus checks on the objects that are here without collecting: the examples, and those installed with libxdp.

`make test-corpus` runs them on everything.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from corpus import (
    identity,
    interpretation,
    loaders,
    loading,
    packages,
    pipelines,
    raised,
    sources,
    states,
    traffic_seeds,
)
from corpus.collection import ROOT, Item, with_twins
from corpus.findings import FAIL, OK, PARTS, Findings
from corpus.pipelines import PipelineCheck
from corpus.running import Target, targets
from fsir.dialects.ebpf import MovRIOp, int_attr
from fsir.kernel.availability import unavailable
from fsir.object.elf import read_elf, write_elf
from fsir.object.importer import import_object

EXAMPLES = [Item(f"examples/{p.name}", p) for p in sorted(ROOT.glob("examples/*/*.o"))]
INSTALLED = [Item(p.name, p) for p in sorted(Path("/usr/lib").glob("*/bpf/*.o"))]
XDP_DROP, XDP_PASS = 1, 2
PIPELINES = ("raise-registers,allocate-registers,layout-blocks", "raise")

every_object = pytest.mark.parametrize("item", EXAMPLES + INSTALLED, ids=lambda item: item.name)


@pytest.fixture
def kernel() -> None:
    if reason := unavailable():
        (pytest.fail if os.environ.get("FRANKENSTACK_REQUIRE_KERNEL") == "1" else pytest.skip)(reason)


def expect(found: Findings) -> None:
    """Something was looked at, and all of it agrees."""
    assert [finding for finding in found.found if finding.status == FAIL] == []
    assert found.found


@every_object
def test_identity(item: Item) -> None:
    expect(identity.check(item))


@pytest.mark.usefixtures("kernel")
@pytest.mark.xdist_group("kernel")
class TestInTheKernel:
    @every_object
    def test_export_loads(self, item: Item) -> None:
        expect(loading.check(item))

    @pytest.mark.parametrize("item", EXAMPLES[:1] + INSTALLED[-1:], ids=lambda item: item.name)
    def test_stock_loaders(self, item: Item) -> None:
        expect(loaders.check(item))

    def test_a_refused_export_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loaders, "export_object", lambda module: b"no object")
        found = loaders.check(EXAMPLES[0]).found
        assert {finding.status for finding in found} == {FAIL}
        assert found[0].reason.startswith("bpftool loads the original, but not the export: ")

    @every_object
    def test_interpreter(self, item: Item) -> None:
        if any(set(target.types) & {"xdp", "sched_cls"} for target in programs(item)):
            expect(interpretation.check(item))

    @pytest.mark.parametrize("pipeline", PIPELINES)
    @pytest.mark.parametrize("item", EXAMPLES + INSTALLED[::3], ids=lambda item: item.name)
    def test_pipeline(self, item: Item, pipeline: str) -> None:
        expect(PipelineCheck(pipeline)(item))

    def test_differences_are_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pass that does harm: packets dropped that were passed."""

        def damage(ctx: Context, module: ModuleOp, pipeline: str) -> None:
            for op in module.walk():
                if isinstance(op, MovRIOp) and op.imm.data == XDP_PASS:
                    op.properties["imm"] = int_attr(XDP_DROP)

        monkeypatch.setattr(pipelines, "run_pipeline", damage)
        router = next(item for item in EXAMPLES if item.name == "examples/router.o")
        failed = [finding for finding in PipelineCheck("damage")(router).found if finding.status == FAIL]
        assert [finding.reason for finding in failed] == ["kernel: verdicts differ"]


@cache
def programs(item: Item) -> list[Target]:
    return targets(import_object(item.data, item.name))


def test_objects_inside_of_binaries(tmp_path: Path) -> None:
    data = EXAMPLES[0].data
    (tmp_path / "tool").write_bytes(b"\x7fELF\x02\x01 no object" + data + b"between" + data[:100] + b"\0" * 200 + data)
    (tmp_path / "x-el.elf").write_bytes(data)
    anywhere, by_name = packages.Package("any"), packages.Package("named", ("-el.elf",))
    assert [name for name, _ in packages.objects_in(by_name, tmp_path)] == ["x-el.elf"]
    found = dict(packages.objects_in(anywhere, tmp_path))
    assert list(found) == ["tool.0.o", "tool.1.o", "x-el.elf"]
    assert set(found.values()) == {data}


def test_objects_that_differ_in_debug_information_are_twins(tmp_path: Path) -> None:
    obj = read_elf(EXAMPLES[0].data, "x.o")
    same, other = tmp_path / "same.o", tmp_path / "other.o"
    obj.remove_section(obj.section_index(".BTF.ext") or 0)
    same.write_bytes(write_elf(obj))
    code = next(section for section in obj.sections if section.is_code and len(section))
    code.data = bytes(code.data)[:-8] + b"\0" * 8
    other.write_bytes(write_elf(obj))
    items = [*EXAMPLES, Item("same.o", same), Item("other.o", other)]
    assert [item.name for item in with_twins(items) if item.twin] == ["same.o"]


def test_random_maps_are_those_of_the_object() -> None:
    for item in EXAMPLES:
        module = import_object(item.data, item.name)
        filler = states.Filler(module, traffic_seeds.seeds(), [], cpus=2, seed=1)
        contents = filler.contents()
        assert contents.keys() <= {d.sym_name.data for d in states.declarations(module)}
        assert contents == states.Filler(module, traffic_seeds.seeds(), [], cpus=2, seed=1).contents()


def test_packets_are_repeatable_and_whole() -> None:
    frames = traffic_seeds.packets(200, seed=3)
    assert frames == traffic_seeds.packets(200, seed=3) != traffic_seeds.packets(200, seed=4)
    assert {14 <= len(frame) <= 1514 for frame in frames} == {True}


def test_missing_packages_are_told(tmp_path: Path) -> None:
    with pytest.raises(packages.Missing, match="no-such-package"):
        packages.download("no-such-package-of-anyone", tmp_path)


def test_sources_that_see_packets(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include "b.h"\n')
    (tmp_path / "b.h").write_text("int f(struct xdp_md *ctx);")
    (tmp_path / "c.c").write_text("int f(struct pt_regs *ctx);")
    assert sources.is_packet_source(tmp_path / "a.c")
    assert not sources.is_packet_source(tmp_path / "c.c")


@pytest.mark.parametrize("item", EXAMPLES, ids=lambda item: item.name)
def test_examples_are_raised_entirely(item: Item) -> None:
    found = raised.check(item)
    assert [finding.status for finding in found.found] == [OK]
    shares = [name for name in found.numbers if name.startswith(PARTS)]
    assert shares
    for name in shares:
        assert found.numbers[name] == found.numbers[name.removeprefix(PARTS)]
