"""`--crash-reproducer`: a file that holds what failed, so that it fails again elsewhere.

It is IR text (the input as it was before the first pass, in generic form, with locations), with the pipeline in
comments above it. `fs-opt --run-reproducer FILE` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsir.driver.errors import UsageError
from fsir.driver.output import write_file

_HEAD = "// fs-opt reproducer; run it with: fs-opt --run-reproducer FILE"
_PIPELINE = "// pipeline: "
_TARGET = "// target: "
_ERROR = "// error: "


@dataclass(frozen=True)
class Reproducer:
    """What to run on which IR text."""

    pipeline: str
    target: str
    ir: str

    def write(self, path: Path, error: str) -> None:
        """Write the file; `error` is what happened, for the reader."""
        said = "".join(f"{_ERROR}{line}\n" for line in error.splitlines())
        write_file(path, f"{_HEAD}\n{said}{_PIPELINE}{self.pipeline}\n{_TARGET}{self.target}\n{self.ir}")


def read_reproducer(text: str) -> tuple[str, str]:
    """The pipeline and target that the reproducer `text` names. Raises `UsageError` for other text."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        for key in (_PIPELINE, _TARGET):
            if line.startswith(key):
                found.setdefault(key, line[len(key) :])
    if len(found) != 2:
        raise UsageError("this file has no pipeline and target in its head; --crash-reproducer writes such files")
    return found[_PIPELINE], found[_TARGET]
