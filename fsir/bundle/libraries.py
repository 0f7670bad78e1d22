"""Libraries of user space in a bundle: files that are copied into it, and flags for the linker.

`-t bundle{library=regex.c,"-lpcre2-8"}`; the part's entry in the manifest lists them as `libraries`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsir.bundle.read import Bundle
from fsir.driver.errors import UsageError
from fsir.driver.targets import EmitOptions


def libraries_of(options: EmitOptions) -> tuple[list[str], dict[str, bytes]]:
    """The words of the option `library` as the bundle's Makefile has them, and the files to copy."""
    words: list[str] = []
    files: dict[str, bytes] = {}
    for word in map(str, options.parameters.get("library", ())):
        if word.startswith("-"):
            words.append(word)
            continue
        path = Path(word)
        try:
            files[path.name] = path.read_bytes()
        except OSError as error:
            raise UsageError(f"library={word}: {error.strerror}") from error
        words.append(path.name)
    return words, files


@contextmanager
def linked(bundle: Bundle, part: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """What to link a part with: flags, and files as paths, within the block."""
    words = part.get("libraries", [])
    if bundle.directory is not None:
        yield [word if word.startswith("-") else str(bundle.directory / word) for word in words]
        return
    with TemporaryDirectory(prefix="fs-libraries-") as folder:
        for word in words:
            if not word.startswith("-"):
                (Path(folder) / word).write_bytes(bundle.files[word])
        yield [word if word.startswith("-") else str(Path(folder) / word) for word in words]
