"""Internet checksums: bpf_csum_diff and the checksum helpers of socket buffers.

All sums are over 16- or 32-bit words in memory order, as little-endian numbers, like the kernel's on x86.
"""

from fsir.interp.helper_base import M32, helper
from fsir.interp.machine import Machine
from fsir.interp.map_base import EFAULT, EINVAL

ENOTSUPP = 524
EACCES = 13
_MAX_DIFF = 512
_FOLDS_SINCE = (6, 13)

HDR_FIELD_MASK = 0xF
PSEUDO_HDR, MARK_MANGLED_0, MARK_ENFORCE, IPV6 = 1 << 4, 1 << 5, 1 << 6, 1 << 7


def csum_add(a: int, b: int) -> int:
    """Ones' complement sum of two 32-bit numbers."""
    total = a + b
    return (total & M32) + (total >> 32)


def csum_partial(data: bytes, seed: int) -> int:
    """Ones' complement sum of 32-bit words, the last padded with zeros. 0 only if everything is 0."""
    padded = data + bytes(-len(data) % 4)
    total = seed + sum(memoryview(padded).cast("I"))
    while total >> 32:
        total = (total & M32) + (total >> 32)
    return total


def from32to16(total: int) -> int:
    """Fold a 32-bit sum to 16 bits, without complement."""
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def csum_fold(total: int) -> int:
    """Fold and complement, to what stands in a header."""
    return ~from32to16(total) & 0xFFFF


@helper("csum_diff")
def csum_diff(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    from_size, to_size, seed = r2 & M32, r4 & M32, r5 & M32
    before = machine.memory.read_bytes(r1, from_size)
    after = machine.memory.read_bytes(r3, to_size)
    if machine.kernel < _FOLDS_SINCE:
        if (from_size | to_size) % 4 or from_size + to_size > _MAX_DIFF:
            return -EINVAL
        return csum_partial(bytes(byte ^ 0xFF for byte in before) + after, seed)
    total = seed
    if before and after:
        total = csum_add(csum_partial(after, seed), ~csum_partial(before, 0) & M32)
    elif after:
        total = csum_partial(after, seed)
    elif before:
        total = ~csum_partial(before, ~seed & M32) & M32
    return from32to16(total)


def _checksum_at(machine: Machine, offset: int) -> int | None:
    """The checksum field at `offset`, if a checksum can be there."""
    if offset > 0xFFFF or offset & 1:
        return None
    field = machine.packet.read(offset, 2)
    return int.from_bytes(field, "little") if field is not None else None


def _replace_by_diff(checksum: int, diff: int) -> int:
    return csum_fold(csum_add(diff, ~checksum & M32))


def _replace4(checksum: int, before: int, after: int) -> int:
    total = csum_add(~checksum & M32, ~before & M32)
    return csum_fold(csum_add(total, after & M32))


def _replace2(checksum: int, before: int, after: int) -> int:
    total = (~checksum & 0xFFFF) + (~before & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total += after & 0xFFFF
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


@helper("l3_csum_replace")
def l3_csum_replace(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    offset = r2 & M32
    if r5 & ~HDR_FIELD_MASK:
        return -EINVAL
    checksum = _checksum_at(machine, offset)
    if checksum is None:
        return -EFAULT
    size = r5 & HDR_FIELD_MASK
    if size == 0 and r3 == 0:
        checksum = _replace_by_diff(checksum, r4 & M32)
    elif size == 2:
        checksum = _replace2(checksum, r3, r4)
    elif size == 4:
        checksum = _replace4(checksum, r3, r4)
    else:
        return -EINVAL
    machine.packet.write(offset, checksum.to_bytes(2, "little"))
    return 0


@helper("l4_csum_replace")
def l4_csum_replace(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """As for a packet whose checksum nobody has verified or left to hardware (CHECKSUM_NONE)."""
    offset = r2 & M32
    if r5 & ~(HDR_FIELD_MASK | PSEUDO_HDR | MARK_MANGLED_0 | MARK_ENFORCE | IPV6):
        return -EINVAL
    checksum = _checksum_at(machine, offset)
    if checksum is None:
        return -EFAULT
    if r5 & MARK_MANGLED_0 and not r5 & MARK_ENFORCE and checksum == 0:
        return 0
    size = r5 & HDR_FIELD_MASK
    if size == 0 and r3 == 0:
        checksum = _replace_by_diff(checksum, r4 & M32)
    elif size == 2:
        checksum = _replace4(checksum, r3 & 0xFFFF, r4 & 0xFFFF)
    elif size == 4:
        checksum = _replace4(checksum, r3, r4)
    else:
        return -EINVAL
    if r5 & MARK_MANGLED_0 and checksum == 0:
        checksum = 0xFFFF
    machine.packet.write(offset, checksum.to_bytes(2, "little"))
    return 0


@helper("csum_update")
def csum_update(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return -ENOTSUPP


_LEVEL_QUERY, _LEVEL_INC, _LEVEL_DEC, _LEVEL_RESET = range(4)
_MAX_LEVEL = 3


@helper("csum_level")
def csum_level(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    skb = machine.skb
    level = skb.csum_level
    if r2 == _LEVEL_QUERY:
        return -EACCES if level is None else level
    if r2 == _LEVEL_INC:
        skb.csum_level = 0 if level is None else min(level + 1, _MAX_LEVEL)
    elif r2 == _LEVEL_DEC:
        skb.csum_level = None if not level else level - 1
    elif r2 == _LEVEL_RESET:
        skb.csum_level = None
    else:
        return -EINVAL
    return 0
