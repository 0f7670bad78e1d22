"""Functions of a library of user space, called from interpreted programs: `load_library(module, paths)`.

They are bound as `fsir.analysis.libraries` says. Bytes are copied into memory of the process for the call, and back
where the prototype lets them change.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int8, c_int16, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from functools import cache
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from fsir.analysis.libraries import Parameter, Prototype, Unknown, prototype_of
from fsir.analysis.signatures import btf_of
from fsir.dialects import ebpf
from fsir.interp.helper_base import Call
from fsir.interp.machine import HelperError, Machine

_UNSIGNED = {8: c_uint8, 16: c_uint16, 32: c_uint32, 64: c_uint64}
_SIGNED = {8: c_int8, 16: c_int16, 32: c_int32, 64: c_int64}
_MOST = 1 << 20
"""Bytes that one argument may have."""


def load_library(module: ModuleOp, paths: Sequence[str]) -> dict[str, Call]:
    """Implementations of the functions that a module calls and the libraries define, by name. Raises
    `inprocess.CompilerError` where they cannot be compiled or linked."""
    library = _opened(tuple(paths))
    btf = btf_of(module)
    found: dict[str, Call] = {}
    called = (op for op in module.walk() if isinstance(op, ebpf.CallKfuncOp) and op.callee is not None)
    for name in dict.fromkeys(op.symbol_prop("callee") for op in called):
        if not hasattr(library, name):
            continue
        try:
            found[name] = _bound(getattr(library, name), prototype_of(btf, name))
        except Unknown as error:
            found[name] = _refused(str(error))
    return found


@cache
def _opened(paths: tuple[str, ...]) -> ctypes.CDLL:
    from fsir.backends.af_xdp.inprocess import shared_library

    return shared_library(paths)


def _refused(why: str) -> Call:
    def refuse(machine: Machine, *words: int) -> int:
        raise HelperError(why)

    return refuse


def _bound(function: Any, prototype: Prototype) -> Call:
    parameters = prototype.parameters
    function.argtypes = [ctypes.c_void_p if p.is_pointer else _type(p) for p in parameters]
    function.restype = None if prototype.result is None else _type(prototype.result)

    def call(machine: Machine, *words: int) -> int:
        passed: list[Any] = []
        copies: list[tuple[int, Any]] = []
        for index, (parameter, word) in enumerate(zip(parameters, words, strict=False)):
            if not parameter.is_pointer:
                passed.append(_type(parameter)(word & ((1 << parameter.bits) - 1)))
                continue
            size = parameter.size
            if size is None:
                following = parameters[index + 1]
                size = words[index + 1] & ((1 << following.bits) - 1)
            if size > _MOST:
                raise HelperError(f"'{prototype.name}' is given {size} bytes at once")
            if size == 0:
                passed.append(None)
                continue
            buffer = ctypes.create_string_buffer(machine.memory.read_bytes(word, size), size)
            passed.append(ctypes.cast(buffer, ctypes.c_void_p))
            if parameter.writable:
                copies.append((word, buffer))
        result = function(*passed)
        for address, buffer in copies:
            machine.memory.write_bytes(address, buffer.raw)
        return 0 if result is None else int(result) & 0xFFFFFFFFFFFFFFFF

    return call


def _type(parameter: Parameter) -> Any:
    return (_SIGNED if parameter.signed else _UNSIGNED)[parameter.bits]
