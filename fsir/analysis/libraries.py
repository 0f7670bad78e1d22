"""Functions that only user space has: undefined ones that the kernel does not know, bound to a library by an option.

Their BTF prototype is the calling contract, the same for the interpreter and for C:

    integer                      passed in its own width
    pointer to a type with size  that many bytes at the address (`const struct iphdr *`)
    pointer to void or to bytes  as many bytes as the next argument, an integer, says
    result                       an integer, or void

Bytes are checked before the call as any access of the program is, and may be changed unless the pointee is const.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.signatures import btf_of
from fsir.object.btf import Btf, Kind

EXTERN = 2  # linkage of a FUNC
ARGUMENTS = 5
_INTEGERS = frozenset({Kind.INT, Kind.ENUM, Kind.ENUM64})


@dataclass(frozen=True)
class Parameter:
    """An argument: an integer of `bits` bits, or the address of `size` bytes (None: as many as the next one says)."""

    bits: int = 64
    signed: bool = False
    is_pointer: bool = False
    size: int | None = None
    writable: bool = False


@dataclass(frozen=True)
class Prototype:
    """A function; `result` is None for void."""

    name: str
    parameters: tuple[Parameter, ...]
    result: Parameter | None


class Unknown(Exception):
    """A prototype that the contract does not cover; the message says why."""


def prototype(module: ModuleOp, name: str) -> Prototype:
    """The prototype of an undefined function. Raises Unknown."""
    return prototype_of(btf_of(module), name)


def prototype_of(btf: Btf | None, name: str) -> Prototype:
    """The same, from BTF. Raises Unknown."""
    found = btf.find(Kind.FUNC, name) if btf is not None else None
    if btf is None or found is None:
        raise Unknown(f"no BTF tells the prototype of '{name}'; compile with -g")
    types = [type_id for _, type_id in btf.params(found)]
    if len(types) > ARGUMENTS:
        raise Unknown(f"'{name}' has more than {ARGUMENTS} arguments")
    if types and types[-1] == 0:
        raise Unknown(f"'{name}' has a variable number of arguments")
    parameters = tuple(_parameter(btf, name, type_id) for type_id in types)
    for parameter, following in zip(parameters, (*parameters[1:], None), strict=True):
        if parameter.is_pointer and parameter.size is None and (following is None or following.is_pointer):
            raise Unknown(f"'{name}' takes an address without the number of bytes as its next argument")
    result = btf.resolve(btf.target(btf.target(found)))
    if btf.kind(result) is Kind.VOID:
        return Prototype(name, parameters, None)
    if btf.kind(result) not in _INTEGERS:
        raise Unknown(f"'{name}' returns a {btf.kind(result).name.lower()}, no integer")
    return Prototype(name, parameters, _integer(btf, result))


def _parameter(btf: Btf, name: str, type_id: int) -> Parameter:
    resolved = btf.resolve(type_id)
    if btf.kind(resolved) in _INTEGERS:
        return _integer(btf, resolved)
    if btf.kind(resolved) is not Kind.PTR:
        raise Unknown(f"'{name}' takes a {btf.kind(resolved).name.lower()} by value")
    pointee = btf.target(resolved)
    inner = btf.resolve(pointee)
    kind = btf.kind(inner)
    if kind is Kind.PTR or kind in (Kind.FUNC_PROTO, Kind.FWD):
        raise Unknown(f"'{name}' takes an address of a {kind.name.lower()}")
    size = None if kind is Kind.VOID else btf.sizeof(inner)
    return Parameter(
        is_pointer=True,
        size=None if size == 1 and kind is Kind.INT else size,
        writable=not _is_const(btf, pointee),
    )


def _integer(btf: Btf, type_id: int) -> Parameter:
    signed = btf.kind(type_id) is Kind.INT and bool(btf.types[type_id].tail[0][0] >> 24 & 1)
    return Parameter(bits=8 * btf.sizeof(type_id), signed=signed)


def _is_const(btf: Btf, type_id: int) -> bool:
    while btf.kind(type_id) in (Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPEDEF, Kind.TYPE_TAG):
        if btf.kind(type_id) is Kind.CONST:
            return True
        type_id = btf.target(type_id)
    return False


Prototypes = Mapping[str, Prototype]

__all__ = ["Parameter", "Prototype", "Prototypes", "Unknown", "prototype", "prototype_of"]
