"""What v1model asks of a program beyond the language: what its checksum and deparser blocks may contain, and what
the data of hashes and checksums may be."""

from __future__ import annotations

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.externs import ALGORITHMS
from fsir.backends.p4.interp.symbols import Callee, InstanceSym
from fsir.backends.p4.interp.types import (
    BOOL,
    BitType,
    StackType,
    StructType,
    TupleType,
    Type,
    VarbitType,
    is_number,
    representation,
)

CHECKSUMS = ("verify_checksum", "update_checksum", "verify_checksum_with_payload", "update_checksum_with_payload")
NUMBERS = ("result", "checksum", "base", "max", "lo", "hi")
# Of V1Switch's parameters: the externs that its block may call, and nothing else but blocks and return.
ALLOWED: dict[str, tuple[str, ...]] = {
    "vr": ("verify_checksum", "verify_checksum_with_payload", "assert", "assume", "log_msg"),
    "ck": ("update_checksum", "update_checksum_with_payload", "assert", "assume", "log_msg"),
    "dep": ("emit",),
}


def check_role(role: str, instance: InstanceSym) -> None:
    """Raise where the block given for V1Switch's parameter `role` does what BMv2 has no place for there."""
    allowed = ALLOWED.get(role)
    decl = getattr(instance.of, "decl", None)
    if allowed is None or not isinstance(decl, tree.ControlDecl) or decl.body is None:
        return
    for local in decl.locals:
        if isinstance(local, tree.ActionDecl | tree.TableDecl | tree.Instantiation):
            raise P4Error(local.loc, f"'{decl.name}' may only call {', '.join(allowed)}")
    check_statements(decl.name, decl.body.body, allowed)


def check_statements(owner: str, stmts: list[tree.Stmt], allowed: tuple[str, ...]) -> None:
    for stmt in stmts:
        match stmt:
            case tree.Block(body=body):
                check_statements(owner, body, allowed)
            case tree.CallStmt(call=tree.Call(target=Callee(name=name))) if name in allowed:
                pass
            case tree.Return():
                pass
            case _:
                raise P4Error(stmt.loc, f"'{owner}' may only call {', '.join(allowed)}")


def check_extern_call(expr: tree.Call, callee: Callee) -> None:
    """Types that the declarations of v1model leave open and BMv2 does not."""
    if callee.owner:
        return
    given = dict(zip((param.name for param in callee.params), expr.bound, strict=True))
    data, algorithm = given.get("data"), given.get("algo")
    if callee.name == "log_msg" and data is not None and not isinstance(data.type, TupleType):
        raise P4Error(data.loc, f"the values of a message are a list {{…}}, not {data.type}")
    if callee.name == "hash" or callee.name in CHECKSUMS:
        assert data is not None
        if not hashable(data.type):
            raise P4Error(data.loc, f"{data.type} has no bits to be hashed")
        if isinstance(algorithm, tree.Const) and ALGORITHMS[int(algorithm.value)][1] is None:
            raise P4Error(algorithm.loc, f"hash algorithm {ALGORITHMS[int(algorithm.value)][0]} is not modelled")
    for name in NUMBERS:
        value = given.get(name)
        if value is not None and not isinstance(representation(value.type), BitType):
            raise P4Error(value.loc, f"argument '{name}' of '{callee.name}' must be bit<N>, not {value.type}")


def hashable(type_: Type) -> bool:
    low = representation(type_)
    if isinstance(low, TupleType):
        return all(hashable(elem) for elem in low.elems)
    if isinstance(low, StructType):
        return all(hashable(field) for field in low.fields.values())
    if isinstance(low, StackType):
        return hashable(low.elem)
    return is_number(low) or low == BOOL or isinstance(low, VarbitType)
