"""The text of the P4 program: headers, parser, the part's control, and the frame around it.

The parser extracts a header exactly where the packet is long enough for it, decided by the packet's length and not by
running out of bytes: a short packet leaves as it came, and a length check is `isValid()`.  The part itself is the
control `Program`, which ends with a verdict or a handoff; `NicIngress` turns that into where the packet goes.
"""

from __future__ import annotations

from fsir.backends.handoff import FINISHED_ABORTED, FINISHED_PASS, FINISHED_REDIRECT, HEADER_SIZE, MAGIC, VERSION
from fsir.backends.handoff import Layout as HandoffLayout
from fsir.backends.p4.bits import number
from fsir.backends.p4.counting import Counting
from fsir.backends.p4.evaluate import Add, Evaluation, Handoff, Statement
from fsir.backends.p4.layout import Header
from fsir.backends.p4.ops_packet import XDP_VERDICTS, padding, wire_number
from fsir.backends.p4.sites import Site
from fsir.backends.p4.structure import INDENT, Structure

CPU_PORT = 510
PORT_WIDTH = 9
MAX_INTERFACES = 512
REDIRECT_LAYOUT = HandoffLayout(FINISHED_REDIRECT, (32,))

BLOCKS = ("NicParser", "NicVerifyChecksum", "NicIngress", "NicEgress", "NicComputeChecksum", "NicDeparser")


