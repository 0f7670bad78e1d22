"""Statements on the stack and on maps."""

from __future__ import annotations

from fuzz.base import Base
from fuzz.expressions import BITS, TYPES, Scope, members
from fuzz.prelude import ARRAYS, HASHES, MAPS


class MemoryStatements(Base):
    """Each method writes one statement, or one block."""

    def array(self, scope: Scope) -> None:
        type_, length, name = self.rng.choice(TYPES[:4]), self.rng.choice((2, 4, 8, 16)), self.fresh("b")
        if BITS[type_] * length > 512:
            length = 4
        self.add(f"{type_} {name}[{length}] = {{ {self.exprs.make(scope, 1)}, {self.exprs.make(scope, 1)} }};")
        scope.arrays.append((name, type_, length))

    def key(self, scope: Scope, type_: str, nonce: str) -> str:
        """A key on the stack, padding zeroed one way or another; its name."""
        name = self.fresh("k")
        small = self.rng.choice(("& 7", "& 3", "% 5", "", ""))

        def number(limit: str = "") -> str:
            return f"(u32)({self.exprs.make(scope, 1)}) {small or limit}"

        if type_ == "struct key":
            kind = self.rng.randrange(4)
            self.add(f"struct key {name}{' = {}' if kind < 2 else ''};")
            if kind == 2:
                self.add(f"__builtin_memset(&{name}, 0, sizeof({name}));")
            elif kind == 3:
                self.add(f"*(u64 *)&{name} = 0;")
            self.add(f"{name}.a = {number()};")
            if self.rng.random() < 0.7:
                self.add(f"{name}.b = {number()};")
            if self.rng.random() < 0.7:
                self.add(f"{name}.c = {number()};")
        elif type_ == "struct prefix":
            self.add(f"struct prefix {name} = {{ {self.rng.choice(('32', '24', '(acc & 31)'))}, {number()} }};")
        else:
            self.add(f"{type_} {name} = {number(nonce)};")
        return name

    def lookup(self, scope: Scope) -> None:
        name = self.rng.choice([*ARRAYS, *self.hashes])
        kind = {**ARRAYS, **HASHES}[name]
        key = self.key(scope, MAPS[name][1], "& 3" if name in ARRAYS else "")
        pointer = self.fresh("e")
        self.add(f"{'struct ' if kind in ('val', 'bits') else ''}{kind} *{pointer} = lookup(&{name}, &{key});")
        if self.rng.random() < 0.3:
            self.add(f"if (!{pointer}) {self.leave()}")
            scope.values.append((pointer, kind))
            return
        inner = scope.copy()
        inner.values.append((pointer, kind))
        if self.rng.random() < 0.3:
            self.open(f"if (!{pointer})")
            self.body(scope.copy(), 1)
            if self.rng.random() < 0.5 and name in HASHES:
                self.write(scope, name, key)
            self.close()
            self.open("else")
        else:
            self.open(f"if ({pointer})")
        self.value_use(inner)
        self.body(inner)
        self.close()

    def value_use(self, scope: Scope) -> None:
        """Changes to what a value pointer points to."""
        pointer, kind = scope.values[-1] if self.rng.random() < 0.8 else self.rng.choice(scope.values)
        places = members(pointer, kind)
        for _ in range(self.rng.randint(1, 3)):
            place, type_ = self.rng.choice(places)
            how = self.rng.randrange(4)
            if how == 0 and kind != "bits" and type_ in ("u32", "u64", "s32"):
                self.atomic(scope, place, type_)
            elif how == 1:
                self.add(f"acc += {place};")
            else:
                self.add(f"{place} {self.rng.choice(('=', '+=', '^='))} {self.exprs.make(scope, 2)};")

    def atomic(self, scope: Scope, place: str, type_: str) -> None:
        value = f"({type_})({self.exprs.make(scope, 1)})"
        if self.cpu != "v3" or self.rng.random() < 0.5:
            self.add(f"__sync_fetch_and_add(&{place}, {value});")
            return
        op = self.rng.choice(("fetch_and_add", "fetch_and_or", "fetch_and_and", "fetch_and_xor", "lock_test_and_set"))
        if self.rng.random() < 0.2:
            self.add(f"acc ^= __sync_val_compare_and_swap(&{place}, ({type_}){self.exprs.leaf(scope)}, {value});")
        else:
            self.add(f"acc += __sync_{op}(&{place}, {value});")

    def write(self, scope: Scope, name: str = "", key: str = "") -> None:
        """An update of a whole value."""
        name = name or self.rng.choice([*self.hashes, "m_array", "m_words", "m_cpu"])
        key = key or self.key(scope, MAPS[name][1], "")
        value_type = MAPS[name][2]
        value = self.fresh("w")
        if value_type == "struct val":
            self.add(f"struct val {value} = {{ .x = {self.exprs.make(scope, 2)}, .z = {self.exprs.leaf(scope)} }};")
            if self.rng.random() < 0.5:
                self.add(f"{value}.y = {self.exprs.make(scope, 1)};")
        else:
            self.add(f"{value_type} {value} = {self.exprs.make(scope, 2)};")
        call = f"update(&{name}, &{key}, &{value}, {self.rng.choice(('0', '0', '1', '2'))});"
        self.add(f"{self.rng.choice(('', 'acc += ', 'verdict ^= '))}{call}")

    def delete(self, scope: Scope) -> None:
        name = self.rng.choice(self.hashes)
        key = self.key(scope, MAPS[name][1], "")
        self.add(f"{self.rng.choice(('', 'acc += '))}delete(&{name}, &{key});")

    def reuse(self, scope: Scope) -> None:
        """A key that serves several times, changed in between."""
        name = self.rng.choice(self.hashes)
        key = self.key(scope, MAPS[name][1], "")
        value_type = MAPS[name][2]
        value = self.fresh("w")
        if value_type == "struct val":
            self.add(f"struct val {value} = {{ .y = {self.exprs.make(scope, 1)} }};")
            change = f"{value}.x += {self.exprs.make(scope, 1)};"
        else:
            self.add(f"{value_type} {value} = {self.exprs.make(scope, 1)};")
            change = f"{value} ^= {self.exprs.make(scope, 1)};"
        part = {"struct key": (".a", ".b", ".c"), "struct prefix": (".addr",)}.get(MAPS[name][1], ("",))
        for _ in range(self.rng.randint(2, 4)):
            action = self.rng.randrange(4)
            pointer = self.fresh("e")
            if action == 0:
                self.add(f"update(&{name}, &{key}, &{value}, 0);")
            elif action == 1:
                self.add(f"acc += delete(&{name}, &{key});")
            else:
                kind = "struct val" if value_type == "struct val" else HASHES[name]
                self.add(f"{kind} *{pointer} = lookup(&{name}, &{key});")
                self.add(f"if ({pointer}) acc += *(u16 *){pointer};")
            if self.rng.random() < 0.5:
                head = f"if ({self.exprs.condition(scope, 1)}) " if self.rng.random() < 0.4 else ""
                self.add(f"{head}{key}{self.rng.choice(part)} = ({self.exprs.make(scope, 1)}) & 3;")
            if self.rng.random() < 0.5:
                self.add(change)

    def odd_key(self, scope: Scope) -> None:
        """Keys and values that lie in the middle of something, in the packet or in another value."""
        kind = self.rng.randrange(5)
        pointer = self.fresh("e")
        if kind == 0 or (kind == 1 and not scope.packets):
            buffer = self.fresh("b")
            self.add(
                f"u32 {buffer}[4] = {{ {self.exprs.make(scope, 1)}, (u32)({self.exprs.make(scope, 1)}) & 3, acc & 7 }};"
            )
            self.add(f"u64 *{pointer} = lookup(&m_lru, &{buffer}[{self.rng.choice((1, 2))}]);")
            self.add(f"if ({pointer}) *{pointer} += {buffer}[0];")
            self.add(f"update(&m_lru, &{buffer}[{self.rng.choice((1, 2))}], {buffer}, 0);")
            self.add(f"acc += {buffer}[BOUND(acc, 3)];")
        elif kind == 1:
            packet, length = self.rng.choice(scope.packets)
            at = self.rng.randrange(max(1, length - 3))
            if length >= 4:
                self.add(
                    f"u32 *{pointer} = lookup(&m_{self.rng.choice(('trie', 'words'))}, {packet} + {at});"
                    if length >= 8
                    else f"u32 *{pointer} = lookup(&m_words, {packet});"
                )
                self.add(f"if ({pointer}) {{ *{pointer} += 1; acc ^= *{pointer}; }}")
        elif scope.values:
            value, type_ = self.rng.choice(scope.values)
            if type_ == "val":
                self.add(f"u64 *{pointer} = lookup(&m_lru, &{value}->{self.rng.choice(('y', 'q', 'x'))});")
                self.add(f"if ({pointer}) {{ {value}->x += *{pointer}; *{pointer} = {value}->y; }}")
                self.add(f"acc += update(&m_{self.rng.choice(('hash', 'cpuhash'))}, {value}, {value}, 0);")
            else:
                self.write(scope)
        else:
            key = self.key(scope, "struct key", "")
            self.add(f"u32 *{pointer} = lookup(&m_small, &{key}.b);")
            self.add(f"if ({pointer}) acc += *{pointer};")
            self.add(f"u64 {pointer}w = {self.exprs.make(scope, 1)}; update(&m_lru, &{key}.a, &{pointer}w, 0);")

    def either(self, scope: Scope) -> None:
        """A value of one map or of another, or of a map chosen before."""
        key, pointer = self.key(scope, "struct key", ""), self.fresh("e")
        condition = self.exprs.condition(scope, 1)
        if self.rng.random() < 0.5:
            self.add(f"struct val *{pointer} = ({condition}) ? lookup(&m_hash, &{key}) : lookup(&m_cpuhash, &{key});")
        else:
            self.add(f"void *{pointer}m = ({condition}) ? (void *)&m_hash : (void *)&m_cpuhash;")
            self.add(f"struct val *{pointer} = lookup({pointer}m, &{key});")
        self.open(f"if ({pointer})")
        inner = scope.copy()
        inner.values.append((pointer, "val"))
        self.value_use(inner)
        self.body(inner, 2)
        self.close()

    def pun(self, scope: Scope) -> None:
        """Memory written in one width and read in another; volatile, so that it stays in memory."""
        name = self.fresh("un")
        self.add(f"volatile union {{ u64 q[2]; u32 d[4]; u16 w[8]; u8 b[16]; s16 s[8]; }} {name};")
        self.add(f"{name}.q[0] = {self.exprs.make(scope, 1)};")
        self.add(f"{name}.q[1] = {self.exprs.make(scope, 1)};")
        for _ in range(self.rng.randint(1, 5)):
            member, size = self.rng.choice((("q", 2), ("d", 4), ("w", 8), ("b", 16), ("s", 8)))
            index = str(self.rng.randrange(size)) if self.rng.random() < 0.8 else f"BOUND(acc, {size - 1})"
            head = f"if ({self.exprs.condition(scope, 1)}) " if self.rng.random() < 0.3 else ""
            if self.rng.random() < 0.5:
                self.add(f"{head}{name}.{member}[{index}] = {self.exprs.make(scope, 1)};")
            else:
                self.add(f"{head}acc = acc * 7 + {name}.{member}[{index}];")
        scope.leaves.append(f"{name}.{self.rng.choice(('d[1]', 'q[0]', 'w[3]', 'b[9]', 's[5]'))}")

    def kept(self, scope: Scope) -> None:
        """A variable that lives in memory."""
        type_, name = self.rng.choice(TYPES), self.fresh("v")
        self.add(f"volatile {type_} {name} = {self.exprs.make(scope, 1)};")
        scope.variables.append((name, type_))

    def whole(self, scope: Scope) -> None:
        """Values copied as a whole: from map to stack, to map, from map to map."""
        held = [name for name, kind in scope.values if kind == "val"]
        name = self.fresh("w")
        if not held:
            self.add(f"struct val {name} = {{}};")
            self.add(f"{name}.{self.rng.choice('xyzwt')} = {self.exprs.make(scope, 1)};")
            self.add(f"acc += {name}.x ^ {name}.y;")
            return
        self.add(f"struct val {name} = *{self.rng.choice(held)};")
        self.add(f"{name}.{self.rng.choice('xyzwt')} ^= {self.exprs.make(scope, 1)};")
        if self.rng.random() < 0.6:
            self.add(f"*{self.rng.choice(held)} = {name};")
        key = self.key(scope, "struct key", "")
        self.add(f"update(&m_{self.rng.choice(('hash', 'cpuhash'))}, &{key}, &{name}, 0);")

    def kept_value(self, scope: Scope) -> None:
        """The address of a map value, kept on the stack before anybody knows that it is one."""
        key, pointer = self.key(scope, "u32", ""), self.fresh("e")
        name = self.rng.choice(("m_cpu", "m_lru" if "m_lru" in self.hashes else "m_cpu"))
        self.add(f"u64 *volatile {pointer}k = lookup(&{name}, &{key});")
        if self.rng.random() < 0.5:
            self.mix(scope)
        self.add(f"u64 *{pointer} = {pointer}k;")
        self.open(f"if ({pointer})")
        inner = scope.copy()
        inner.values.append((pointer, "u64"))
        self.value_use(inner)
        self.body(inner, 2)
        self.close()

    def shared_subprogram(self, scope: Scope) -> None:
        """A subprogram that gets an address of the stack here and of a map value there."""
        self.subprograms.need("structure")
        held = [name for name, kind in scope.values if kind == "val"]
        if held:
            self.add(f"acc += f_structure({self.rng.choice(held)}, {self.exprs.make(scope, 1)});")
        name = self.fresh("w")
        self.add(f"struct val {name} = {{ {self.exprs.make(scope, 1)} }};")
        self.add(f"acc ^= f_structure(&{name}, {self.exprs.make(scope, 1)}) + {name}.x;")
