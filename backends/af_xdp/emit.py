"""The C file and Makefile of the AF_XDP part.

    emit(module) -> {"af_xdp.c": …, "Makefile": …}      what a bundle takes
    emit_source(module, options) -> str                  the C file alone: the target `c`

The file is the runtime's pieces around two that are written here: tables (maps, handoff layouts) and the program.
Target options: `part=NAME`, `program=NAME`, where there are several.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.resources import files
from typing import Any

from xdsl.dialects.builtin import ModuleOp, StringAttr

from fsir.backends.af_xdp.capabilities import AGING_TYPES, BY_PROGRAM, IN_PLACE_TYPES, MAP_TYPES
from fsir.backends.af_xdp.function import FunctionWriter
from fsir.backends.af_xdp.ops_ebpf import c_prototype
from fsir.backends.af_xdp.part import IN_FRAME_TRANSPORTS, MapUse, Part, select_part
from fsir.backends.af_xdp.writer import Needs, parameter_registers
from fsir.backends.handoff import Layout
from fsir.driver.targets import EmitOptions

LICENCE = "SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception"
BEFORE_TABLES = ("run.h", "order.h")
BEFORE_PROGRAM = ("memory.h", "maps.h", "packet.h", "arith.h", "helpers.h", "printk.h")
AFTER_PROGRAM = ("process.h",)
IN_PROCESS = ("inprocess.h",)
SOCKET = ("options.h", "table.h", "objects.h", "accessor.h", "reentry.h", "socket.h", "main.h")

_INCLUDES = """#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
"""

_QUIET = """/* The program is the original's, also where that compares in vain or computes what nothing reads. */
#pragma GCC diagnostic ignored "-Wtype-limits"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Wtautological-compare"
#pragma GCC diagnostic ignored "-Wtautological-constant-out-of-range-compare"
#endif
"""


def emit(module: ModuleOp, options: EmitOptions | None = None) -> dict[str, bytes]:
    """The files of the module's AF_XDP part. Raises `FailedAt` where something cannot run in user space."""
    source = emit_source(module, options or EmitOptions())
    libraries = map(str, (options or EmitOptions()).parameters.get("library", ()))
    makefile = _runtime("af_xdp.mk").replace("LIBRARIES ?=", " ".join(("LIBRARIES ?=", *libraries)))
    return {"af_xdp.c": source.encode(), "Makefile": makefile.encode()}


def emit_source(module: ModuleOp, options: EmitOptions) -> str:
    """The C file of the module's AF_XDP part."""
    part = select_part(module, _option(options, "part"), _option(options, "program"))
    program = _program(part)
    return "\n".join(
        (
            _heading(part, module, options),
            _INCLUDES,
            _arrival_table(part),
            *map(_runtime, BEFORE_TABLES),
            _map_enumeration(part.maps.values()),
            _struct_of_maps(),
            _map_table(part.maps.values()),
            *map(_runtime, BEFORE_PROGRAM),
            program,
            *map(_runtime, AFTER_PROGRAM),
            "#ifdef FS_INPROCESS\n",
            *map(_runtime, IN_PROCESS),
            "#else /* FS_INPROCESS */\n",
            *map(_runtime, SOCKET),
            "#endif /* FS_INPROCESS */\n",
        )
    )


def _option(options: EmitOptions, name: str) -> str | None:
    values: tuple[Any, ...] = options.parameters.get(name, ())
    return str(values[0]) if values else None


def _runtime(name: str) -> str:
    return (files("fsir.backends.af_xdp.runtime") / name).read_text()


def _heading(part: Part, module: ModuleOp, options: EmitOptions) -> str:
    original = module.attributes.get("object.file")
    name = original.data if isinstance(original, StringAttr) else options.input_name
    return f"""/* {LICENCE} */
/*
 * {_commented(part.entry.symbol)}, from {_commented(name)}: the part that runs in user space, over AF_XDP.
 *
 *	cc -O2 -o af_xdp af_xdp.c -lxdp -lbpf && ./af_xdp -i INTERFACE [-o xdp.o]
 *
 * Written by a compiler. The runtime comes first, then the program (functions fn_*), then the transport.
 */"""


def _commented(text: str) -> str:
    return text.replace("*/", "* /")


# Tables


def _map_enumeration(uses: Iterable[MapUse]) -> str:
    names = "".join(f"{use.enumerator}, " for use in uses)
    return f"/* The maps that the program touches. */\nenum {{ {names}FS_MAP_COUNT }};\n"


def _struct_of_maps() -> str:
    return _runtime("map_table.h")


