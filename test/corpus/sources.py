"""The kernel's own eBPF programs (samples and selftests of a Debian kernel source), compiled in many ways."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus.packages import Missing, download, unpack

PACKAGE = "linux-source-6.1"
SAMPLES = f"{PACKAGE}/samples/bpf"
SELFTESTS = f"{PACKAGE}/tools/testing/selftests/bpf"
KERNEL_TREE = Path(__file__).parent / "kernel_tree"
"""The few things of the kernel's own headers that packet programs in samples/bpf need."""
MEMBERS = (SAMPLES, SELFTESTS, f"{PACKAGE}/tools/include")
VMLINUX = Path("/sys/kernel/btf/vmlinux")

CLANG_19 = ("clang-19", "libclang-cpp19", "libllvm19", "libclang-common-19-dev")
"""Enough packages to run that compiler out of a folder."""

_PACKET = re.compile(r"\b(xdp_md|__sk_buff)\b")


@dataclass(frozen=True)
class Variant:
    """A way to compile."""

    compiler: str
    cpu: str
    level: str
    debug: bool

    @property
    def name(self) -> str:
        return f"{self.compiler}{self.level}-{self.cpu}{'-g' if self.debug else ''}"


@dataclass(frozen=True)
class Job:
    """One source in one variant, and where its object goes."""

    source: Path
    variant: Variant
    output: Path

    @property
    def failure(self) -> Path:
        """Where the compiler's first error is kept, so that nothing is tried twice."""
        return self.output.with_suffix(".failed")


class Toolchain:
    """The sources, headers and compilers, made ready below the folder `cache`. Raises Missing."""

    def __init__(self, cache: Path, clang_19: bool = False) -> None:
        self.cache = cache
        self.root = _unpack_sources(cache)
        self.shims = _headers(cache)
        self.compilers: dict[str, tuple[list[str], dict[str, str]]] = {}
        clang = shutil.which("clang-14") or shutil.which("clang")
        if clang is None:
            raise Missing("there is no clang; install clang-14")
        self.compilers["clang14"] = [clang], {}
        if clang_19:
            self.compilers["clang19"] = _portable_clang(cache)

    def jobs(self) -> Iterator[Job]:
        """Packet programs in every variant, the others in one per compiler."""
        for source in self.sources():
            for variant in self.variants(is_packet_source(source)):
                folder = "samples" if "/samples/" in str(source) else "selftests"
                yield Job(source, variant, self.cache / "obj" / folder / variant.name / f"{source.stem}.o")

    def sources(self) -> list[Path]:
        samples = self.root / SAMPLES
        kernels = {*samples.glob("*_kern.c"), *samples.glob("*.bpf.c"), *samples.glob("parse_*.c")}
        return sorted(kernels) + sorted((self.root / SELFTESTS / "progs").glob("*.c"))

    def variants(self, all_of_them: bool) -> Iterator[Variant]:
        for compiler in self.compilers:
            cpus = ["v1", "v2", "v3"] + (["v4"] if compiler == "clang19" else [])
            if not all_of_them:
                yield Variant(compiler, cpus[-1], "-O2", True)
                continue
            for cpu in cpus:
                for level in ("-O1", "-O2", "-Os"):
                    for debug in (True, False):
                        yield Variant(compiler, cpu, level, debug)

    def compile(self, job: Job) -> str | None:
        """Make the object unless it is there; the compiler's first error where it cannot."""
        if job.output.exists():
            return None
        if job.failure.exists():
            return job.failure.read_text()
        job.output.parent.mkdir(parents=True, exist_ok=True)
        partial = job.output.with_suffix(".partial")
        error = self._clang(job.source, job.variant, partial)
        if error is None and (library := _library_of(job.source)) is not None:
            error = self._link(partial, library, job.variant)
        if error is None:
            partial.rename(job.output)
        else:
            job.failure.write_text(error)
        return error

    def _clang(self, source: Path, variant: Variant, output: Path) -> str | None:
        command, environment = self.compilers[variant.compiler]
        flags = ["-target", "bpf", f"-mcpu={variant.cpu}", variant.level, *(["-g"] if variant.debug else [])]
        flags += [*self.includes(source), "-w", "-Werror=implicit-function-declaration"]
        return _run([*command, *flags, "-c", str(source), "-o", str(output)], environment, source.parent)

    def _link(self, partial: Path, library: Path, variant: Variant) -> str | None:
        """Link an object with another, in place, by `bpftool gen object`."""
        first, other, linked = (partial.with_suffix(f".{part}") for part in ("first", "library", "linked"))
        partial.rename(first)
        error = self._clang(library, variant, other)
        if error is None:
            error = _run([_bpftool() or "bpftool", "gen", "object", str(linked), str(first), str(other)], {}, None)
        if error is None:
            linked.rename(partial)
        for rest in (first, other, linked):
            rest.unlink(missing_ok=True)
        return error

    def includes(self, source: Path) -> list[str]:
        """Where the source finds its headers, and what it expects to be defined."""
        folders = [source.parent, self.root / SELFTESTS]
        flags = ["-D__TARGET_ARCH_x86", "-D__BPF_TRACING__", "-DENABLE_ATOMICS_TESTS"]
        if self.root / SAMPLES in source.parents:
            folders.insert(0, KERNEL_TREE)
            if not source.name.endswith(".bpf.c"):  # these include vmlinux.h
                flags += ["-include", str(KERNEL_TREE / "prelude.h")]
        multiarch = sysconfig.get_config_var("MULTIARCH")
        system = [Path("/usr/include") / multiarch] if multiarch else []
        return [*flags, *(f"-I{folder}" for folder in (self.shims, *folders, *system))]


