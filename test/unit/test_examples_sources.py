"""The examples' committed files are what their sources and the traffic generator give."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import dpkt  # type: ignore[import-untyped]
import pytest
import traffic
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMMITTED_BY = 14  # major version of the clang that made the committed objects
MISSING = [tool for tool in ("make", "clang", "llvm-strip") if shutil.which(tool) is None]
if not Path("/usr/include/bpf/bpf_helpers.h").exists():
    MISSING.append("bpf/bpf_helpers.h (libbpf-dev)")

each_example = pytest.mark.parametrize("name", traffic.NAMES)


def committed(name: str, suffix: str = ".o") -> Path:
    return EXAMPLES / name / f"{name}{suffix}"


def sections(path: Path) -> dict[str, bytes]:
    with path.open("rb") as file:
        return {section.name: section.data() for section in ELFFile(file).iter_sections()}


def loaded_sections(path: Path) -> set[str]:
    """Names of the sections that a loader reads, as far as no compiler version decides about them."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        allocated = {s.name for s in elf.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC}
        return allocated | {name for name in (".BTF", ".BTF.ext") if elf.get_section_by_name(name)}


def global_symbols(path: Path) -> set[tuple[str, str, str]]:
    """(section, kind, name) of every program, map and global variable."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        symtab = elf.get_section_by_name(".symtab")
        assert isinstance(symtab, SymbolTableSection)
        return {
            (elf.get_section(symbol["st_shndx"]).name, symbol["st_info"]["type"], symbol.name)
            for symbol in symtab.iter_symbols()
            if symbol["st_info"]["bind"] == "STB_GLOBAL"
        }


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all examples built from their sources."""
    if MISSING:
        pytest.skip(f"cannot rebuild the examples without {', '.join(MISSING)}")
    out = tmp_path_factory.mktemp("objects")
    subprocess.run(["make", "-s", "-C", EXAMPLES, f"OUT={out}"], check=True)
    return out


@each_example
def test_rebuilding_gives_the_same_sections_and_names(name: str, rebuilt: Path) -> None:
    again = rebuilt / name / f"{name}.o"
    assert loaded_sections(again) == loaded_sections(committed(name))
    assert global_symbols(again) == global_symbols(committed(name))


@each_example
def test_rebuilding_with_the_same_compiler_gives_the_same_code(name: str, rebuilt: Path) -> None:
    version = subprocess.run(["clang", "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)", version)
    if found is None or int(found[1]) != COMMITTED_BY:
        pytest.skip(f"the committed objects are of clang {COMMITTED_BY}, here is {version.splitlines()[0]}")
    again, before = sections(rebuilt / name / f"{name}.o"), sections(committed(name))
    for section in loaded_sections(committed(name)) - {".BTF", ".BTF.ext"}:
        assert again[section] == before[section], section


@each_example
def test_objects_have_btf_and_neither_dwarf_nor_paths_of_a_build(name: str) -> None:
    held = sections(committed(name))
    assert {".BTF", ".BTF.ext", ".maps", "tc" if name.startswith("tc-") else "xdp", "license"} <= held.keys()
    assert not [section for section in held if section.startswith(".debug")]
    assert set(re.findall(rb"[\w./-]*/[\w./-]+\.[ch]\b", held[".BTF"])) == {f"./{name}/{name}.c".encode()}


def test_examples_use_the_features_that_they_are_there_for() -> None:
    assert ".rodata" in sections(committed("firewall"))
    maglev = sections(committed("maglev"))
    assert maglev[".text"] and {".rodata", ".data", ".bss"} <= maglev.keys()


@each_example
def test_committed_inputs_are_what_the_generator_writes(name: str) -> None:
    assert committed(name, ".pcap").read_bytes() == traffic.pcap(name)
    assert json.loads((EXAMPLES / name / "maps.json").read_text()) == traffic.maps(name)


@each_example
def test_captures_are_small_and_readable(name: str) -> None:
    path = committed(name, ".pcap")
    assert path.stat().st_size < 20_000
    with path.open("rb") as file:
        packets = list(dpkt.pcap.Reader(file))
    assert [data for _, data in packets] == traffic.generate(name, 60, seed=traffic.PCAP_SEED)


@each_example
def test_maps_json_names_maps_of_the_object(name: str) -> None:
    maps = {symbol for section, _, symbol in global_symbols(committed(name)) if section == ".maps"}
    assert set(traffic.maps(name)) <= maps


@each_example
def test_traffic_is_deterministic(name: str) -> None:
    frames = traffic.generate(name, 2500, seed=1)
    assert frames == traffic.generate(name, 2500, seed=1)
    assert frames != traffic.generate(name, 2500, seed=2)
    assert len(frames) == 2500


@each_example
def test_traffic_is_of_all_sizes_that_a_wire_carries(name: str) -> None:
    sizes = {len(frame) for frame in traffic.generate(name, 2000, seed=1)}
    assert min(sizes) == 14
    assert 1400 <= max(sizes) <= 1514
    assert set(range(14, 40)) <= sizes


def test_fuzzing_is_deterministic_and_varied() -> None:
    seeds = traffic.generate("router", 50, seed=1)
    frames = traffic.fuzz_packets(seeds, 3000, seed=1)
    assert frames == traffic.fuzz_packets(seeds, 3000, seed=1)
    assert frames != traffic.fuzz_packets(seeds, 3000, seed=2)
    assert len(frames) == 3000
    assert min(map(len, frames)) == 14
    assert max(map(len, frames)) <= 1514
    unchanged = sum(frame in set(seeds) for frame in frames)
    assert 0 < unchanged < 1500


@pytest.mark.parametrize("seeds", [[], [bytes(13)], [bytes(60), b""]])
def test_fuzzing_refuses_frames_that_the_kernel_would_refuse(seeds: list[bytes]) -> None:
    with pytest.raises(ValueError, match="at least 14 bytes"):
        traffic.fuzz_packets(seeds, 1, seed=1)