def _map_table(uses: Iterable[MapUse]) -> str:
    contents: list[str] = []
    rows: list[str] = []
    for use in uses:
        decl = use.decl
        initial = "NULL"
        if any(use.content):
            initial = f"fs_content_{use.enumerator.removeprefix('FS_MAP_')}"
            contents.append(f"static const uint8_t {initial}[] = {{\n{_byte_rows(use.content)}}};\n")
        fields = {
            "name": f'"{_escaped(use.name)}"',
            "type": str(MAP_TYPES[use.type_name]),
            "key_size": str(decl.key_size.data),
            "value_size": str(decl.value_size.data),
            "max_entries": str(decl.max_entries.data),
            "flags": hex(decl.flags.data),
            "initial": initial,
            "internal": _bool("internal" in decl.properties),
            "in_place": _bool(use.type_name in IN_PLACE_TYPES),
            "read_only": _bool(use.read_only),
            "by_program": _bool(use.type_name in BY_PROGRAM),
            "ages": _bool(use.type_name in AGING_TYPES),
            "counted": _bool(use.counted),
            "wants_mmap": _bool(use.sharing == "mmap"),
            "shared": _bool(use.shared),
            "written": _bool(use.written),
        }
        body = ", ".join(f".{name} = {value}" for name, value in fields.items() if value not in ("NULL", "false"))
        rows.append(f"\t[{use.enumerator}] = {{ {body} }}, /* {use.type_name}, {use.sharing} */\n")
    table = "".join(rows)
    return (
        "".join(contents) + f"static struct fs_map fs_maps[FS_MAP_COUNT + 1] = {{\n{table}\t{{ .name = NULL }},\n}};\n"
    )


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _escaped(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\{ord(c):03o}" for c in text)


def _byte_rows(data: bytes) -> str:
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    return "".join("\t" + " ".join(f"{byte:#04x}," for byte in row) + "\n" for row in rows)


def _arrival_table(part: Part) -> str:
    rows = "".join(_arrival(resume, *known, part.tickets) for resume, known in sorted(part.arrivals.items()))
    return f"""/* The handoff headers that packets come with; without any, the program runs from its beginning. */
struct fs_arrival {{
	uint32_t resume, size;
	uint32_t ticket; /* where the packet's number is, see order.h; 0 for none */
	bool in_frame;
}};
enum {{ FS_ARRIVAL_COUNT = {len(part.arrivals)} }};

/* The order of packets is kept; kernel and user space take turns with maps that are copied. */
enum {{ FS_ORDERED = {int(bool(part.tickets))}, FS_TURNS = {int(part.takes_turns)} }};
static const struct fs_arrival fs_arrivals[FS_ARRIVAL_COUNT + 1] = {{
{rows}	{{ .size = 0 }},
}};
"""


def _arrival(resume: int, layout: Layout, transport: str, tickets: Collection[int]) -> str:
    ticket = f".ticket = {layout.offsets[-2]}, " if resume in tickets else ""
    return (
        f"\t{{ .resume = {resume}, .size = {layout.size}, {ticket}"
        f".in_frame = {_bool(transport in IN_FRAME_TRANSPORTS)} }}, /* carries {len(layout.widths)} values */\n"
    )


# The program


def _program(part: Part) -> str:
    writers = [
        FunctionWriter(func, part.c_names[name], part, entry=func is part.entry and not part.calls_entry)
        for name, func in part.functions.items()
    ]
    bodies = [writer.write() for writer in writers]
    whole = part.arrivals or part.calls_entry
    needed = Needs.BOUNDS if whole else max(writer.needed for writer in writers)
    if needed < Needs.BOUNDS:
        at = list(part.functions.values()).index(part.entry)
        writers[at] = FunctionWriter(part.entry, part.c_names[part.entry.symbol], part, entry=True, takes_bounds=True)
        bodies[at] = writers[at].write()
    library = "".join(f"{c_prototype(each)}\n" for each in part.library.values())
    if library:
        library = f"/* What a library has to define. */\n{library}"
    prototypes = library + "".join(f"FS_UNUSED {writer.prototype()}\n" for writer in writers)
    return "\n".join((_QUIET, _needs(needed), prototypes, _dispatch(part), *bodies, _start(part, needed)))


def _needs(needed: Needs) -> str:
    return f"""/* Whether a packet can end in the middle, or change the run's state; whether that has its bounds. */
enum {{ FS_NEEDS_RUN = {int(needed >= Needs.RUN)}, FS_NEEDS_BOUNDS = {int(needed >= Needs.BOUNDS)} }};
"""


def _dispatch(part: Part) -> str:
    """Functions as words, and the call of one."""
    cases = ""
    for index, name in enumerate(part.callbacks):
        registers = parameter_registers(part.functions[name])
        args = "".join(f", a{register}" if register < 5 else ", 0" for register in registers)
        cases += f"\tcase {index}:\n\t\treturn {part.c_names[name]}(run{args});\n"
    unused = "(void)a1, (void)a2, (void)a3, (void)a4;"
    return f"""static const uint8_t fs_functions[{len(part.callbacks) + 1}];

FS_INLINE uint64_t fs_function_word(uint32_t index)
{{
	return (uint64_t)(uintptr_t)&fs_functions[index];
}}

FS_API uint64_t fs_call(struct fs_run *run, uint64_t function, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4)
{{
	{unused}
	switch (function - (uint64_t)(uintptr_t)fs_functions) {{
{cases}	default:
		fs_fail(run, "call of an address that is no function's");
	}}
}}
"""


def _start(part: Part, needed: Needs) -> str:
    context = "(uint64_t)(uintptr_t)&run->context"
    args = "".join(f", {context}" if register == 1 else ", 0" for register in parameter_registers(part.entry))
    args += ", data, end" if needed < Needs.BOUNDS else ""
    return f"""/* Where a packet enters. */
static uint64_t fs_program(struct fs_run *run, uint64_t data, uint64_t end)
{{
	(void)data, (void)end;
	return {part.c_names[part.entry.symbol]}(run{args});
}}
"""
