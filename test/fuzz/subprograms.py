"""Functions that random programs call: static and global, with scalars, stack and packet addresses as arguments."""

from __future__ import annotations

import random
from collections.abc import Callable

from fuzz.expressions import Expressions, Scope

KINDS = ("scalars", "many", "structure", "packet", "context", "global", "nested", "bytes", "cursor", "value")


class Subprograms:
    """Made when they are first called."""

    def __init__(self, rng: random.Random, exprs: Expressions) -> None:
        self.rng, self.exprs = rng, exprs
        self.made: dict[str, str] = {}
        self.wanted = rng.sample(KINDS, 3)

    def text(self) -> str:
        """The definitions of those that are called."""
        return "".join(self.made.values())

    def call(self, scope: Scope, fresh: Callable[[str], str]) -> str:
        """A statement, on one line, that calls one of them."""
        kind = self.rng.choice(self.wanted)
        self.need(kind)

        def e() -> str:
            return self.exprs.make(scope, 1)

        name = fresh("c")
        return {
            "scalars": lambda: f"acc += f_scalars({e()}, {e()});",
            "many": lambda: f"acc ^= f_many({e()}, {e()}, {e()}, {e()}, {e()});",
            "structure": lambda: (
                f"struct val {name} = {{ {e()}, {e()} }}; acc += f_structure(&{name}, {e()}); "
                f"acc ^= {name}.x + {name}.y + {name}.w;"
            ),
            "packet": lambda: f"acc += f_packet(data, end, {e()});",
            "context": lambda: f"acc += f_context(ctx, {e()});",
            "global": lambda: f"acc += f_global({e()}, {e()});",
            "nested": lambda: f"acc = f_nested(acc, {e()});",
            "cursor": lambda: (
                f"struct cursor {name} = {{ data, {e()} }}; "
                f"acc += f_cursor(&{name}, end); acc += f_cursor(&{name}, end); "
                f"if ((u8 *){name}.at + 1 <= (u8 *)end) acc += *(u8 *){name}.at + {name}.n;"
            ),
            "value": lambda: f"u32 {name} = (u32)({e()}) & 3; acc += f_value({name}, {e()});",
            "bytes": lambda: (
                f"u8 {name}[16] = {{ {e()} }}; f_bytes({name}, {e()}); acc += {name}[3] + {name}[BOUND(acc, 15)];"
            ),
        }[kind]()

    def need(self, kind: str) -> None:
        """Make one if it is not there."""
        if kind not in self.made:
            self.made[kind] = self.define(kind)

    def callback(self, name: str) -> None:
        """Define `cb_name(index, u64[2])`."""
        scope = Scope(variables=[("i", "u32"), ("s[0]", "u64"), ("s[1]", "u64")])
        self.made[name] = (
            f"static long cb_{name}(u32 i, u64 *s)\n{{\n\ts[0] += {self.exprs.make(scope, 2)};\n"
            f"\tif ({self.exprs.condition(scope, 1)})\n\t\ts[1] = {self.exprs.make(scope, 2)};\n"
            f"\treturn {self.rng.choice(('0', 'i == 4', '(s[0] & 7) == 0'))};\n}}\n"
        )

    def define(self, kind: str) -> str:
        def e(*names: str, depth: int = 2) -> str:
            scope = Scope(variables=[(name, "u64") for name in names])
            return self.exprs.make(scope, depth)

        at = self.rng.randrange(20)
        return {
            "scalars": lambda: (
                f"static NOINLINE u32 f_scalars(u32 a, s64 b)\n{{\n\treturn {e('a', 'b', depth=3)};\n}}\n"
            ),
            "many": lambda: (
                "static NOINLINE u64 f_many(u64 a, u32 b, u16 c, s8 d, s32 e)\n"
                f"{{\n\tif ({e('a', 'd')})\n\t\treturn {e('b', 'c', 'e')};\n"
                f"\treturn {e('a', 'b', 'c', 'd', 'e', depth=3)};\n}}\n"
            ),
            "structure": lambda: (
                "static NOINLINE int f_structure(struct val *v, u32 n)\n"
                f"{{\n\tv->x {self.rng.choice(('+=', '^=', '='))} {e('n')};\n\tv->w = {e('n')};\n"
                f"\treturn v->y + {e('n')};\n}}\n"
            ),
            "packet": lambda: (
                "static NOINLINE int f_packet(u8 *p, void *limit, u32 n)\n"
                f"{{\n\tif (p + {at + 4} > (u8 *)limit)\n\t\treturn {e('n', depth=1)};\n"
                f"\treturn *(u32 *)(p + {at}) + {e('n')};\n}}\n"
            ),
            "context": lambda: (
                "static NOINLINE int f_context(struct xdp_md *c, u32 n)\n"
                "{\n\tu8 *p = (void *)(long)c->data, *limit = (void *)(long)c->data_end;\n"
                f"\tif (p + {at + 2} > limit)\n\t\treturn -1;\n\tp[{at}] ^= {e('n')};\n"
                f"\treturn p[{at + 1}] + {e('n')};\n}}\n"
            ),
            "global": lambda: f"NOINLINE int f_global(u32 a, u64 b)\n{{\n\treturn {e('a', 'b', depth=3)};\n}}\n",
            "nested": lambda: (
                f"static NOINLINE u64 f_inner(u64 a, u32 b)\n{{\n\treturn {e('a', 'b', depth=3)};\n}}\n"
                f"static NOINLINE u64 f_nested(u64 a, u32 b)\n{{\n\tu64 c = f_inner({e('a')}, b);\n"
                f"\treturn c + f_inner(a, {e('b', 'c')}) + b;\n}}\n"
            ),
            "cursor": lambda: (
                "struct cursor { void *at; u32 n; };\n"
                "static NOINLINE int f_cursor(struct cursor *c, void *limit)\n"
                f"{{\n\tu8 *p = c->at;\n\tif (p + {at + 1} > (u8 *)limit)\n\t\treturn -1;\n"
                f"\tc->at = p + {self.rng.randrange(1, at + 2)};\n\tc->n += {e('p[0]', 'c->n')};\n"
                f"\treturn p[{at}];\n}}\n"
            ),
            "value": lambda: (
                "static NOINLINE u64 f_value(u32 k, u64 n)\n"
                "{\n\tstruct val *v = lookup(&m_array, &k);\n\tif (!v)\n"
                f"\t\treturn {e('n', 'k')};\n\tv->x += {e('n', 'v->y')};\n\treturn v->z ^ {e('n', 'v->x')};\n}}\n"
            ),
            "mover": lambda: (
                "static NOINLINE void *f_mover(u8 *p, u32 n)\n"
                f"{{\n\tif ({e('n', depth=1)} & 1)\n\t\treturn p + {self.rng.choice((4, 14))};\n"
                f"\treturn p + ({self.rng.choice(('n & 63', '(n & 15) * 4', '2'))});\n}}\n"
            ),
            "resizer": lambda: (
                "static NOINLINE int f_resizer(struct xdp_md *c, u32 n)\n"
                f"{{\n\tif ({e('n', depth=1)} & 1)\n\t\treturn adjust_head(c, {self.rng.choice((-14, 4, -4))});\n"
                f"\treturn adjust_tail(c, {self.rng.choice((-2, 8))});\n}}\n"
            ),
            "bytes": lambda: (
                "static NOINLINE void f_bytes(u8 *b, u32 n)\n"
                f"{{\n\tb[BOUND(n, 15)] = {e('n')};\n\tb[3] += b[{self.rng.randrange(16)}];\n}}\n"
            ),
        }[kind]()