def _run(command: list[str], environment: dict[str, str], folder: Path | None) -> str | None:
    """Run a tool; its first error where it fails."""
    done = subprocess.run(command, env=environment or None, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.splitlines() or ["no message"]
    return next((line for line in lines if "error:" in line), lines[0])


def _library_of(source: Path) -> Path | None:
    """The source that this one is linked with: as the samples do it, `NAME.bpf.c` of an included `NAME.bpf.h`."""
    for name in re.findall(r'#include "([^"]+\.bpf)\.h"', source.read_text(errors="replace")):
        library = source.parent / f"{name}.c"
        if library.is_file() and library != source:
            return library
    return None


def is_packet_source(source: Path) -> bool:
    """Whether a source, or a C file that it includes, has programs that see packets."""
    text = source.read_text(errors="replace")
    included = (source.parent / name for name in re.findall(r'#include "([^"]+\.[ch])"', text))
    texts = (text, *(path.read_text(errors="replace") for path in included if path.is_file()))
    return any(_PACKET.search(text) for text in texts)


def _unpack_sources(cache: Path) -> Path:
    root = cache / "src"
    if not (root / SELFTESTS).is_dir():
        deb = download(PACKAGE, cache / "deb")
        root.mkdir(parents=True, exist_ok=True)
        tarball = f"./usr/src/{PACKAGE}.tar.xz"
        pipeline = f'dpkg-deb --fsys-tarfile "$1" | tar -xO {tarball} | tar -xJ -C "$2" {" ".join(MEMBERS)}'
        done = subprocess.run(["sh", "-c", pipeline, "sh", deb, root], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"{deb.name} cannot be unpacked: {done.stderr.strip()}")
    return root


def _headers(cache: Path) -> Path:
    """The headers that these sources expect in a kernel tree: `uapi/` and the running kernel's `vmlinux.h`."""
    shims = cache / "include"
    shims.mkdir(parents=True, exist_ok=True)
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for name, target in (("linux", Path("/usr/include/linux")), ("asm", Path("/usr/include") / multiarch / "asm")):
        link = shims / "uapi" / name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
    header = shims / "vmlinux.h"
    if not header.exists() and VMLINUX.exists() and (tool := _bpftool()):
        done = subprocess.run(
            [tool, "btf", "dump", "file", VMLINUX, "format", "c"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            header.write_text(done.stdout)
    if not header.exists():
        raise Missing("vmlinux.h cannot be made: it needs bpftool and a kernel with BTF")
    return shims


def _bpftool() -> str | None:
    return shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")


def _portable_clang(cache: Path) -> tuple[list[str], dict[str, str]]:
    """clang-19 out of its packages, without installing it."""
    if installed := shutil.which("clang-19"):
        return [installed], {}
    root = cache / "clang-19"
    if not root.is_dir():
        parts = [unpack(download(name, cache / "deb"), cache / "pkg" / name) for name in CLANG_19]
        partial = root.with_name("clang-19.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for part in parts:
            shutil.copytree(part, partial, symlinks=True, dirs_exist_ok=True)
        partial.rename(root)
    libraries = [str(p) for p in (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("usr/lib/llvm-19/lib"))]
    return [str(root / "usr/lib/llvm-19/bin/clang")], {"LD_LIBRARY_PATH": ":".join(libraries), "PATH": "/usr/bin:/bin"}
