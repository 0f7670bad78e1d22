"""The fields of a packet program's context, `struct xdp_md` or `struct __sk_buff` (uapi linux/bpf.h), by byte offset.

The layout is part of the kernel's interface: a CO-RE relocation of a field (`vmlinux.h` makes one of every access) ends
up at the same offset on every kernel. What the program's own declaration of the structure says may differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute

from fsir.analysis.signatures import btf_of
from fsir.object.btf import Btf, Kind

_XDP = ("data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")
_SKB = (
    *("len", "pkt_type", "mark", "queue_mapping", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "priority"),
    *("ingress_ifindex", "ifindex", "tc_index", "cb[0]", "cb[1]", "cb[2]", "cb[3]", "cb[4]", "hash", "tc_classid"),
    *("data", "data_end", "napi_id", "family", "remote_ip4", "local_ip4"),
    *("remote_ip6[0]", "remote_ip6[1]", "remote_ip6[2]", "remote_ip6[3]"),
    *("local_ip6[0]", "local_ip6[1]", "local_ip6[2]", "local_ip6[3]", "remote_port", "local_port", "data_meta"),
)
_WIDE = {144: "flow_keys", 152: "tstamp", 160: "wire_len", 164: "gso_segs", 168: "sk", 176: "gso_size"}
_WIDE |= {180: "tstamp_type", 184: "hwtstamp"}
"""What follows the 32-bit fields of `struct __sk_buff`."""

_BY_STRUCT: Mapping[str, Mapping[int, str]] = {
    "xdp_md": {4 * i: name for i, name in enumerate(_XDP)},
    "__sk_buff": {4 * i: name for i, name in enumerate(_SKB)} | _WIDE,
}
_STRUCTS = {"xdp": "xdp_md", "sched_cls": "__sk_buff", "sched_act": "__sk_buff"}
CONTEXT_FIELDS: Mapping[str, Mapping[int, str]] = {type_: _BY_STRUCT[name] for type_, name in _STRUCTS.items()}
"""Names of fields by offset, by program type."""

_BYTE_OFFSET = 0  # BPF_CORE_FIELD_BYTE_OFFSET
_FLAVOR = "___"


class RelocatedFields:
    """Where the loader makes relocated accesses to the context go, in one module."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module

    @cached_property
    def _btf(self) -> Btf | None:
        return btf_of(self._module)

    def offset(self, core: Attribute, type_name: str | None = None) -> int | None:
        """The offset of the field that a relocation is about; None where that is no field of the context of a program
        of this type (of any packet program)."""
        if self._btf is None or not isinstance(core, DictionaryAttr):
            return None
        type_id, access, kind = core.data.get("type"), core.data.get("access"), core.data.get("kind")
        if not (isinstance(type_id, IntAttr) and isinstance(access, StringAttr) and kind == IntAttr(_BYTE_OFFSET)):
            return None
        struct, field = _field(self._btf, type_id.data, access.data)
        if struct not in _BY_STRUCT or (type_name is not None and _STRUCTS.get(type_name) != struct):
            return None
        return {name: offset for offset, name in _BY_STRUCT[struct].items()}.get(field)


def _field(btf: Btf, type_id: int, access: str) -> tuple[str, str]:
    """The structure, and the field of it, that an access string names (`0:1` its second member, `0:12:3` element 3 of
    the thirteenth); empty for none."""
    type_id = btf.resolve(type_id) if 0 < type_id < len(btf.types) else 0
    if not type_id or btf.kind(type_id) is not Kind.STRUCT:
        return "", ""
    indices = [int(part) if part.isdigit() else -1 for part in access.split(":")]
    members = btf.members(type_id)
    if len(indices) not in (2, 3) or indices[0] != 0 or not 0 <= indices[1] < len(members):
        return "", ""
    return btf.name(type_id).split(_FLAVOR)[0], members[indices[1]].name + "".join(f"[{i}]" for i in indices[2:])
