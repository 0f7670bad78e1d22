"""What a CO-RE relocation stands for, against the types of a kernel: libbpf's rules (its relo_core.c).

`value_of(local, kernel, type_id, access, kind)` gives what the loader would put into the instruction, and None where it
would make the instruction unusable because the kernel has no such field, type or enumerator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from fsir.interp.kernel_types import FLAVOR, KernelTypes
from fsir.object.btf import Btf, Kind, Member
from fsir.object.errors import ObjectError


class Relocation(IntEnum):
    """enum bpf_core_relo_kind (uapi linux/bpf.h)."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT = 4
    FIELD_RSHIFT = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


_OF_TYPES = (Relocation.TYPE_ID_TARGET, Relocation.TYPE_EXISTS, Relocation.TYPE_SIZE, Relocation.TYPE_MATCHES)
_OF_ENUMS = (Relocation.ENUMVAL_EXISTS, Relocation.ENUMVAL_VALUE)
_EXISTENCE = (Relocation.FIELD_EXISTS, Relocation.TYPE_EXISTS, Relocation.TYPE_MATCHES, Relocation.ENUMVAL_EXISTS)
_COMPOSITE, _ENUMS = (Kind.STRUCT, Kind.UNION), (Kind.ENUM, Kind.ENUM64)


class Value(NamedTuple):
    """What to put into the instruction; `size` is that of the field, where it is one that can be accessed at once, and
    `resizable` says that an access of another size reads the same number (pointers, unsigned integers)."""

    number: int
    size: int = 0
    resizable: bool = False


class Step(NamedTuple):
    """A member (by name) or an array element (`name` None) on the way to a field."""

    type_id: int
    position: int
    name: str | None = None


@dataclass
class Path:
    """The way to a field in one BTF, and how many bits in it lies."""

    btf: Btf
    steps: list[Step] = field(default_factory=list)
    bits: int = 0


def value_of(local: Btf, kernel: KernelTypes, type_id: int, access: str, kind: int) -> Value | None:
    """See above. ObjectError where the relocation is malformed, or means different things of several types."""
    relocation, indices = _parsed(local, type_id, access, kind)
    if relocation is Relocation.TYPE_ID_LOCAL:
        return Value(type_id)
    name = essential(local.name(type_id))
    if not name:
        raise local.error(f"a CO-RE relocation is about type {type_id}, which has no name")
    found: set[Value] = set()
    for candidate in kernel.named(name):
        if not _same_kind(local.kind(type_id), kernel.kind(candidate)):
            continue
        value = _value(local, kernel, type_id, indices, relocation, candidate)
        if value is not None:
            found.add(value)
    if len(found) > 1:
        raise local.error(f"a CO-RE relocation about '{name}' ({access}) has several answers in {kernel.file}")
    if found:
        return found.pop()
    return Value(0) if relocation in _EXISTENCE else None


def local_value(local: Btf, type_id: int, access: str, kind: int) -> Value | None:
    """The answer of the program's own types: what the compiler put into the instruction."""
    relocation, indices = _parsed(local, type_id, access, kind)
    if relocation is Relocation.TYPE_ID_LOCAL:
        return Value(type_id)
    return _value(local, local, type_id, indices, relocation, type_id)


def _parsed(local: Btf, type_id: int, access: str, kind: int) -> tuple[Relocation, list[int]]:
    parts = access.split(":")
    good = 0 < type_id < len(local.types) and kind in list(Relocation) and all(part.isdecimal() for part in parts)
    if not good:
        raise local.error(
            f"a CO-RE relocation (type {type_id}, '{access}', kind {kind}) makes no sense; rebuild the object"
        )
    return Relocation(kind), [int(part) for part in parts]


def essential(name: str) -> str:
    """A type's name without its flavor."""
    at = name.rfind(FLAVOR, 1)
    return name[:at] if at > 0 and at + len(FLAVOR) < len(name) else name


def _same_kind(a: Kind, b: Kind) -> bool:
    return a == b or (a in _ENUMS and b in _ENUMS)


