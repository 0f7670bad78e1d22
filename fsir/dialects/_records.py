"""What verifiers of operations check of the attributes that have an inner form: numbers, dictionaries, hexadecimal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xdsl.dialects.builtin import DictionaryAttr, IntAttr, StringAttr
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException


def check_numbers(properties: Mapping[str, Attribute], bits: Mapping[str, int]) -> None:
    """Raise VerifyException unless the integers among `properties` are unsigned numbers of that many bits."""
    for name, width in bits.items():
        attr = properties.get(name)
        if isinstance(attr, IntAttr) and not 0 <= attr.data < 1 << width:
            raise VerifyException(f"{name} is {attr.data}, must be an unsigned number of {width} bits")


def check_record(what: str, record: Attribute, fields: Mapping[str, type[Attribute]]) -> None:
    """Raise VerifyException unless `record` is a dictionary with `fields`, each of the type given."""
    entries = record.data if isinstance(record, DictionaryAttr) else {}
    for name, kind in fields.items():
        if not isinstance(entries.get(name), kind):
            raise VerifyException(f"{what} must be a dictionary with {_listed(fields)}, not {record}")


def check_records(what: str, records: Iterable[Attribute] | None, fields: Mapping[str, type[Attribute]]) -> None:
    """`check_record` for each of `records`."""
    for record in records or ():
        check_record(what, record, fields)


def check_hex(what: str, text: StringAttr | None) -> bytes:
    """The bytes that `text` is in hexadecimal, none if it is absent. Raises VerifyException."""
    try:
        return bytes.fromhex(text.data) if text is not None else b""
    except ValueError as error:
        raise VerifyException(f"{what} is not hexadecimal ({error})") from error


def check_bytes(what: str, text: StringAttr, length: int) -> None:
    """Raise VerifyException unless `text` is `length` bytes in hexadecimal."""
    if len(data := check_hex(what, text)) != length:
        raise VerifyException(f"{what} is {len(data)} bytes, must be {length}")


def _listed(fields: Mapping[str, type[Attribute]]) -> str:
    return ", ".join(f"{name} ({_KINDS.get(kind, kind.name)})" for name, kind in fields.items())


_KINDS: dict[type[Attribute], str] = {IntAttr: "#builtin.int", StringAttr: "string"}
