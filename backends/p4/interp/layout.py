"""Python classes for a program's structs, headers and unions, as source text.

Undefined content (a fresh header, an uninitialised variable, what an `out` parameter starts with) comes from the
names `u<width>`, `i<width>` and `ub`, which the switch puts into the name space: see `undefined_names`.
"""

from __future__ import annotations

from fsir.backends.p4.interp.arith import wrap
from fsir.backends.p4.interp.types import (
    BOOL,
    BitType,
    EnumType,
    IntType,
    StackType,
    StructType,
    TupleType,
    Type,
    VarbitType,
    by_reference,
    holds_header,
    representation,
    width_of,
)
from fsir.backends.p4.interp.values import HEADER_TOO_SHORT, PACKET_TOO_SHORT, PARSER_INVALID_ARGUMENT

Leaf = tuple[str, Type]


def attribute(name: str) -> str:
    """The Python attribute of a P4 field."""
    return f"f_{name}"


class Layout:
    """Names the classes and writes them."""

    def __init__(self, structs: list[StructType]) -> None:
        self.names = {struct: f"S{number}_{struct.name}" for number, struct in enumerate(structs)}
        self.in_union = {
            member for struct in structs if struct.kind == "header_union" for member in struct.fields.values()
        }
        self.scalars: set[tuple[str, int]] = set()

    def source(self) -> str:
        """All classes, in the order of their declaration."""
        return "\n".join(self.class_source(struct) for struct in self.names)

    # -- values of a type ------------------------------------------------------------------------------------

    def undefined(self, type_: Type) -> str:
        """An expression for a value with unspecified content."""
        low = representation(type_)
        if isinstance(low, BitType):
            self.scalars.add(("u", low.width))
            return f"u{low.width}"
        if isinstance(low, IntType):
            self.scalars.add(("i", low.width))
            return f"i{low.width}"
        if low == BOOL:
            return "ub"
        return self.default(low, self.undefined)

    def zero(self, type_: Type) -> str:
        low = representation(type_)
        return "False" if low == BOOL else self.default(low, self.zero)

    def default(self, low: Type, inner: object) -> str:
        assert callable(inner)
        if isinstance(low, VarbitType):
            return "(0, 0)"
        if isinstance(low, StructType):
            return f"{self.names[low]}()"
        if isinstance(low, StackType):
            return f"Stack({self.names[low.elem]}, {low.size})"
        if isinstance(low, TupleType):
            return "(" + "".join(f"{inner(elem)}, " for elem in low.elems) + ")"
        return "0"

    def equal(self, type_: Type, left: str, right: str) -> str:
        return f"{left}.equals({right})" if by_reference(representation(type_)) else f"{left} == {right}"

    def packed(self, type_: Type, text: str) -> str:
        """An expression for (bits as a number, width)."""
        low = representation(type_)
        if isinstance(low, BitType):
            return f"({text}, {low.width})"
        if isinstance(low, IntType):
            return f"({text} & {(1 << low.width) - 1}, {low.width})"
        if low == BOOL:
            return f"(int({text}), 1)"
        if isinstance(low, VarbitType):
            return text
        if isinstance(low, EnumType):
            return f"({text}, 32)"
        if isinstance(low, TupleType):
            parts = ", ".join(self.packed(elem, f"{text}[{number}]") for number, elem in enumerate(low.elems))
            return f"join([{parts}])"
        return f"{text}.pack()" if by_reference(low) else f"({text}, 32)"

    # -- classes ---------------------------------------------------------------------------------------------

    def class_source(self, struct: StructType) -> str:
        base = {"struct": "Struct", "header": "Header", "header_union": "Union"}[struct.kind]
        fields = {attribute(name): representation(type_) for name, type_ in struct.fields.items()}
        extra = ["valid", "owner"] if struct.kind == "header" else []
        lines = [
            f"class {self.names[struct]}({base}):",
            f"    __slots__ = {(*extra, *fields)!r}",
            f"    FIELDS = {tuple((name, attribute(name)) for name in struct.fields)!r}",
        ]
        lines += method("__init__", "self", self.init(struct, fields))
        lines += method("reset", "self", self.refill(struct, fields, self.undefined, "reset"))
        lines += method("zero", "self", self.refill(struct, fields, self.zero, "zero"))
        lines += method("assign", "self, o", self.assign(struct, fields))
        lines += method("clone", "self", self.clone(struct, fields))
        lines += method("equals", "self, o", [f"return {self.equals(struct, fields)}"])
        lines += method("pack", "self", [f"return {self.pack(fields)}"])
        lines += self.maker(struct, fields)
        if struct.kind == "header":
            lines += self.header_methods(struct, fields)
        else:
            lines += method(
                "emit", "self, out", [f"self.{name}.emit(out)" for name, t in fields.items() if by_reference(t)]
            )
        if width_of(struct) is not None and not any(map(holds_header, struct.fields.values())):
            lines += self.from_bits(struct)
        return "\n".join(lines) + "\n"

    def init(self, struct: StructType, fields: dict[str, Type]) -> list[str]:
        body = ["self.valid = False", "self.owner = None"] if struct.kind == "header" else []
        for name, type_ in fields.items():
            body.append(f"self.{name} = {self.undefined(type_)}")
            if struct.kind == "header_union":
                body.append(f"self.{name}.owner = self")
        return body

    def refill(self, struct: StructType, fields: dict[str, Type], fill: object, deep: str) -> list[str]:
        assert callable(fill)
        body = ["self.valid = False"] if struct.kind == "header" else []
        for name, type_ in fields.items():
            body.append(f"self.{name}.{deep}()" if by_reference(type_) else f"self.{name} = {fill(type_)}")
        return body

    def copies(self, fields: dict[str, Type]) -> list[str]:
        return [
            f"self.{name}.assign(o.{name})" if by_reference(type_) else f"self.{name} = o.{name}"
            for name, type_ in fields.items()
        ]

    def assign(self, struct: StructType, fields: dict[str, Type]) -> list[str]:
        if struct.kind == "header_union":  # an invalid member must not deselect the valid one
            return [
                line
                for name in fields
                for line in (f"if o.{name}.valid: self.{name}.assign(o.{name})", f"else: self.{name}.set_invalid()")
            ]
        body = ["self.valid = o.valid"] if struct.kind == "header" else []
        body += self.copies(fields)
        if struct in self.in_union:
            body.append("if self.valid and self.owner is not None: self.owner.select(self)")
        return body

    def clone(self, struct: StructType, fields: dict[str, Type]) -> list[str]:
        body = [f"n = {self.names[struct]}.__new__({self.names[struct]})"]
        if struct.kind == "header":
            body += ["n.valid = self.valid", "n.owner = None"]
        for name, type_ in fields.items():
            body.append(f"n.{name} = self.{name}" + (".clone()" if by_reference(type_) else ""))
            if struct.kind == "header_union":
                body.append(f"n.{name}.owner = n")
        return [*body, "return n"]

    def equals(self, struct: StructType, fields: dict[str, Type]) -> str:
        tests = [self.equal(type_, f"self.{name}", f"o.{name}") for name, type_ in fields.items()]
        same = " and ".join(tests) or "True"
        if struct.kind == "header":
            return f"(not o.valid) if not self.valid else (o.valid and {same})"
        return same

    def pack(self, fields: dict[str, Type]) -> str:
        return "join([" + ", ".join(self.packed(type_, f"self.{name}") for name, type_ in fields.items()) + "])"

    def maker(self, struct: StructType, fields: dict[str, Type]) -> list[str]:
        """`make(a, b, …)`: from fresh field values, a header becoming valid."""
        if struct.kind == "header_union":
            return []
        body = [f"n = {self.names[struct]}.__new__({self.names[struct]})"]
        if struct.kind == "header":
            body += ["n.valid = True", "n.owner = None"]
        body += [f"n.{name} = {name}" for name in fields]
        return ["    @staticmethod", *method("make", ", ".join(fields), [*body, "return n"])]

    # -- bits ------------------------------------------------------------------------------------------------

    def leaves(self, struct: StructType, prefix: str) -> list[Leaf]:
        """Scalar fields in order, those of nested structs included, as attribute paths."""
        found: list[Leaf] = []
        for name, type_ in struct.fields.items():
            low = representation(type_)
            path = f"{prefix}.{attribute(name)}"
            found += self.leaves(low, path) if isinstance(low, StructType) else [(path, low)]
        return found

    def unpack(self, leaves: list[Leaf], source: str) -> list[str]:
        """Statements that distribute the number `source` over fixed-size leaves, the last one lowest."""
        shift, lines = 0, []
        for path, type_ in reversed(leaves):
            width = width_of(type_)
            assert width is not None
            value = f"{source} >> {shift} & {(1 << width) - 1}" if shift else f"{source} & {(1 << width) - 1}"
            if isinstance(type_, IntType):
                half = 1 << (width - 1)
                value = f"(({value}) ^ {half}) - {half}"
            elif type_ == BOOL:
                value = f"({value}) != 0"
            lines.append(f"{path} = {value}")
            shift += width
        return lines[::-1]

    def packing(self, leaves: list[Leaf]) -> tuple[str, int]:
        """The reverse of `unpack`: an expression and its width."""
        total, terms = 0, []
        for path, type_ in reversed(leaves):
            width = width_of(type_)
            assert width is not None
            text = f"({path} & {(1 << width) - 1})" if isinstance(type_, IntType) else path
            terms.append(f"{text} << {total}" if total else text)
            total += width
        return " | ".join(terms[::-1]) or "0", total

    def header_methods(self, struct: StructType, fields: dict[str, Type]) -> list[str]:
        select = ["if self.owner is not None: self.owner.select(self)"] if struct in self.in_union else []
        refill = self.refill(struct, fields, self.undefined, "reset")
        lines = method("set_invalid", "self", ["if self.valid:", *indent(refill)])
        lines += method("set_valid", "self", ["if not self.valid:", *indent([*refill, "self.valid = True", *select])])
        leaves = self.leaves(struct, "self")
        varbits = [position for position, (_, type_) in enumerate(leaves) if isinstance(type_, VarbitType)]
        if not varbits:
            return lines + self.fixed_header(leaves, select)
        return lines + self.variable_header(leaves, varbits[0], select)

    def fixed_header(self, leaves: list[Leaf], select: list[str]) -> list[str]:
        value, width = self.packing(leaves)
        read = [
            "pos = p.pos",
            f"end = pos + {width}",
            f"if end > p.bits: raise Reject({PACKET_TOO_SHORT})",
            f"v = p.lookahead({width}) if pos & 7 else int.from_bytes(p.data[pos >> 3:end >> 3], 'big')",
            "p.pos = end",
            *self.unpack(leaves, "v"),
            "self.valid = True",
            *select,
        ]
        write = [f"if self.valid: out.append(({value}).to_bytes({width // 8}, 'big'))"]
        return method("extract", "self, p", read) + method("emit", "self, out", write)

    def variable_header(self, leaves: list[Leaf], position: int, select: list[str]) -> list[str]:
        before, (path, type_), after = leaves[:position], leaves[position], leaves[position + 1 :]
        (first, high), (rest, low) = self.packing(before), self.packing(after)
        assert isinstance(type_, VarbitType)
        read = [
            f"if n & 7: raise Reject({PARSER_INVALID_ARGUMENT})",
            f"if p.pos + {high + low} + n > p.bits: raise Reject({PACKET_TOO_SHORT})",
            f"if n > {type_.width}: raise Reject({HEADER_TOO_SHORT})",
            f"v = p.take({high})" if high else "v = 0",
            *self.unpack(before, "v"),
            f"{path} = (p.take(n), n)",
            f"v = p.take({low})" if low else "v = 0",
            *self.unpack(after, "v"),
            "self.valid = True",
            *select,
        ]
        write = [
            "if not self.valid: return",
            f"value, bits = join([({first}, {high}), {path}, ({rest}, {low})])",
            "out.append(value.to_bytes(bits >> 3, 'big'))",
        ]
        return method("extract_var", "self, p, n", read) + method("emit", "self, out", write)

    def from_bits(self, struct: StructType) -> list[str]:
        """`from_bits(v)`: what lookahead gives."""
        valid = ["n.valid = True"] if struct.kind == "header" else []
        body = [f"n = {self.names[struct]}()", *valid, *self.unpack(self.leaves(struct, "n"), "v"), "return n"]
        return ["    @staticmethod", *method("from_bits", "v", body)]


def indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def method(name: str, params: str, body: list[str]) -> list[str]:
    return [f"    def {name}({params}):", *(f"        {line}" for line in body or ["pass"])]


def undefined_names(scalars: set[tuple[str, int]], pattern: int) -> dict[str, int | bool]:
    """Values for the names of undefined content: zeros where `pattern` is 0, else junk that depends on it."""
    names: dict[str, int | bool] = {"ub": bool(pattern & 1)}
    for mark, width in scalars:
        junk = 0
        for _ in range(0, width, 32):
            junk = junk << 32 | (pattern * 0x9E3779B1 & 0xFFFFFFFF)
        names[f"{mark}{width}"] = wrap(junk, BitType(width) if mark == "u" else IntType(width))
    return names
