"""Which engines there are, without importing them."""

from __future__ import annotations

ENGINES: dict[str, str] = {
    "interp": "fsir.run.interp:InterpEngine",
    "placed": "fsir.run.interp:PlacedEngine",
    "kernel": "fsir.run.kernel:KernelEngine",
    "bundle": "fsir.run.bundle:BundleEngine",
    "live": "fsir.run.live:LiveEngine",
}
"""Name → `module:class`; the class is called with (Subject, Settings) and is an `engines.Engine`."""

IN_KERNEL = frozenset({"kernel", "live"})
"""Engines that see the CPUs of this machine."""

REAL_INTERFACE = frozenset({"live"})
"""Engines whose program is on an interface, which can have any number but the loopback's, 1."""

DIRECTORY_ENGINE = "bundle"
"""What runs a directory when no engine is named."""
