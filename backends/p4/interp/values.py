"""Run-time values of headers, stacks and unions, and the packet they are read from.

The classes of a program's own structs and headers are generated (`layout`); these are their bases. A parser error
is the exception `Reject`; `exit` is `ExitBlock`.
"""

from __future__ import annotations

from typing import Any


class Reject(Exception):
    """The parser stops; `code` is the number of the P4 error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ExitBlock(Exception):
    """The `exit` statement: ends the whole ingress or egress."""


# Numbers of core.p4's errors: the prelude declares them first, in this order.
NO_ERROR, PACKET_TOO_SHORT, NO_MATCH, STACK_OUT_OF_BOUNDS, HEADER_TOO_SHORT = range(5)
PARSER_TIMEOUT, PARSER_INVALID_ARGUMENT = 5, 6


def reject(code: int) -> None:
    raise Reject(code)


def verify(check: bool, code: int) -> None:
    if not check:
        raise Reject(code)


class PacketIn:
    """The bytes of a packet with a position in bits."""

    __slots__ = ("bits", "data", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0
        self.bits = len(data) * 8

    def lookahead(self, width: int) -> int:
        """The next `width` bits as a number."""
        pos = self.pos
        end = pos + width
        if end > self.bits:
            raise Reject(PACKET_TOO_SHORT)
        last = (end + 7) >> 3
        value = int.from_bytes(self.data[pos >> 3 : last], "big")
        return (value >> ((last << 3) - end)) & ((1 << width) - 1)

    def take(self, width: int) -> int:
        value = self.lookahead(width)
        self.pos += width
        return value

    def advance(self, width: int) -> None:
        if self.pos + width > self.bits:
            raise Reject(PACKET_TOO_SHORT)
        self.pos += width

    def length(self) -> int:
        return len(self.data)


class Struct:
    """Base of generated structs. `FIELDS` maps P4 field names to attributes."""

    __slots__ = ()
    FIELDS: tuple[tuple[str, str], ...] = ()

    def dump(self) -> dict[str, Any]:
        """The content as plain Python values; an invalid header is None."""
        return {name: plain(getattr(self, attribute)) for name, attribute in self.FIELDS}


class Header(Struct):
    """Base of generated headers, which add `valid`, `owner` (their union or None) and the fields."""

    __slots__ = ()


class Union(Struct):
    """Base of generated header unions: at most one member is valid."""

    __slots__ = ()

    def is_valid(self) -> bool:
        return any(getattr(self, attribute).valid for _, attribute in self.FIELDS)

    def select(self, chosen: Header) -> None:
        """`chosen` became valid: every other member becomes invalid."""
        for _, attribute in self.FIELDS:
            member = getattr(self, attribute)
            if member is not chosen:
                member.set_invalid()


class Stack:
    """A header stack; `next` is the index that `stack.next` denotes."""

    __slots__ = ("elem", "items", "next")

    def __init__(self, elem: type, size: int) -> None:
        self.elem = elem
        self.items = [elem() for _ in range(size)]
        self.next = 0

    def at(self, index: int) -> Any:
        """The element at a run-time index; outside of the stack an invalid header whose writes are lost."""
        return self.items[index] if 0 <= index < len(self.items) else self.elem()

    def next_item(self) -> Any:
        if self.next >= len(self.items):
            raise Reject(STACK_OUT_OF_BOUNDS)
        return self.items[self.next]

    def last_item(self) -> Any:
        if self.next == 0:
            raise Reject(STACK_OUT_OF_BOUNDS)
        return self.items[self.next - 1]

    def push_front(self, count: int) -> None:
        size = len(self.items)
        count = min(count, size)
        self.items = [self.elem() for _ in range(count)] + self.items[: size - count]
        self.next = min(self.next + count, size)

    def pop_front(self, count: int) -> None:
        count = min(count, len(self.items))
        self.items = self.items[count:] + [self.elem() for _ in range(count)]
        self.next = max(self.next - count, 0)

    def reset(self) -> None:
        for item in self.items:
            item.reset()
        self.next = 0

    def zero(self) -> None:
        self.reset()

    def assign(self, other: Stack) -> None:
        for mine, theirs in zip(self.items, other.items, strict=True):
            mine.assign(theirs)
        self.next = other.next

    def clone(self) -> Stack:
        new = Stack.__new__(Stack)
        new.elem, new.next = self.elem, self.next
        new.items = [item.clone() for item in self.items]
        return new

    def equals(self, other: Stack) -> bool:
        return all(mine.equals(theirs) for mine, theirs in zip(self.items, other.items, strict=True))

    def emit(self, out: list[bytes]) -> None:
        for item in self.items:
            item.emit(out)

    def pack(self) -> tuple[int, int]:
        return join([item.pack() for item in self.items])


def join(parts: list[tuple[int, int]]) -> tuple[int, int]:
    """Concatenate (value, width) pairs, first one highest."""
    value = width = 0
    for part, size in parts:
        value = value << size | part
        width += size
    return value, width


def plain(value: Any) -> Any:
    """A run-time value as ints, bools, lists and dicts."""
    if isinstance(value, Header):
        return value.dump() if value.valid else None  # type: ignore[attr-defined]
    if isinstance(value, Struct):
        return value.dump()
    if isinstance(value, Stack):
        return [plain(item) for item in value.items]
    return value
