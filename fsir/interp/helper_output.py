"""Helpers that print: to the machine's log, or into memory."""

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import EINVAL
from fsir.interp.printk import FormatError, render

_MAX_ARGS = 12
_BUFFER = 1024


@helper("trace_printk")
def trace_printk(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _print(machine, r1, r2 & M32, (r3, r4, r5))


@helper("trace_vprintk")
def trace_vprintk(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    args = _arguments(machine, r3, r4 & M32)
    return -EINVAL if args is None else _print(machine, r1, r2 & M32, args)


def _print(machine: Machine, text_addr: int, size: int, args: tuple[int, ...]) -> int:
    text, nul, _ = machine.memory.read_bytes(text_addr, size).partition(b"\0")
    if not nul:
        return -EINVAL
    try:
        line = render(machine.memory, text, args)
    except FormatError:
        return -EINVAL
    machine.log.append(line[: _BUFFER - 1].decode("utf-8", "replace"))
    return len(line)


def _arguments(machine: Machine, addr: int, size: int) -> tuple[int, ...] | None:
    if size % 8 or size > _MAX_ARGS * 8 or (size and not addr):
        return None
    return tuple(machine.memory.load64(addr + offset) for offset in range(0, size, 8))


@helper("snprintf")
def snprintf(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The length with the NUL that the whole text needs; what fits is written."""
    args = _arguments(machine, r4, r5 & M32)
    if args is None:
        return -EINVAL
    text = machine.memory.read_cstring(r3, 1 << 32)
    try:
        line = render(machine.memory, text, args)
    except FormatError:
        return -EINVAL
    size = r2 & M32
    if size:
        machine.memory.write_bytes(r1, line[: size - 1] + b"\0")
    return len(line) + 1
