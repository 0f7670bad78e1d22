"""The target `svg`."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from fsir.driver.targets import EmitOptions
from fsir.picture.scene import scene
from fsir.picture.svg import render


def emit(module: ModuleOp, options: EmitOptions) -> str:
    """The picture of a module, placed or not, as SVG."""
    return render(scene(module, options.input_name.rsplit("/", 1)[-1]))