def _value(
    local: Btf, kernel: Btf, type_id: int, indices: list[int], relocation: Relocation, candidate: int
) -> Value | None:
    """The answer of one candidate, None when it does not fit."""
    if relocation in _OF_TYPES:
        if not _types_fit(local, type_id, kernel, candidate):
            return None
        if relocation is Relocation.TYPE_SIZE:
            return Value(kernel.sizeof(candidate))
        return Value(candidate if relocation is Relocation.TYPE_ID_TARGET else 1)
    if relocation in _OF_ENUMS:
        names = enumerators(local, type_id)
        if indices[0] >= len(names):
            raise local.error(f"a CO-RE relocation takes enumerator {indices[0]} of type {type_id}, which has none")
        name = essential(names[indices[0]][0])
        by_essential = {essential(key): value for key, value in enumerators(kernel, candidate)}
        if name not in by_essential:
            return None
        return Value(1 if relocation is Relocation.ENUMVAL_EXISTS else by_essential[name])
    path = _matching(local, _path(local, type_id, indices), kernel, candidate)
    return None if path is None else _of_field(path, relocation)


def enumerators(btf: Btf, type_id: int) -> list[tuple[str, int]]:
    """Names and values of an enumeration."""
    t = btf.types[btf.resolve(type_id)]
    if t.kind is Kind.ENUM:
        return [(btf.string(name), value if t.kind_flag else value & 0xFFFFFFFF) for name, value in t.tail]
    if t.kind is Kind.ENUM64:
        return [(btf.string(name), low | high << 32) for name, low, high in t.tail]
    raise btf.error(f"type {type_id} is no enumeration, but a CO-RE relocation takes it for one")


# Fields


def _path(btf: Btf, type_id: int, indices: list[int]) -> Path:
    """The way that the indices of an access string go."""
    at = btf.resolve(type_id)
    path = Path(btf, [Step(at, indices[0])], indices[0] * btf.sizeof(at) * 8)
    for index in indices[1:]:
        at = btf.resolve(at)
        if btf.kind(at) in _COMPOSITE:
            members = btf.members(at)
            if index >= len(members):
                raise btf.error(f"a CO-RE relocation takes member {index} of type {type_id}, which has none")
            member = members[index]
            path.bits += member.bit_offset
            if member.name:
                path.steps.append(Step(at, index, member.name))
            at = member.type_id
        else:
            at = btf.resolve(btf.array(at)[0])
            path.steps.append(Step(at, index))
            path.bits += index * btf.sizeof(at) * 8
    return path


def _matching(local: Btf, wanted: Path, kernel: Btf, candidate: int) -> Path | None:
    """The same way in another type: members by name, wherever they are."""
    at = kernel.resolve(candidate)
    path = Path(kernel)
    for number, step in enumerate(wanted.steps):
        if step.name is not None:
            found = _member(local, step, path, at)
            if found is None:
                return None
            at = found
            continue
        if number:
            at = kernel.resolve(at)
            if kernel.kind(at) is not Kind.ARRAY:
                return None
            element, count = kernel.array(at)
            if count and step.position >= count:
                return None
            at = element
        at = kernel.resolve(at)
        path.steps.append(Step(at, step.position))
        path.bits += step.position * kernel.sizeof(at) * 8
    return path


def _member(local: Btf, step: Step, path: Path, type_id: int) -> int | None:
    """Go to the member of that name, in anonymous members too; its type, None if there is none that fits."""
    btf = path.btf
    type_id = btf.resolve(type_id)
    if btf.kind(type_id) not in _COMPOSITE:
        return None
    for index, member in enumerate(btf.members(type_id)):
        if not member.name:
            path.bits += member.bit_offset
            if (found := _member(local, step, path, member.type_id)) is not None:
                return found
            path.bits -= member.bit_offset
        elif member.name == step.name:
            if not _fields_fit(local, local.members(step.type_id)[step.position].type_id, btf, member.type_id):
                return None
            path.bits += member.bit_offset
            path.steps.append(Step(type_id, index, member.name))
            return member.type_id
    return None


