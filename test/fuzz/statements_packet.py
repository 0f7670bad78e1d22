"""Statements on packets: guards, headers, copies, resizing."""

from __future__ import annotations

from fuzz.base import Base
from fuzz.expressions import Scope

HEADERS = {"eth": 14, "tag": 4, "ip4": 20, "ip6": 40, "tcp": 20, "udp": 8}
SELECTORS = {
    "eth": ("type", {"0x0008": "ip4", "0xdd86": "ip6", "0x0081": "tag"}),
    "tag": ("type", {"0x0008": "ip4", "0xdd86": "ip6"}),
    "ip4": ("proto", {"6": "tcp", "17": "udp"}),
    "ip6": ("next", {"6": "tcp", "17": "udp"}),
}


class PacketStatements(Base):
    """Each method writes one statement, or one block."""

    def guard(self, scope: Scope, pointer: str, length: int) -> None:
        """Prove `length` bytes behind `pointer`, or leave."""
        name = self.fresh("p")
        leave = self.leave()
        p = f"((u8 *){pointer})"
        styles = (
            f"if ({p} + {length} > (u8 *)end) {leave}",
            f"if ((void *){p} + {length} > end) {leave}",
            f"if (end < (void *){p} + {length}) {leave}",
            f"if ({p} + {length - 1} >= (u8 *)end) {leave}",
            f"if (!({p} + {length} <= (u8 *)end)) {leave}",
            f"if (!((u8 *)end > {p} + {length - 1})) {leave}",
            f"struct {{ u8 b[{length}]; }} *{name}h = (void *){p}; if ((void *)({name}h + 1) > end) {leave}",
        )
        self.add(self.rng.choice(styles))
        self.add(f"u8 *{name} = {p};")
        scope.packets.append((name, length))

    def guard_more(self, scope: Scope) -> None:
        pointer, length = self.rng.choice(scope.packets) if scope.packets else ("data", 0)
        at = self.rng.choice((0, 0, length, length, 2))
        name = self.fresh("q")
        self.add(f"u8 *{name} = (u8 *){pointer} + {at};")
        self.guard(scope, name, self.rng.choice((1, 2, 4, 8, 14, 20, 40)))

    def guarded_block(self, scope: Scope) -> None:
        """Accesses inside of the condition that allows them."""
        pointer, length = self.rng.choice(scope.packets) if scope.packets else ("data", 0)
        name = self.fresh("p")
        self.add(f"u8 *{name} = (u8 *){pointer} + {self.rng.choice((0, length, 14))};")
        more = self.rng.choice((1, 2, 4, 8, 20))
        head = (
            f"if ({name} + {more} <= (u8 *)end)",
            f"if (!({name} + {more} > (u8 *)end))",
            f"if ((u8 *)end >= {name} + {more})",
        )
        inner = scope.copy()
        inner.packets.append((name, more))
        self.open(self.rng.choice(head))
        self.body(inner)
        self.close()

    def variable_offset(self, scope: Scope) -> None:
        """A header at a distance that another one gives."""
        if not scope.packets:
            return self.guard_more(scope)
        pointer, length = self.rng.choice(scope.packets)
        name, distance = self.fresh("q"), self.fresh("n")
        source = f"{pointer}[{self.rng.randrange(length)}]"
        formula = self.rng.choice((
            f"({source} & 15) * 4", f"({source} & 0xf) << 2", f"{source} >> 4 << 2", f"({source} >> 2) & 60",
            f"(({source} & 15) << 2) + 14", f"{source}", f"({source} + 1) * 8", f"{source} & 63",
        ))  # fmt: skip
        type_ = self.rng.choice(("u32", "u8", "u64", "int", "u16"))
        self.add(f"{type_} {distance} = {formula};")
        if self.rng.random() < 0.4:
            self.add(f"if ({distance} {self.rng.choice(('< 20', '> 200', '== 0', '!= 20'))}) {self.leave()}")
        self.add(f"u8 *{name} = (u8 *){pointer} + {distance};")
        scope.variables.append((distance, "u32"))
        self.guard(scope, name, self.rng.choice((1, 4, 8, 20)))

    def parse(self, scope: Scope) -> None:
        """Headers one behind the other, as far as the types say."""
        at, header = "data", "eth"
        inner = scope.copy()
        opened = 0
        while True:
            name = self.fresh("h")
            self.add(f"struct {header} *{name} = (void *)((u8 *){at} + 0);")
            if self.rng.random() < 0.5 or opened:
                self.open(f"if ((void *)({name} + 1) <= end)")
                opened += 1
            else:
                self.add(f"if ((void *)({name} + 1) > end) {self.leave()}")
            inner.packets.append((f"((u8 *){name})", HEADERS[header]))
            self.add(f"acc += {self.field(name, header)};")
            if header not in SELECTORS or self.rng.random() < 0.2:
                break
            field, following = SELECTORS[header]
            value, next_header = self.rng.choice(sorted(following.items()))
            self.open(f"if ({name}->{field} == {value})")
            opened += 1
            if header == "ip4" and self.rng.random() < 0.6:
                at = f"{name} + {name}->ihl * 4"
                self.add(f"u8 *{name}n = (u8 *){at};")
            else:
                self.add(f"u8 *{name}n = (u8 *)({name} + 1);")
            at, header = f"{name}n", next_header
        self.body(inner)
        for _ in range(opened):
            self.close()

    def field(self, name: str, header: str) -> str:
        fields = {
            "eth": ("type", "src[2]", "dst[5]"), "tag": ("tci", "type"),
            "ip4": ("ihl", "version", "ttl", "check", "src", "frag & 0xff1f"), "ip6": ("version", "next", "src[3]"),
            "tcp": ("doff", "syn", "fin", "seq", "rest"), "udp": ("len", "dst"),
        }  # fmt: skip
        return f"({name}->{self.rng.choice(fields[header])})"

    def copy_out(self, scope: Scope) -> None:
        """Bytes of the packet on the stack."""
        usable = [(p, n) for p, n in scope.packets if n >= 4]
        if not usable:
            return self.guard_more(scope)
        pointer, length = self.rng.choice(usable)
        size = self.rng.choice([s for s in (2, 4, 8, 16, 32) if s <= length])
        name = self.fresh("b")
        self.add(f"u8 {name}[{size}];")
        copy = self.rng.choice(("__builtin_memcpy", "loop"))
        at = self.rng.randrange(length - size + 1)
        if copy == "loop":
            self.add(f"for (int k = 0; k < {size}; k++) {name}[k] = {pointer}[k + {at}];")
        else:
            self.add(f"__builtin_memcpy({name}, {pointer} + {at}, {size});")
        scope.arrays.append((name, "u8", size))

    def copy_in(self, scope: Scope) -> None:
        """Bytes of the packet elsewhere in the packet, or exchanged."""
        usable = [(p, n) for p, n in scope.packets if n >= 12]
        if not usable:
            return self.assign(scope)
        pointer, length = self.rng.choice(usable)
        size = self.rng.choice((2, 4, 6))
        temporary = self.fresh("t")
        a, b = 0, self.rng.randrange(size, length - size + 1)
        self.add(f"u8 {temporary}[{size}];")
        self.add(f"__builtin_memcpy({temporary}, {pointer} + {a}, {size});")
        self.add(f"__builtin_memcpy({pointer} + {a}, {pointer} + {b}, {size});")
        self.add(f"__builtin_memcpy({pointer} + {b}, {temporary}, {size});")

    def adjust(self, scope: Scope) -> None:
        """Another size: addresses are taken again. Only where nothing outside still uses the old ones."""
        if self.depth > 1:
            return self.assign(scope)
        helper = self.rng.choice(("adjust_head", "adjust_tail", "adjust_meta"))
        by = {
            "adjust_head": ("-14", "-20", "4", "14", "-4", "20"),
            "adjust_tail": ("-4", "8", "-20", "32", "(int)(acc & 31) - 16"),
            "adjust_meta": ("-4", "-8", "-16", "-32", "4"),
        }[helper]
        result = self.fresh("r")
        self.add(f"int {result} = {helper}(ctx, {self.rng.choice(by)});")
        if self.rng.random() < 0.7:
            self.add(f"if ({result}) {self.leave()}")
        self.add("data = (void *)(long)ctx->data;")
        self.add("end = (void *)(long)ctx->data_end;")
        scope.packets.clear()
        scope.variables.append((result, "s32"))
        if helper == "adjust_meta":
            meta = self.fresh("m")
            self.add(f"u32 *{meta} = (void *)(long)ctx->data_meta;")
            self.add(f"if ((void *)({meta} + 1) <= data) *{meta} = {self.exprs.make(scope, 2)};")
        self.guard(scope, "data", self.rng.choice((14, 18, 34)))

    def indexed(self, scope: Scope) -> None:
        """A byte or word at an index, read or written."""
        usable = [(packet, n) for packet, n in scope.packets if n >= 8]
        if not usable:
            return self.guard_more(scope)
        pointer, length = self.rng.choice(usable)
        size = self.rng.choice((1, 1, 2, 4))
        limit = max(m for m in (1, 3, 7, 15, 31) if m + size <= length)
        index = f"{pointer} + BOUND({self.exprs.leaf(scope)}, {limit})"
        kind = f"u{8 * size}"
        if self.rng.random() < 0.5:
            self.add(f"acc = acc * 5 + *({kind} *)({index});")
        else:
            self.add(f"*({kind} *)({index}) {self.rng.choice(('=', '+=', '^='))} {self.exprs.make(scope, 1)};")

    def distance(self, scope: Scope) -> None:
        """Distances between addresses, as numbers."""
        pointers = ["data", *(pointer for pointer, _ in scope.packets)]
        name = self.fresh("v")
        a, b = self.rng.choice(["end", *pointers]), self.rng.choice(pointers)
        self.add(f"{self.rng.choice(('s64', 'u32', 'u16'))} {name} = (u8 *){a} - (u8 *){b};")
        scope.variables.append((name, "u32"))
        if self.rng.random() < 0.3:
            self.add(f"if ((u8 *){a} {self.rng.choice(('==', '!=', '<', '>='))} (u8 *){b} + 14) acc += 3;")

    def either_pointer(self, scope: Scope) -> None:
        """An address that depends on a condition."""
        pointer, length = self.rng.choice(scope.packets) if scope.packets else ("data", 0)
        name = self.fresh("q")
        first, second = self.rng.sample((0, 4, 8, 14, 18, length), 2)
        self.add(f"u8 *{name} = (u8 *){pointer} + {first};")
        self.add(
            f"if ({self.exprs.condition(scope, 1)}) {name} = (u8 *){self.rng.choice(('data', pointer))} + {second};"
        )
        self.guard(scope, name, self.rng.choice((1, 4, 8, 20)))

    def again(self, scope: Scope) -> None:
        """The packet's addresses taken a second time."""
        start, limit = self.fresh("d"), self.fresh("n")
        self.add(f"void *{start} = (void *)(long)ctx->data, *{limit} = (void *)(long)ctx->data_end;")
        length = self.rng.choice((1, 14, 20, 34))
        first = self.rng.choice((start, "data"))
        self.add(f"if ({first} + {length} > {self.rng.choice((limit, limit, 'end'))}) {self.leave()}")
        scope.packets.append((f"((u8 *){first})", length))

    def kept_pointer(self, scope: Scope) -> None:
        """An address of the packet that is kept on the stack."""
        if not scope.packets:
            return self.guard_more(scope)
        pointer, length = self.rng.choice(scope.packets)
        name = self.fresh("q")
        at = self.rng.randrange(length)
        self.add(f"u8 *volatile {name}k = (u8 *){pointer} + {at};")
        self.mix(scope)
        self.add(f"u8 *{name} = {name}k;")
        scope.packets.append((name, length - at))

    def metadata(self, scope: Scope) -> None:
        """What stands in front of the packet."""
        name = self.fresh("m")
        self.add(f"u8 *{name} = (void *)(long)ctx->data_meta;")
        self.add(f"if ({name} + 4 <= (u8 *)data) acc ^= *(u32 *){name};")
        self.add(f"acc += (u8 *)data - {name};")

    def load_bytes(self, scope: Scope) -> None:
        """Bytes moved by helpers, while addresses of the packet are held."""
        name = self.fresh("b")
        size, at = self.rng.choice((1, 4, 8, 14)), self.rng.choice(("0", "2", "14", "BOUND(acc, 31)"))
        self.add(f"u8 {name}[16] = {{ {self.exprs.make(scope, 1)} }};")
        if self.rng.random() < 0.5:
            self.add(f"acc += load_bytes(ctx, {at}, {name}, {size});")
        else:
            before = self.exprs.packet_read(scope) if scope.packets else "1"
            self.add(f"acc = acc * 3 + {before};")
            self.add(f"acc += store_bytes(ctx, {at}, {name}, {size});")
            self.add(f"acc = acc * 3 + {before};")
        scope.arrays.append((name, "u8", 16))

    def same(self, scope: Scope) -> None:
        """Bytes compared."""
        usable = [(packet, n) for packet, n in scope.packets if n >= 8]
        if not usable:
            return self.guard_more(scope)
        pointer, length = self.rng.choice(usable)
        other = self.rng.randrange(length - 7)
        terms = []
        at = 0
        for size in self.rng.choice(((4, 2), (8,), (4, 4), (2, 4, 2), (2, 2, 2))):
            left, right = (f"*(u{8 * size} *)({pointer} + {place})" for place in (at, at + other))
            terms.append((left, self.rng.choice((right, str(self.rng.randrange(1 << 8 * size)) + "ull"))))
            at += size
        alike = " && ".join(f"{a} == {b}" for a, b in terms)
        differences = " | ".join(f"({a} ^ {b})" for a, b in terms)
        self.open(f"if ({self.rng.choice((alike, f'!({differences})'))})")
        self.body(scope.copy(), 2)
        self.close()

    def moved(self, scope: Scope) -> None:
        """An address that a subprogram moves."""
        name = self.fresh("q")
        self.subprograms.need("mover")
        pointer = self.rng.choice(["data", *(pointer for pointer, _ in scope.packets)])
        self.add(f"u8 *{name} = f_mover((u8 *){pointer}, {self.exprs.make(scope, 1)});")
        self.guard(scope, name, self.rng.choice((1, 4, 14)))

    def resized(self, scope: Scope) -> None:
        """A subprogram that resizes the packet."""
        if self.depth > 1:
            return self.assign(scope)
        self.subprograms.need("resizer")
        self.add(f"if (f_resizer(ctx, {self.exprs.make(scope, 1)})) {self.leave()}")
        self.add("data = (void *)(long)ctx->data;")
        self.add("end = (void *)(long)ctx->data_end;")
        scope.packets.clear()
        self.guard(scope, "data", self.rng.choice((1, 14, 34)))
