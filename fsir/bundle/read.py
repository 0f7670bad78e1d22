"""A bundle read back: from its directory, or as it would be written of a module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsir.bundle.manifest import FORMAT, NAME


class BundleError(Exception):
    """The directory is no bundle, or one that this version does not read; the message says what is wrong."""


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle, and its manifest as plain data."""

    files: Mapping[str, bytes]
    manifest: dict[str, Any]

    def part(self, level: str) -> dict[str, Any] | None:
        """The part at a level (`nic`, `kernel`, `user`), None where the bundle has none."""
        return next((part for part in self.manifest["parts"] if part["level"] == level), None)

    def artifact(self, part: Mapping[str, Any]) -> bytes:
        """The content of a part's artifact."""
        return self.files[part["artifact"]]


def read_bundle(directory: Path) -> Bundle:
    """The bundle in a directory. Raises BundleError."""
    file = directory / NAME
    if not file.is_file():
        raise BundleError(f"has no {NAME}: no bundle; make one with fs-opt -t bundle")
    files = {entry.name: entry.read_bytes() for entry in sorted(directory.iterdir()) if entry.is_file()}
    return bundle_of(files)


def bundle_of(files: Mapping[str, bytes]) -> Bundle:
    """The bundle that these files are. Raises BundleError."""
    try:
        manifest = json.loads(files[NAME])
        version = manifest["format"]
        wanted = [manifest["placement"], *(name for part in manifest["parts"] for name in part["files"])]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{NAME} is damaged ({error}); make the bundle again") from error
    if version != FORMAT:
        raise BundleError(f"{NAME} has format {version}; this version reads {FORMAT}: make the bundle again")
    missing = [name for name in wanted if name not in files]
    if missing:
        raise BundleError(f"{', '.join(missing)} is missing, which {NAME} names; make the bundle again")
    return Bundle(files, manifest)
