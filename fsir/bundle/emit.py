"""The target `bundle`: a directory with every part's artifact, `placement.mlir` and `manifest.json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from fsir.bundle.libraries import libraries_of
from fsir.bundle.manifest import NAME, PLACEMENT, manifest, to_json
from fsir.dialects.ebpf import functions
from fsir.dialects.placement import PartOp
from fsir.driver.diagnostics import fail
from fsir.driver.targets import EmitOptions
from fsir.placement.lowering import lowered_of, object_name, parts_of, without_lowered
from fsir.placement.targets import load

Files = dict[str, bytes]
Emitted = tuple[Files, dict[str, Any]]
"""The files of a part, the artifact first, and what its backend adds to the manifest."""


def emit(module: ModuleOp, options: EmitOptions) -> Files:
    """The files of the bundle of a placed and lowered module. Fails where something is missing."""
    from fsir.driver.emitters import print_module

    parts = parts_of(module)
    if not parts:
        fail(module, "nothing is placed; a bundle needs the passes decompose, share-maps and lower")
    placed = without_lowered(module)
    files: Files = {}
    artifacts: dict[str, list[str]] = {}
    extra: dict[str, dict[str, Any]] = {}
    for part in parts:
        name = part.sym_name.data
        written, extra[name] = _EMITTERS[load(part.target.data).kind](module, placed, part, options)
        artifacts[name] = list(written)
        files |= written
    described = manifest(placed, artifacts, extra)
    return {NAME: to_json(described), **files, PLACEMENT: print_module(placed).encode()}


def _xdp(module: ModuleOp, placed: ModuleOp, part: PartOp, options: EmitOptions) -> Emitted:
    from fsir.object.exporter import export_object

    lowered = lowered_of(module, part)
    if lowered is None:
        fail(part, f"part {part.sym_name.data} is not lowered; run the pass lower before -t bundle")
    kept = {func.symbol: func.keep.data for func in functions(lowered) if func.keep is not None}
    return {object_name(part.sym_name.data): export_object(lowered)}, {"fallback": kept} if kept else {}


def _af_xdp(module: ModuleOp, placed: ModuleOp, part: PartOp, options: EmitOptions) -> Emitted:
    from fsir.backends.af_xdp.emit import emit as emit_c

    words, copied = libraries_of(options)
    own = EmitOptions(options.input_name, {"part": (part.sym_name.data,), "library": tuple(words)})
    return emit_c(placed, own) | copied, {"libraries": words} if words else {}


def _p4(module: ModuleOp, placed: ModuleOp, part: PartOp, options: EmitOptions) -> Emitted:
    from fsir.backends.p4.emit import control_plane
    from fsir.backends.p4.emit import emit as emit_p4

    text = emit_p4(placed, EmitOptions(options.input_name))
    return {f"{part.sym_name.data}.p4": text.encode()}, {"control_plane": control_plane(placed)}


_EMITTERS: dict[str, Callable[[ModuleOp, ModuleOp, PartOp, EmitOptions], Emitted]] = {
    "xdp": _xdp,
    "af-xdp": _af_xdp,
    "p4": _p4,
}
