"""Back to a function's original code, where lowering cannot do better."""

from __future__ import annotations

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Region

from fsir.dialects.ebpf import FuncOp
from fsir.object.code import Code
from fsir.object.lift import lift


def restore_original(func: FuncOp, reason: str) -> None:
    """Give a function its original machine code again and note why (`keep`). Locations of lines come back with it.

    The function must have an `original`; names in it (of maps, functions, data) must still exist in the module.
    """
    body = original_body(func)
    old = func.detach_region(func.body)
    func.add_region(body)
    old.drop_all_references()
    func.properties["keep"] = StringAttr(reason)


def original_body(func: FuncOp) -> Region:
    """A function's original machine code, as operations. The function must have an `original`."""
    assert func.original is not None, f"{func.symbol} has no original code"
    code = Code.from_attribute(func.original)
    arguments = 1 if func.type_name is not None else max(len(func.entry.args), 1)
    return lift(code, arguments, func.section.data)


def original_size(func: FuncOp) -> int | None:
    """Length of a function's original code in 8-byte instruction slots; None without one."""
    if func.original is None:
        return None
    code = func.original.data["code"]
    assert isinstance(code, StringAttr)
    return len(code.data) // 16
