"""Opening and loading ELF objects through libbpf.so.1, by ctypes.

`Object(elf)` opens; programs and maps are then adjusted (type, autoload, sizes, initial contents); `load()`
hands everything to the kernel. The order open, adjust, load is libbpf's. Whatever libbpf prints while it
refuses something, the verifier's log above all, comes with the `KernelError`.

libbpf 1.x refuses objects with legacy `maps` sections; the engine converts these first.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from fsir.kernel.errors import KernelError, KernelUnavailable
from fsir.kernel.uapi import MapFlag, MapType, ProgType

LIBRARY = "libbpf.so.1"
_LOG_STATS = 4  # BPF_LOG_STATS

# name: (result, arguments); pointers to libbpf's own structures are c_void_p
PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_set_print": (c_void_p, [c_void_p]),
    "bpf_object__open_mem": (c_void_p, [c_char_p, c_size_t, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__section_name": (c_char_p, [c_void_p]),
    "bpf_program__type": (c_int, [c_void_p]),
    "bpf_program__set_type": (c_int, [c_void_p, c_int]),
    "bpf_program__set_expected_attach_type": (c_int, [c_void_p, c_int]),
    "bpf_program__expected_attach_type": (c_int, [c_void_p]),
    "bpf_program__set_log_buf": (c_int, [c_void_p, c_void_p, c_size_t]),
    "bpf_program__set_log_level": (c_int, [c_void_p, c_uint32]),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_bool]),
    "bpf_program__autoload": (c_bool, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_map__name": (c_char_p, [c_void_p]),
    "bpf_map__type": (c_int, [c_void_p]),
    "bpf_map__key_size": (c_uint32, [c_void_p]),
    "bpf_map__value_size": (c_uint32, [c_void_p]),
    "bpf_map__max_entries": (c_uint32, [c_void_p]),
    "bpf_map__map_flags": (c_uint32, [c_void_p]),
    "bpf_map__set_map_flags": (c_int, [c_void_p, c_uint32]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_map__set_pin_path": (c_int, [c_void_p, c_char_p]),
    "bpf_map__set_autocreate": (c_int, [c_void_p, c_bool]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_map__initial_value": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "bpf_map__is_internal": (c_bool, [c_void_p]),
    "bpf_map__inner_map": (c_void_p, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_xdp_attach": (c_int, [c_int, c_int, c_uint32, c_void_p]),
    "bpf_xdp_detach": (c_int, [c_int, c_uint32, c_void_p]),
    "perf_buffer__new": (c_void_p, [c_int, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p]),
    "perf_buffer__consume": (c_int, [c_void_p]),
    "perf_buffer__free": (None, [c_void_p]),
}

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)  # va_list arrives as a pointer on all supported machines
_printed = threading.local()


class _OpenOptions(ctypes.Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("no_longer_used", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
    )


@cache
def library() -> ctypes.CDLL:
    """libbpf, with prototypes set and its messages captured; `KernelUnavailable` where there is none."""
    try:
        lib = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as missing:
        raise KernelUnavailable(f"{LIBRARY} cannot be opened ({missing}); install libbpf1 or libbpf") from missing
    for name, (result, arguments) in PROTOTYPES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.libbpf_set_print(_print_callback)
    return lib


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.vasprintf.argtypes = [POINTER(c_void_p), c_void_p, c_void_p]
    libc.free.argtypes = [c_void_p]
    return libc


def _capture(level: int, template: int, arguments: int) -> int:
    """libbpf's print function: keeps warnings (level 0) of this thread for the error to come."""
    if level == 0:
        text = c_void_p()
        length: int = _libc().vasprintf(byref(text), template, arguments)
        if length >= 0 and text.value:
            messages().append(ctypes.string_at(text.value, length).decode(errors="replace"))
            _libc().free(text)
    return 0


_print_callback = _PRINT(_capture)


def messages() -> list[str]:
    """What libbpf has printed in this thread and nobody has taken yet."""
    if not hasattr(_printed, "messages"):
        _printed.messages = []
    found: list[str] = _printed.messages
    return found


def take_messages() -> str:
    text = "".join(messages()).strip()
    messages().clear()
    return text


class Program:
    """One program of an opened object."""

    def __init__(self, handle: int) -> None:
        lib = library()
        self.handle = handle
        self.name: str = lib.bpf_program__name(handle).decode()
        self.section: str = lib.bpf_program__section_name(handle).decode()

    @property
    def type(self) -> ProgType:
        return ProgType(library().bpf_program__type(self.handle))

    def set_type(self, prog_type: ProgType, attach_type: int = 0) -> None:
        """Override what libbpf concluded from the section's name; before `load`."""
        _check(library().bpf_program__set_type(self.handle, prog_type), f"cannot set the type of {self.name}")
        code = library().bpf_program__set_expected_attach_type(self.handle, attach_type)
        _check(code, f"cannot set the attach type of {self.name}")

    @property
    def sees_frags(self) -> bool:
        """May an XDP program get frames of several pages? libbpf goes by the section's name."""
        return self.section.split("/")[0] == "xdp.frags"

    def set_autoload(self, wanted: bool) -> None:
        _check(library().bpf_program__set_autoload(self.handle, wanted), f"cannot set autoload of {self.name}")

    def keep_log(self, size: int) -> ctypes.Array[ctypes.c_char]:
        """Have the last `size` bytes of the verifier's log written to the buffer returned, whatever it says; before
        `load`. From kernel 6.4 on: older ones refuse programs whose log is longer."""
        buffer = ctypes.create_string_buffer(size)
        code = library().bpf_program__set_log_buf(self.handle, buffer, size)
        _check(code, f"cannot set the log of {self.name}")
        return buffer

    def keep_log_short(self) -> None:
        """Have the verifier say only why it refuses the program, not what it saw; before `load`. Where it gives up
        after a million instructions, that takes a tenth of the time."""
        code = library().bpf_program__set_log_level(self.handle, _LOG_STATS)
        _check(code, f"cannot set the log level of {self.name}")

    @property
    def loaded(self) -> bool:
        fd: int = library().bpf_program__fd(self.handle)
        return fd >= 0

    @property
    def fd(self) -> int:
        """Owned by the object. Raises if the program was not loaded."""
        return _check(library().bpf_program__fd(self.handle), f"{self.name} is not loaded")


