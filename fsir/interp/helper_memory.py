"""Helpers on memory and strings."""

from fsir.interp.helper_base import M32, M64, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import EFAULT, EINVAL, ERANGE
from fsir.interp.memory import MemoryFault


def _probe_read(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """An unreadable source is -EFAULT, and the destination is zeroed."""
    size = r2 & M32
    try:
        content = machine.memory.read_bytes(r3, size)
    except MemoryFault:
        machine.memory.write_bytes(r1, bytes(size))
        return -EFAULT
    machine.memory.write_bytes(r1, content)
    return 0


def _probe_read_str(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The length with the NUL, of the string or of what of it fits the destination."""
    size = r2 & M32
    if size == 0:
        return 0
    content = bytearray()
    try:
        while len(content) < size - 1 and (byte := machine.memory.load8(r3 + len(content) & M64)):
            content.append(byte)
    except MemoryFault:
        machine.memory.write_bytes(r1, bytes(size))
        return -EFAULT
    machine.memory.write_bytes(r1, bytes(content) + b"\0")
    return len(content) + 1


for _name in ("probe_read", "probe_read_kernel"):
    helper(_name)(_probe_read)
    helper(f"{_name}_str")(_probe_read_str)


def _no_user_memory(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    machine.memory.write_bytes(r1, bytes(r2 & M32))
    return -EFAULT


for _name in ("probe_read_user", "probe_read_user_str", "copy_from_user", "copy_from_user_task"):
    helper(_name)(_no_user_memory)


@helper("strncmp")
def strncmp(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    for index in range(r2 & M32):
        a, b = machine.memory.load8(r1 + index), machine.memory.load8(r3 + index)
        if a != b:
            return -1 if a < b else 1
        if not a:
            break
    return 0


_BASE_MASK = 0x1F
_SPACES = b" \t\n\v\f\r\xa0"


def _parse(text: bytes, flags: int) -> tuple[int, int]:
    """(characters consumed or error, value), the sign applied."""
    base = flags & _BASE_MASK
    if not text or base not in (0, 8, 10, 16) or flags & ~_BASE_MASK:
        return -EINVAL, 0
    rest = text.lstrip(_SPACES)
    negative = rest.startswith(b"-")
    rest = rest[1:] if negative else rest
    consumed = len(text) - len(rest)
    if not rest:
        return -EINVAL, 0
    rest = rest[:63].split(b"\0", 1)[0].lower()
    if base == 0:
        base = 8 if rest.startswith(b"0") else 10
        if rest.startswith(b"0x") and rest[2:3] and rest[2:3] in b"0123456789abcdef":
            base = 16
    if base == 16 and rest.startswith(b"0x"):
        rest = rest[2:]
        consumed += 2
    digits = 0
    while digits < len(rest) and rest[digits : digits + 1] in _DIGITS[base]:
        digits += 1
    if not digits:
        return -EINVAL, 0
    value = int(rest[:digits], base)
    if value > M64:
        return -ERANGE, 0
    return consumed + digits, -value if negative else value


_DIGITS = {base: [b"0123456789abcdef"[i : i + 1] for i in range(base)] for base in (8, 10, 16)}


@helper("strtol")
def strtol(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    machine.memory.store64(r4, 0)
    consumed, value = _parse(machine.memory.read_bytes(r1, r2), r3)
    if consumed < 0:
        return consumed
    if not -(1 << 63) <= value < 1 << 63:
        return -ERANGE
    machine.memory.store64(r4, value & M64)
    return consumed


@helper("strtoul")
def strtoul(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    machine.memory.store64(r4, 0)
    text = machine.memory.read_bytes(r1, r2)
    consumed, value = _parse(text, r3)
    if consumed < 0:
        return consumed
    if text.lstrip(_SPACES).startswith(b"-"):
        return -EINVAL
    machine.memory.store64(r4, value)
    return consumed
