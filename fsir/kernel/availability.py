"""Can this process, on this machine, use the kernel's BPF at all?"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from fsir.kernel import syscalls
from fsir.kernel.errors import KernelError, KernelUnavailable
from fsir.kernel.libbpf import library
from fsir.kernel.uapi import MapType

CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF = 12, 21, 39
VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")


@cache
def unavailable() -> str | None:
    """Why programs cannot be loaded and run here, or None if they can."""
    status = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff")), 0)
    if not effective >> CAP_SYS_ADMIN & 1 and not (effective >> CAP_BPF & 1 and effective >> CAP_NET_ADMIN & 1):
        return "not root: loading programs into the kernel needs CAP_BPF and CAP_NET_ADMIN; run as root"
    try:
        library()
        os.close(syscalls.map_create(MapType.ARRAY, 4, 4, 1))
    except KernelUnavailable as missing:
        return missing.reason
    except KernelError as refused:
        return f"the kernel refuses bpf(2) here ({refused}); a container or lockdown may be the cause"
    if not VMLINUX_BTF.exists():
        return f"the kernel has no BTF ({VMLINUX_BTF} is missing); it needs CONFIG_DEBUG_INFO_BTF"
    return None


def require() -> None:
    """Raise `KernelUnavailable` unless programs can be loaded and run here."""
    reason = unavailable()
    if reason is not None:
        raise KernelUnavailable(reason)
