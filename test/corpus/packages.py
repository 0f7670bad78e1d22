"""Debian packages: downloaded without root, unpacked, and searched for eBPF objects, also inside of binaries."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EM_BPF = 247
ELF_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian


class Missing(Exception):
    """Something that the corpus is made of cannot be had here; the message says what and why."""


@dataclass(frozen=True)
class Package:
    """A package with objects in it. `suffixes` are those of object files; without, all its files are searched."""

    name: str
    suffixes: tuple[str, ...] = ()


PACKAGES = (
    Package("libxdp1", (".o",)),
    Package("xdp-tests", (".o",)),
    Package("golang-github-cilium-ebpf-dev", ("-el.elf",)),
    Package("xdp-tools"),
    Package("libknot13"),
    Package("libbpf-tools"),
)


def download(package: str, into: Path) -> Path:
    """The .deb of a package in the folder `into`; fetched by apt-get when it is not there. Raises Missing."""
    into.mkdir(parents=True, exist_ok=True)
    if found := sorted(into.glob(f"{package}_*.deb")):
        return found[-1]
    if shutil.which("apt-get") is None:
        raise Missing(f"{package}: there is no apt-get; put {package}_*.deb into {into}")
    done = subprocess.run(["apt-get", "-q", "download", package], cwd=into, capture_output=True, text=True, check=False)
    if done.returncode or not (found := sorted(into.glob(f"{package}_*.deb"))):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Missing(
            f"{package}: apt-get download failed ({lines[-1] if lines else 'no message'}); try apt-get update"
        )
    return found[-1]


def unpack(deb: Path, into: Path) -> Path:
    """The files of a package below `into`, unpacked once."""
    if shutil.which("dpkg-deb") is None:
        raise Missing("there is no dpkg-deb; install dpkg")
    if not into.is_dir():
        partial = into.with_name(f"{into.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        subprocess.run(["dpkg-deb", "-x", deb, partial], check=True)
        partial.rename(into)
    return into


def objects_in(package: Package, root: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each eBPF object in an unpacked package."""
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        if package.suffixes and not path.name.endswith(package.suffixes):
            continue
        found = list(embedded_objects(path.read_bytes()))
        for number, data in enumerate(found):
            suffix = "" if path.suffix in (".o", ".elf") else f".{number}.o" if len(found) > 1 else ".o"
            yield path.name + suffix, data


def embedded_objects(data: bytes) -> Iterator[bytes]:
    """The ELF objects for eBPF inside of a file, which may be one itself."""
    at = data.find(ELF_MAGIC)
    while at >= 0:
        size = _object_size(data, at)
        if size:
            yield data[at : at + size]
        at = data.find(ELF_MAGIC, at + max(size, 1))


def _object_size(data: bytes, at: int) -> int:
    """The length of the eBPF object that begins at `at`: its section headers are last, or its last section is."""
    if at + 64 > len(data) or struct.unpack_from("<H", data, at + 18)[0] != EM_BPF:
        return 0
    (headers,) = struct.unpack_from("<Q", data, at + 40)
    entry_size, count = struct.unpack_from("<HH", data, at + 58)
    end = int(headers + entry_size * count)
    if entry_size != 64 or at + end > len(data):
        return 0
    for number in range(count):
        section = at + headers + number * entry_size
        (type_,) = struct.unpack_from("<I", data, section + 4)
        offset, size = struct.unpack_from("<QQ", data, section + 24)
        if type_ not in (0, 8):  # SHT_NULL, SHT_NOBITS
            end = max(end, offset + size)
    return end if at + end <= len(data) else 0
