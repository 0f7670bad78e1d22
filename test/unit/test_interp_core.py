"""CO-RE relocations against types made up for the purpose; the kernel's are in test/kernel."""

from __future__ import annotations

import pytest

from fsir.interp.core_values import Relocation, Value, essential, value_of
from fsir.interp.kernel_types import KernelTypes
from fsir.object.btf import Btf, Kind, Type
from fsir.object.errors import ObjectError


def local_types() -> tuple[Btf, int]:
    """struct thing___v2 { u32 a; u32 list[4]; }."""
    btf = Btf()
    word = btf.add_int("unsigned int", 4)
    array = btf.add_array(word, 4)
    return btf, btf.add_struct("thing___v2", 20, [("a", word, 0), ("list", array, 4)])


def kernel_with(*structs: tuple[str, int, list[tuple[str, str, int]]]) -> KernelTypes:
    """Structs of `u32`, `u64`, `s64`, `list` and of structs before, which are anonymous members without a name."""
    btf = Btf()
    types = {"u32": btf.add_int("unsigned int", 4), "u64": btf.add_int("unsigned long", 8)}
    types["s64"] = btf.add_int("long", 8, signed=True)
    types["list"] = btf.add_array(types["u32"], 8)
    for name, size, members in structs:
        fields = [(member, types[type_], offset) for member, type_, offset in members]
        types[name] = btf.add_struct("" if name.startswith("(") else name, size, fields)
    return KernelTypes(btf.to_bytes())


def ask(kernel: KernelTypes, access: str, kind: Relocation = Relocation.FIELD_BYTE_OFFSET) -> Value | None:
    local, thing = local_types()
    return value_of(local, kernel, thing, access, kind)


def test_members_are_found_by_name_also_in_anonymous_ones() -> None:
    inner = ("(inner)", 8, [("b", "u32", 0), ("a", "u32", 4)])
    kernel = kernel_with(inner, ("thing", 48, [("x", "u64", 0), ("", "(inner)", 8), ("list", "list", 16)]))
    assert ask(kernel, "0:0") == Value(12, 4, True)
    assert ask(kernel, "1:0") == Value(48 + 12, 4, True)
    assert ask(kernel, "0:1:3") == Value(16 + 12, 4, True)
    assert ask(kernel, "0:1", Relocation.FIELD_BYTE_SIZE) == Value(32)


def test_sizes_that_differ() -> None:
    assert ask(kernel_with(("thing", 16, [("a", "u64", 8)])), "0:0") == Value(8, 8, True)
    assert ask(kernel_with(("thing", 16, [("a", "s64", 8)])), "0:0") == Value(8, 8, False)


def test_what_is_not_there() -> None:
    for kernel in (
        kernel_with(),
        kernel_with(("thing", 8, [("b", "u32", 0)])),
        kernel_with(("thing", 4, [("a", "list", 0)])),
    ):
        assert ask(kernel, "0:0") is None
        assert ask(kernel, "0:0", Relocation.FIELD_EXISTS) == Value(0)
    assert ask(kernel_with(), "0", Relocation.TYPE_SIZE) is None
    assert ask(kernel_with(), "0", Relocation.TYPE_EXISTS) == Value(0)


def test_several_definitions_must_agree() -> None:
    same = kernel_with(("thing", 8, [("a", "u32", 4)]), ("thing___old", 8, [("a", "u32", 4)]))
    assert ask(same, "0:0") == Value(4, 4, True)
    different = kernel_with(("thing", 8, [("a", "u32", 4)]), ("thing___old", 8, [("a", "u32", 0)]))
    with pytest.raises(ObjectError, match=r"'thing' \(0:0\) has several answers"):
        ask(different, "0:0")


@pytest.mark.parametrize(
    ("type_id", "access", "kind"), [(99, "0", 0), (2, "0:x", 0), (2, "", 0), (2, "0", 13), (4, "0:9", 0)]
)
def test_nonsense_is_an_error(type_id: int, access: str, kind: int) -> None:
    local, _ = local_types()
    with pytest.raises(ObjectError, match="CO-RE relocation"):
        value_of(local, kernel_with(("thing", 8, [("a", "u32", 4)])), type_id, access, kind)


def test_flavors() -> None:
    assert essential("task_struct___v2") == "task_struct"
    assert essential("a___b___c") == "a___b"
    assert essential("___c") == "___c"
    assert essential("plain") == "plain"


def test_what_is_no_btf() -> None:
    with pytest.raises(ObjectError, match="not the types of a kernel"):
        KernelTypes(b"nonsense")
    unknown = Btf(types=[Type(Kind.VOID)])
    data = bytearray(unknown.to_bytes())
    assert len(KernelTypes(bytes(data)).types) == 1
