"""Maps of an object: what they are (``map_model``), reading (``map_read``) and writing (``map_edit``) them."""

from fsir.object.map_edit import add_btf_map, modernise_maps
from fsir.object.map_model import (
    BPF_F_MMAPABLE,
    BPF_F_RDONLY_PROG,
    MAP_TYPES,
    MAPS_OF_MAPS,
    PIN_BY_NAME,
    PIN_NONE,
    MapDef,
    map_type_name,
)
from fsir.object.map_read import kconfig_layout, lacks_description, read_map_defs

__all__ = [
    "BPF_F_MMAPABLE", "BPF_F_RDONLY_PROG", "MAPS_OF_MAPS", "MAP_TYPES", "PIN_BY_NAME", "PIN_NONE", "MapDef",
    "add_btf_map", "kconfig_layout", "lacks_description", "map_type_name", "modernise_maps", "read_map_defs",
]  # fmt: skip
