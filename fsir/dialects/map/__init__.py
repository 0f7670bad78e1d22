"""The `map` dialect: what a program does to its maps.

Keys and values are SSA values, not stack addresses: a key is the concatenation of its operands in memory order, each as
wide as its type, little-endian; together they are exactly the map's key size, padding included.  Where a key's bytes
are not all known, the `_at` operations take the address instead.  A lookup gives the address of the value, or null.

A map that is not known by name (one in a map of maps, one of several that a branch chooses among) is a handle: the
`_via` operations take it as an operand.  What else helpers do with maps is an operation each, with a handle, too
(`calls.py`).
"""

from xdsl.ir import Dialect

from fsir.dialects.map.calls import CALL_OF, CALLS, MapCallOp
from fsir.dialects.map.decl import SOCKET_MAPS, DeclOp, declaration_of
from fsir.dialects.map.ops import (
    AtomicOp,
    DeleteAtOp,
    DeleteOp,
    HitOp,
    LoadOp,
    LookupAtOp,
    LookupOp,
    RedirectOp,
    StoreOp,
    UpdateAtOp,
    UpdateOp,
)
from fsir.dialects.map.types import HandleType, MapsType, ValueType, described, inner_name, outer_name

MAP = Dialect(
    "map",
    [
        DeclOp,
        LookupOp,
        LookupAtOp,
        UpdateOp,
        UpdateAtOp,
        DeleteOp,
        DeleteAtOp,
        RedirectOp,
        HitOp,
        LoadOp,
        StoreOp,
        AtomicOp,
        *CALLS.values(),
    ],
    [HandleType, ValueType],
)

__all__ = [
    "CALLS",
    "CALL_OF",
    "MAP",
    "SOCKET_MAPS",
    "AtomicOp",
    "DeclOp",
    "DeleteAtOp",
    "DeleteOp",
    "HandleType",
    "HitOp",
    "LoadOp",
    "LookupAtOp",
    "LookupOp",
    "MapCallOp",
    "MapsType",
    "RedirectOp",
    "StoreOp",
    "UpdateAtOp",
    "UpdateOp",
    "ValueType",
    "declaration_of",
    "described",
    "inner_name",
    "outer_name",
]
