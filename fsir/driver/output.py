"""Writes results whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fsir.driver.errors import UsageError

STDOUT = "-"


def write_artifact(artifact: str | bytes | Mapping[str, bytes], output: str) -> None:
    """Write to the file or directory `output`, text and bytes also to stdout ("-").

    Raises `UsageError` for what cannot be written there, `OSError` (which names `output`) for what the system refuses.
    """
    try:
        _write(artifact, output)
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, "<stdout>" if output == STDOUT else output) from error


def check_place(output: str) -> None:
    """Raise `UsageError` for an output that surely cannot be written, before any work is done for it."""
    if not output:
        raise UsageError("the name of the output is empty; name a file, or - for stdout")
    if output != STDOUT:
        _require_parent(Path(os.path.realpath(output)))


def _write(artifact: str | bytes | Mapping[str, bytes], output: str) -> None:
    check_place(output)
    if isinstance(artifact, Mapping):
        if output == STDOUT:
            raise UsageError("this target writes a directory; name it with -o DIR")
        write_directory(Path(output), artifact)
    elif output == STDOUT:
        _write_stdout(artifact)
    else:
        write_file(Path(output), artifact)


def write_file(path: Path, data: str | bytes) -> None:
    """Replace `path` in one step; what was there stays if anything fails. Pipes and devices are written through."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        if path.is_dir():
            raise UsageError(f"{path} is a directory; -o takes a file for this target")
        with path.open("wb") as stream:
            stream.write(raw)
        return
    # Through a symbolic link, so that the link stays and its target is what gets replaced.
    path = Path(os.path.realpath(path))
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Make the directory `path` with `files` (relative path → contents), in one step.

    An earlier bundle (a directory with a manifest.json) or an empty directory is replaced; anything else that is
    there raises `UsageError`.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not _replaceable(path):
        raise UsageError(f"{path} exists and is no bundle; remove it or name another directory with -o")
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, data in files.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts:
                raise ValueError(f"a target names a file outside of its bundle: {name}")
            target = fresh / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        fresh.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            os.replace(path, old)
            os.replace(fresh, path)
            shutil.rmtree(old)
        else:
            os.replace(fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / "manifest.json").is_file() or not any(path.iterdir()))


def _require_parent(path: Path) -> None:
    if not path.parent.is_dir():
        if path.parent.exists():
            raise UsageError(f"cannot write {path}: {path.parent} is no directory; name another place")
        raise UsageError(f"cannot write {path}: the directory {path.parent} does not exist; make it first")


def _write_stdout(data: str | bytes) -> None:
    if isinstance(data, str):
        sys.stdout.write(data)
        sys.stdout.flush()
    elif sys.stdout.isatty():
        raise UsageError("this target is binary and stdout a terminal; name a file with -o")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