class Map:
    """One map of an opened object; compiler-made ones are called like their section: `.bss`, `.rodata.x`."""

    def __init__(self, handle: int, object_name: str = "") -> None:
        lib = library()
        self.handle = handle
        self.internal: bool = lib.bpf_map__is_internal(handle)
        name: str = lib.bpf_map__name(handle).decode()
        self.name = name.removeprefix(object_name) if self.internal else name

    @property
    def type(self) -> MapType:
        return MapType(library().bpf_map__type(self.handle))

    @property
    def key_size(self) -> int:
        size: int = library().bpf_map__key_size(self.handle)
        return size

    @property
    def value_size(self) -> int:
        size: int = library().bpf_map__value_size(self.handle)
        return size

    @property
    def max_entries(self) -> int:
        count: int = library().bpf_map__max_entries(self.handle)
        return count

    @property
    def flags(self) -> int:
        flags: int = library().bpf_map__map_flags(self.handle)
        return flags

    def set_max_entries(self, count: int) -> None:
        _check(library().bpf_map__set_max_entries(self.handle, count), f"cannot set the size of {self.name}")

    def make_mappable(self) -> None:
        """Let user space map it; libbpf asks that only for global data with BTF of its own. Before `load`."""
        code = library().bpf_map__set_map_flags(self.handle, self.flags | MapFlag.MMAPABLE)
        _check(code, f"cannot set the flags of {self.name}")

    def unpin(self) -> None:
        """Never share this map through bpffs, whatever the object says."""
        _check(library().bpf_map__set_pin_path(self.handle, None), f"cannot unset the pin path of {self.name}")

    def reuse(self, fd: int) -> None:
        """Use an existing kernel map; before `load`. libbpf duplicates the descriptor."""
        _check(library().bpf_map__reuse_fd(self.handle, fd), f"{self.name} cannot use the map given for it")

    def initial_value(self) -> ctypes.Array[ctypes.c_char] | None:
        """The contents of an internal map before `load`, as a buffer to write to; None for other maps."""
        size = c_size_t()
        address = library().bpf_map__initial_value(self.handle, byref(size))
        return (ctypes.c_char * size.value).from_address(address) if address else None

    def inner(self) -> Map | None:
        """The definition of the inner maps of a map-in-map, where the object has it."""
        handle = library().bpf_map__inner_map(self.handle)
        return Map(handle) if handle else None

    @property
    def fd(self) -> int:
        """Owned by the object. Raises before `load`."""
        return _check(library().bpf_map__fd(self.handle), f"map {self.name} does not exist in the kernel")


OBJECT_NAME = "fs"


class Object:
    """An opened ELF object; `close` unloads everything that nobody else holds. CO-RE relocations are resolved against
    the running kernel's types, or those of the file `kernel_btf`."""

    def __init__(self, elf: bytes, kernel_btf: Path | None = None) -> None:
        lib = library()
        take_messages()
        self._elf = elf  # libbpf reads from it until load
        options = _OpenOptions(sz=ctypes.sizeof(_OpenOptions), object_name=OBJECT_NAME.encode())
        if kernel_btf is not None:
            options.btf_custom_path = str(kernel_btf).encode()
        self._handle: int | None = lib.bpf_object__open_mem(elf, len(elf), byref(options))
        if not self._handle:
            raise KernelError("libbpf cannot open the object", ctypes.get_errno(), take_messages())
        self.programs = [Program(handle) for handle in self._each(lib.bpf_object__next_program)]
        self.maps = [Map(handle, OBJECT_NAME) for handle in self._each(lib.bpf_object__next_map)]

    def _each(self, step: Any) -> Iterator[int]:
        handle = step(self._handle, None)
        while handle:
            yield handle
            handle = step(self._handle, handle)

    def load(self) -> None:
        take_messages()
        code: int = library().bpf_object__load(self._handle)
        if code:
            raise KernelError("the kernel refuses the object", -code, take_messages())

    def close(self) -> None:
        if self._handle:
            library().bpf_object__close(self._handle)
            self._handle = None


def _check(code: int, what: str) -> int:
    if code < 0:
        raise KernelError(what, -code, take_messages())
    return code