def _fields_fit(local: Btf, a: int, kernel: Btf, b: int) -> bool:
    a, b = local.resolve(a), kernel.resolve(b)
    kinds = local.kind(a), kernel.kind(b)
    if kinds[0] in _COMPOSITE and kinds[1] in _COMPOSITE:
        return True
    if not _same_kind(*kinds):
        return False
    if kinds[0] is Kind.ARRAY:
        return _fields_fit(local, local.array(a)[0], kernel, kernel.array(b)[0])
    if kinds[0] in (Kind.FWD, *_ENUMS):
        names = essential(local.name(a)), essential(kernel.name(b))
        return not all(names) or names[0] == names[1]
    return kinds[0] in (Kind.PTR, Kind.FLOAT, Kind.INT)


def _of_field(path: Path, relocation: Relocation) -> Value | None:
    if relocation is Relocation.FIELD_EXISTS:
        return Value(1)
    btf, last = path.btf, path.steps[-1]
    if last.name is None:
        size = btf.sizeof(last.type_id)
        numbers = {Relocation.FIELD_BYTE_OFFSET: path.bits // 8, Relocation.FIELD_BYTE_SIZE: size}
        if relocation not in numbers:
            raise btf.error("a CO-RE relocation asks for the sign or the bits of what is no field")
        return _sized(btf, last.type_id, numbers[relocation], relocation)
    member = btf.members(last.type_id)[last.position]
    type_id = btf.resolve(member.type_id)
    offset, size = _access(path.bits, member, btf.sizeof(type_id))
    bits = member.bits or size * 8
    match relocation:
        case Relocation.FIELD_BYTE_OFFSET:
            return Value(offset) if member.bits else _sized(btf, type_id, offset, relocation)
        case Relocation.FIELD_BYTE_SIZE:
            return Value(size)
        case Relocation.FIELD_SIGNED:
            return Value(int(_is_signed(btf, type_id)))
        case Relocation.FIELD_LSHIFT:
            return Value(64 - (path.bits + bits - offset * 8))
        case _:
            return Value(64 - bits)


def _access(at: int, member: Member, size: int) -> tuple[int, int]:
    """Offset and size of the access that reads a member: that of its type, wider where a bit field needs it."""
    if not member.bits:
        return at // 8, size
    offset = at // 8 // size * size
    while at + member.bits - offset * 8 > size * 8:
        if size >= 8:
            raise ObjectError("a bit field does not fit 8 bytes", None, ".BTF")
        size *= 2
        offset = at // 8 // size * size
    return offset, size


def _sized(btf: Btf, type_id: int, number: int, relocation: Relocation) -> Value:
    if relocation is not Relocation.FIELD_BYTE_OFFSET:
        return Value(number)
    kind = btf.kind(btf.resolve(type_id))
    resizable = kind is Kind.PTR or (kind is Kind.INT and not _is_signed(btf, type_id))
    return Value(number, btf.sizeof(type_id), resizable)


def _is_signed(btf: Btf, type_id: int) -> bool:
    t = btf.types[btf.resolve(type_id)]
    if t.kind in _ENUMS:
        return t.kind_flag
    return t.kind is Kind.INT and bool(t.tail[0][0] >> 24 & 1)


# Types


def _types_fit(local: Btf, a: int, kernel: Btf, b: int, depth: int = 32) -> bool:
    """Whether two types are the same as far as CO-RE looks: not into structs."""
    a, b = local.resolve(a), kernel.resolve(b)
    kind = local.kind(a)
    if depth == 0 or not _same_kind(kind, kernel.kind(b)):
        return False
    if kind is Kind.PTR:
        return _types_fit(local, local.target(a), kernel, kernel.target(b), depth - 1)
    if kind is Kind.ARRAY:
        return _types_fit(local, local.array(a)[0], kernel, kernel.array(b)[0], depth - 1)
    if kind is Kind.FUNC_PROTO:
        parameters = local.params(a), kernel.params(b)
        pairs = [(local.target(a), kernel.target(b))]
        if len(parameters[0]) != len(parameters[1]):
            return False
        pairs += [(x, y) for (_, x), (_, y) in zip(*parameters, strict=True)]
        return all(_types_fit(local, x, kernel, y, depth - 1) for x, y in pairs)
    return kind in (Kind.VOID, Kind.STRUCT, Kind.UNION, Kind.FWD, Kind.INT, *_ENUMS)
