"""A bundle read back: from its directory, or as it would be written of a module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsir.bundle.manifest import FORMAT, NAME, schema
from fsir.bundle.schema import problem


class BundleError(Exception):
    """The directory is no bundle, or one that this version does not read; the message says what is wrong."""


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle, its manifest as plain data, and the directory that they are in, if any."""

    files: Mapping[str, bytes]
    manifest: dict[str, Any]
    directory: Path | None = None

    def part(self, level: str) -> dict[str, Any] | None:
        """The part at a level (`nic`, `kernel`, `user`), None where the bundle has none."""
        return next((part for part in self.manifest["parts"] if part["level"] == level), None)

    def shown(self, name: str) -> str:
        """The name of a file for messages."""
        return name if self.directory is None else str(self.directory / name)

    def artifact(self, part: Mapping[str, Any]) -> bytes:
        """The content of a part's artifact."""
        return self.files[part["artifact"]]


def read_bundle(directory: Path) -> Bundle:
    """The bundle in a directory. Raises BundleError."""
    file = directory / NAME
    if not file.is_file():
        raise BundleError(f"has no {NAME}: no bundle; make one with fs-opt -t bundle")
    files = {entry.name: entry.read_bytes() for entry in sorted(directory.iterdir()) if entry.is_file()}
    return bundle_of(files, directory)


def bundle_of(files: Mapping[str, bytes], directory: Path | None = None) -> Bundle:
    """The bundle that these files are. Raises BundleError."""
    try:
        manifest = json.loads(files[NAME])
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{NAME} is damaged ({error}); make the bundle again") from error
    if isinstance(manifest, dict) and (version := manifest.get("format")) != FORMAT:
        raise BundleError(f"{NAME} has format {version}; this version reads {FORMAT}: make the bundle again")
    if (found := problem(manifest, schema())) is not None:
        raise BundleError(f"{NAME} is damaged: {found}; make the bundle again")
    parts = manifest["parts"]
    wanted = [manifest["placement"], *(name for part in parts for name in (part["artifact"], *part["files"]))]
    missing = [name for name in dict.fromkeys(wanted) if name not in files]
    if missing:
        raise BundleError(f"{', '.join(missing)} is missing, which {NAME} names; make the bundle again")
    return Bundle(files, manifest, directory)
