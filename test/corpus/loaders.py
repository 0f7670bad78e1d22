"""Check `loaders`: what stock loaders load of the original, they load of the export."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from corpus.collection import Item
from corpus.findings import FAIL, OK, SKIP, Findings
from corpus.running import targets
from fsir.kernel.interfaces import Namespace, veth_pair
from fsir.object.exporter import export_object
from fsir.object.importer import import_object

DEVICE, PEER = "corpus0", "corpus1"
PINS = "/sys/fs/bpf"
SECONDS = 60
"""For the original; the export may take three times as long, since machines are busy."""
SYSTEM_PATH = "/usr/sbin:/sbin"
PRIVATE = f'mount -t bpf bpf {PINS} && mount -t tmpfs tmpfs /run && exec "$@"'
IN_PRIVATE = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PRIVATE, "sh"]
"""Runs a command with a BPF file system and a /run of its own: nothing stays pinned, and no lock of others is met."""


@dataclass(frozen=True)
class Loader:
    """A program that people load objects with.

    package    where it comes from
    types      the program types that it takes, one section at a time; none where it takes whole objects
    commands   what is to be run, with OBJ for the object and SEC for the section
    """

    name: str
    package: str
    types: tuple[str, ...]
    commands: tuple[str, ...]

    def filled(self, obj: Path, section: str) -> list[list[str]]:
        """The commands for an object and a section of it."""
        places = {"OBJ": str(obj), "SEC": section}
        return [[places.get(word, word) for word in command.split()] for command in self.commands]


LOADERS = (
    Loader("bpftool", "bpftool", (), (f"bpftool prog loadall OBJ {PINS}/corpus",)),
    Loader("ip", "iproute2", ("xdp",), (f"ip link set dev {DEVICE} xdp obj OBJ sec SEC",)),
    Loader(
        "tc",
        "iproute2",
        ("sched_cls", "sched_act"),
        (
            f"tc qdisc add dev {DEVICE} clsact",
            f"tc filter add dev {DEVICE} ingress bpf direct-action obj OBJ sec SEC",
        ),
    ),
    Loader("xdp-loader", "xdp-tools", ("xdp",), (f"xdp-loader load {DEVICE} OBJ -s SEC",)),
)


def check(item: Item) -> Findings:
    """Every loader on the original: on the whole object or section by section, as it takes them. Where it succeeds,
    the same on the export."""
    result = Findings()
    module = import_object(item.data, item.name)
    exported = export_object(module)
    programs = targets(module)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, kind, item.path.name) for kind in ("original", "export")]
        for path, data in zip(paths, (item.data, exported), strict=True):
            path.parent.mkdir()
            path.write_bytes(data)
        for loader in LOADERS:
            wanted = [t for t in programs if not loader.types or set(loader.types) & set(t.types)]
            sections = dict.fromkeys(t.section if loader.types else "" for t in wanted)
            for section in sections:
                _try_both(result, loader, f"{item.name} {section}".strip(), section, *paths)
    return result


def _try_both(result: Findings, loader: Loader, subject: str, section: str, original: Path, export: Path) -> None:
    refusal = attempt(loader, original, section, SECONDS)
    if refusal is not None:
        result.add(SKIP, subject, f"{loader.name} refuses the original: {refusal}")
        result.count(f"{loader.name}: refused originals")
        return
    refusal = attempt(loader, export, section, 3 * SECONDS)
    if refusal is None:
        result.add(OK, f"{subject} {loader.name}")
        result.count(f"{loader.name}: loaded, and so does the export")
    else:
        result.add(FAIL, subject, f"{loader.name} loads the original, but not the export: {refusal}")


def attempt(loader: Loader, obj: Path, section: str, seconds: int) -> str | None:
    """Load an object on an interface of its own; None, or why it is refused."""
    with Namespace() as near, Namespace() as far, near.entered():
        veth_pair(near, DEVICE, far, PEER)
        for command in loader.filled(obj, section):
            tool = shutil.which(command[0]) or shutil.which(command[0], path=SYSTEM_PATH)
            if tool is None:
                return f"there is no {command[0]}; install {loader.package}"
            full = [*IN_PRIVATE, tool, *command[1:]]
            try:
                done = subprocess.run(full, capture_output=True, check=False, timeout=seconds)
            except subprocess.TimeoutExpired:
                return f"{command[0]} took more than {seconds} s"
            if done.returncode:
                return _telling((done.stderr + done.stdout).decode(errors="replace"), str(obj.parent))
    return None


_NOISE = re.compile(
    r"processed \d|-- |BPF program load failed|failed to load|skipping|[Uu]nable to load|verification time|stack depth|"
    r"If it used to work|bpftool is now running|supported section\(type\) names|"
    r"[Ff]ailed to open object file|opening BPF object file failed|Couldn't open"
)
_TELLING = re.compile(r"libbpf|libxdp|error|couldn't|invalid|object|R\d", re.IGNORECASE)


def _telling(output: str, folder: str) -> str:
    """The line that says why, without names and numbers: the same for the same cause."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    useful = [line for line in lines if not _NOISE.search(line)] or lines or ["no message"]
    chosen = [line for line in useful if _TELLING.search(line)] or useful
    return re.sub(r"'[^']*'|0x[0-9a-f]+|\d+", "…", chosen[-1].replace(folder, ""))[:160]