class Program:
    """Writes one evaluated part."""

    def __init__(self, e: Evaluation, counting: Counting, title: str) -> None:
        self.e = e
        self.counting = counting
        self.title = title
        self.tables = sorted(e.sites, key=lambda site: site.role == "redirect")
        structure = Structure(e.func.entry, e.code, self._statement, e.names)
        self.body = structure.write()
        self.flags = list(structure.flags.values())

    def text(self) -> str:
        """The program."""
        parts = [
            [f"// {self.title}", "#include <core.p4>", "#include <v1model.p4>"],
            self._constants(),
            *self._header_types(),
            self._structs(),
            self._parser(),
            ["control NicVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {", "    apply { }", "}"],
            self._program(),
            self._ingress(),
            [
                "control NicEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t sm) {",
                "    apply { }",
                "}",
            ],
            ["control NicComputeChecksum(inout headers_t hdr, inout metadata_t meta) {", "    apply { }", "}"],
            self._deparser(),
            [f"V1Switch({', '.join(f'{name}()' for name in BLOCKS)}) main;"],
        ]
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def _statement(self, statement: Statement) -> list[str]:
        return self.counting.text(statement) if isinstance(statement, Add) else [statement]

    # -- types ---------------------------------------------------------------------------------------------------------

    def _constants(self) -> list[str]:
        lines = [f"const bit<{PORT_WIDTH}> CPU_PORT = {CPU_PORT};"]
        return lines + [f"const bit<32> {name} = {value};" for value, name in enumerate(XDP_VERDICTS)]

    def _header_types(self) -> list[list[str]]:
        found = [_header_type(header.name, [(f.name, f.term.width) for f in header.fields]) for header in self._headers]
        fixed = [("magic", 16), ("version", 8), ("length", 8), ("resume", 16), ("reserved", 16)]
        comment = "// In front of frames for the CPU. Its numbers are little-endian."
        found.append([comment, *_header_type("handoff", fixed)])
        for handoff in self._handoffs:
            layout = HandoffLayout(handoff.resume, tuple(width for _, width in handoff.fields))
            fields = [(name, (width + 7) // 8 * 8) for name, width in handoff.fields]
            fields += [("padding", padding(layout))] if padding(layout) else []
            found.append(_header_type(f"resume_{handoff.resume}", fields))
        if self.redirects:
            found.append(_header_type("redirect", [("ifindex", 32)]))
        return found

    @property
    def _headers(self) -> tuple[Header, ...]:
        return self.e.plan.layout.headers

    @property
    def _handoffs(self) -> list[Handoff]:
        return [handoff for _, handoff in sorted(self.e.handoffs.items()) if handoff.fields]

    @property
    def redirects(self) -> bool:
        return any(v is None or v == XDP_VERDICTS.index("XDP_REDIRECT") for v in self.e.verdicts)

    def _structs(self) -> list[str]:
        members = ["handoff"] + [f"resume_{handoff.resume}" for handoff in self._handoffs]
        members += ["redirect"] if self.redirects else []
        members += [header.name for header in self._headers]
        lines = ["struct headers_t {", *(f"    {name}_t {name};" for name in members), "}", ""]
        fields = ["verdict", *(["ingress_ifindex"] if self.e.uses_ifindex else [])]
        fields += ["redirect_ifindex"] if self.redirects or self.e.redirects else []
        return [*lines, "struct metadata_t {", *(f"    bit<32> {name};" for name in fields), "}"]

    # -- parser and deparser -------------------------------------------------------------------------------------------

    def _parser(self) -> list[str]:
        lines = [
            "parser NicParser(packet_in packet, out headers_t hdr, inout metadata_t meta,",
            "                 inout standard_metadata_t sm) {",
        ]
        states = [("start", None), *((f"parse_{header.name}", header) for header in self._headers)]
        for (name, header), following in zip(states, [*self._headers, None], strict=True):
            lines.append(f"    state {name} {{")
            lines += [f"        packet.extract(hdr.{header.name});"] if header is not None else []
            if following is None:
                lines += ["        transition accept;", "    }"]
                continue
            lines += [
                "        transition select(sm.packet_length) {",
                f"            0 .. {following.size - 1}: accept;",
                f"            default: parse_{following.name};",
                "        }",
                "    }",
            ]
        return [*lines, "}"]

    def _deparser(self) -> list[str]:
        members = ["handoff"] + [f"resume_{handoff.resume}" for handoff in self._handoffs]
        members += ["redirect"] if self.redirects else []
        members += [header.name for header in self._headers]
        return [
            "control NicDeparser(packet_out packet, in headers_t hdr) {",
            "    apply {",
            *(f"        packet.emit(hdr.{name});" for name in members),
            "    }",
            "}",
        ]

    # -- the part ------------------------------------------------------------------------------------------------------

    def _program(self) -> list[str]:
        inner = [f"{type_} {name};" for type_, name in self.e.variables]
        inner += [f"bool {name} = false;" for name in self.flags]
        inner += [tally.declaration for tally in self.counting.tallies]
        inner += _header_action("hand_over") if self.e.handoffs else []
        for site in self.tables:
            inner += _table(site)
        body = [f"{site.name}.apply();" for site in self.tables if site.role == "data"] + self.body
        return [
            "control Program(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t sm) {",
            *_indented(inner),
            "    apply {",
            *_indented(body, 2),
            "    }",
            "}",
        ]

    # -- the frame -----------------------------------------------------------------------------------------------------

    def _ingress(self) -> list[str]:
        inner = ["Program() program;"]
        inner += _ifindex_of_port() if self.e.uses_ifindex else []
        inner += ["// The program has ended; the kernel only carries out the verdict that the resume point stands for."]
        inner += _header_action("finish")
        inner += _port_of_ifindex() if self.redirects else []
        body = ["ifindex_of_port.apply();"] if self.e.uses_ifindex else []
        body += ["program.apply(hdr, meta, sm);", *self._conclusion()]
        return [
            "control NicIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t sm) {",
            *_indented(inner),
            "    apply {",
            *_indented(body, 2),
            "    }",
            "}",
        ]

    def _conclusion(self) -> list[str]:
        """From verdict to port. Verdicts that the part never gives have no branch."""
        cases: list[tuple[str, str]] = []
        actions = {
            "XDP_DROP": "mark_to_drop(sm);",
            "XDP_PASS": f"finish({wire_number(FINISHED_PASS, 2)}, {HEADER_SIZE});",
            "XDP_TX": "sm.egress_spec = sm.ingress_port;",
            "XDP_REDIRECT": "port_of_ifindex.apply();",
        }
        for name, action in actions.items():
            if None in self.e.verdicts or XDP_VERDICTS.index(name) in self.e.verdicts:
                cases.append((f"meta.verdict == {name}", action))
        if self.e.verdicts - {XDP_VERDICTS.index(name) for name in actions}:
            cases.append(("true", f"finish({wire_number(FINISHED_ABORTED, 2)}, {HEADER_SIZE});"))
        lines: list[str] = []
        for condition, action in cases:
            opening = "{" if condition == "true" else f"if ({condition}) {{"
            lines[-1:] = [f"}} else {opening}"] if lines else [opening]
            lines += [f"    {action}", "}"]
        if self.e.handoffs and lines:
            return ["if (!hdr.handoff.isValid()) {", *_indented(lines), "}"]
        return lines


def _header_type(name: str, fields: list[tuple[str, int]]) -> list[str]:
    return [f"header {name}_t {{", *(f"    bit<{width}> {field};" for field, width in fields), "}"]


def _header_action(name: str) -> list[str]:
    """An action that puts the handoff header in front of the frame and sends it to the CPU."""
    return [
        f"action {name}(bit<16> resume, bit<8> length) {{",
        "    hdr.handoff.setValid();",
        f"    hdr.handoff.magic = {wire_number(MAGIC, 2)};",
        f"    hdr.handoff.version = {VERSION};",
        "    hdr.handoff.length = length;",
        "    hdr.handoff.resume = resume;",
        "    hdr.handoff.reserved = 0;",
        "    sm.egress_spec = CPU_PORT;",
        "}",
    ]


def _table(site: Site) -> list[str]:
    """A table and the action of its entries."""
    params = ", ".join(f"bit<{8 * each.size}> {each.name}" for each in site.layout.fields)
    lines = [f"action {site.action}({params}) {{"]
    lines += [f"    {site.hit} = true;"] if site.hit is not None else []
    lines += [f"    {line}" for line in site.sets]
    lines += [f"    {v.text} = {each.name};" for v, each in zip(site.variables, site.layout.fields, strict=True)]
    lines += ["}", f"table {site.name} {{"]
    if site.keys:
        lines += ["    key = {", *(f'        {k.text}: {k.match} @name("{k.name}");' for k in site.keys), "    }"]
    if site.defaults is None:
        lines += [f"    actions = {{ {site.action}; NoAction; }}", "    default_action = NoAction();"]
    else:
        values = [number(v, 8 * each.size) for v, each in zip(site.defaults, site.layout.fields, strict=True)]
        lines += [f"    actions = {{ {site.action}; }}", f"    default_action = {site.action}({', '.join(values)});"]
    lines += [f"    size = {site.map.max_entries.data};"] if site.keys else []
    return [*lines, "}"]


def _ifindex_of_port() -> list[str]:
    return [
        "action set_ifindex(bit<32> ifindex) {",
        "    meta.ingress_ifindex = ifindex;",
        "}",
        "action same_ifindex() {",
        "    meta.ingress_ifindex = (bit<32>)sm.ingress_port;",
        "}",
        "table ifindex_of_port {",
        '    key = { sm.ingress_port: exact @name("port"); }',
        "    actions = { set_ifindex; same_ifindex; }",
        "    default_action = same_ifindex();",
        f"    size = {MAX_INTERFACES};",
        "}",
    ]


def _port_of_ifindex() -> list[str]:
    return [
        "action set_port(bit<9> port) {",
        "    sm.egress_spec = port;",
        "}",
        "// An interface that is no port of this NIC: the kernel redirects.",
        "action not_a_port() {",
        f"    finish({wire_number(FINISHED_REDIRECT, 2)}, {REDIRECT_LAYOUT.size});",
        "    hdr.redirect.setValid();",
        "    hdr.redirect.ifindex = meta.redirect_ifindex[7:0] ++ meta.redirect_ifindex[15:8] ++",
        "                           meta.redirect_ifindex[23:16] ++ meta.redirect_ifindex[31:24];",
        "}",
        "table port_of_ifindex {",
        '    key = { meta.redirect_ifindex: exact @name("ifindex"); }',
        "    actions = { set_port; not_a_port; }",
        "    default_action = not_a_port();",
        f"    size = {MAX_INTERFACES};",
        "}",
    ]


def _indented(lines: list[str], depth: int = 1) -> list[str]:
    return [INDENT * depth + line if line else line for line in lines]
