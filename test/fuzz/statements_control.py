"""Statements on scalars, and control flow."""

from __future__ import annotations

from fuzz.base import Base
from fuzz.expressions import Scope


class ControlStatements(Base):
    """Each method writes one statement, or one block."""

    def mix(self, scope: Scope) -> None:
        self.add(f"acc = {self.rng.choice(('acc * 31 +', 'acc ^', 'ROL64(acc, 7) +', 'acc +'))} "
                 f"{self.exprs.make(scope, self.rng.randrange(1, 4))};")  # fmt: skip

    def condition(self, scope: Scope) -> None:
        self.open(f"if ({self.exprs.condition(scope, 3)})")
        self.body(scope.copy())
        if self.rng.random() < 0.15:
            self.add(self.leave())
        if self.rng.random() < 0.5:
            self.close()
            self.open("else")
            self.body(scope.copy())
        self.close()

    def switch(self, scope: Scope) -> None:
        count = self.rng.randint(2, 7)
        mask = self.rng.choice(("& 7", "& 15", "% 6", "", ">> 4"))
        self.open(f"switch ((u32)({self.exprs.make(scope, 1)}) {mask})")
        for value in self.rng.sample((0, 1, 2, 3, 4, 5, 6, 8, 17, 0x0800), count):
            self.add(f"case {value}:;")
            for _ in range(self.rng.randrange(3)):
                self.assign(scope)
            if self.rng.random() < 0.8:
                self.add("break;")
        if self.rng.random() < 0.6:
            self.add("default:;")
            self.assign(scope)
        self.close()

    def loop(self, scope: Scope) -> None:
        inner = scope.copy()
        index = self.fresh("i")
        pragma = self.rng.choice(("#pragma unroll", "#pragma clang loop unroll(disable)", ""))
        if pragma:
            self.add(pragma)
        step = self.rng.choice(("++", "++", " += 2", " += 3"))
        self.open(f"for (u32 {index} = 0; {index} < {self.rng.choice((2, 3, 4, 7, 10, 16))}; {index}{step})")
        inner.counters.append(index)
        if self.rng.random() < 0.3:
            self.add(f"if ({self.exprs.condition(inner, 1)}) {self.rng.choice(('break', 'continue'))};")
        self.body(inner, 2)
        self.close()

    def options(self, scope: Scope) -> None:
        """A walk over type-length-value options, or over bytes, with a variable offset."""
        off, index, at = self.fresh("off"), self.fresh("i"), self.fresh("p")
        start, length = self.rng.choice(scope.packets) if scope.packets else ("data", 0)
        self.add(f"u32 {off} = {self.rng.choice((0, length, 14, 34))};")
        if self.rng.random() < 0.3:
            self.add("#pragma unroll")
        self.open(f"for (u32 {index} = 0; {index} < {self.rng.choice((3, 5, 8))}; {index}++)")
        size = self.rng.choice((1, 2, 4))
        self.add(f"{off} &= {self.rng.choice(('0xff', '0x3ff', '63'))};")
        self.add(f"u8 *{at} = (u8 *){start} + {off};")
        self.add(f"if ({at} + {size} > (u8 *)end) break;")
        self.add(f"acc = acc * 33 + {at}[{size - 1}];")
        if self.rng.random() < 0.5:
            self.add(
                f"if ({at}[0] == {self.rng.choice((0, 1, 255, 69))}) {self.rng.choice(('break;', f'{off} += 9;'))}"
            )
        self.add(f"{off} += {self.rng.choice((str(size), f'({at}[{size - 1}] & 7) + 1', '2'))};")
        self.close()

    def call(self, scope: Scope) -> None:
        self.add(self.subprograms.call(scope, self.fresh))

    def machine(self, scope: Scope) -> None:
        """Machine instructions whose meaning C does not have: division by zero, far shifts."""
        name = self.fresh("x")
        wide = self.cpu != "v3" or self.rng.random() < 0.5
        type_, constraint = ("u64", "r") if wide else ("u32", "w")
        self.add(f"{type_} {name} = {self.exprs.make(scope, 2)};")
        binary = ("/=", "<<=", ">>=", "s>>=", "*=", "+=", "-=", "&=", "|=", "^=")
        if self.rng.random() < 0.7:
            other = f"({type_})({self.exprs.make(scope, 1)})"
            self.add(
                f'asm volatile("%0 {self.rng.choice(binary)} %1" : "+{constraint}"({name}) : "{constraint}"({other}));'
            )
        else:
            unary = self.rng.choice(("%0 = -%0",) if not wide else (
                "%0 = -%0", "%0 = be16 %0", "%0 = be32 %0", "%0 = be64 %0", "%0 = le16 %0", "%0 = le32 %0",
                "%0 <<= 32; %0 s>>= 32", "%0 <<= 56; %0 >>= 56", "%0 s>>= 63", "%0 /= 7",
            ))  # fmt: skip
            self.add(f'asm volatile("{unary}" : "+{constraint}"({name}));')
        scope.variables.append((name, type_))

    def checksum(self, scope: Scope) -> None:
        name = self.fresh("sum")
        words = self.rng.choice((2, 4, 5))
        self.add(f"u32 {name}[{words}] = {{ {self.exprs.make(scope, 1)}, {self.exprs.make(scope, 1)} }};")
        usable = [(p, n) for p, n in scope.packets if n >= 8]
        if usable and self.rng.random() < 0.5:
            pointer, length = self.rng.choice(usable)
            self.add(f"u64 {name}c = csum_diff(0, 0, (u32 *){pointer}, {length & ~3}, {self.exprs.leaf(scope)});")
        else:
            self.add(f"u64 {name}c = csum_diff({name}, {self.rng.choice((4, 8))}, {name}, {words * 4}, (u32)acc);")
        self.add(f"{name}c = ({name}c & 0xffff) + ({name}c >> 16);")
        scope.variables.append((f"{name}c", "u64"))

    def redirected(self, scope: Scope) -> None:
        how = self.rng.randrange(3)
        if how == 0:
            self.add(f"verdict = redirect({self.rng.choice(('1', '2', 'acc & 3'))}, 0);")
        elif how == 1:
            self.add(f"verdict = redirect_map(&m_dev, ({self.exprs.make(scope, 1)}) & 7, {self.rng.randrange(4)});")
        else:
            self.add("acc += cpu_id();")

    def callback(self, scope: Scope) -> None:
        """A function called back by a helper, with what it needs on the stack."""
        if self.legacy:
            return self.mix(scope)  # a callback needs BTF
        name = self.fresh("l")
        self.subprograms.callback(name)
        self.add(f"u64 {name}[2] = {{ acc, {self.exprs.make(scope, 1)} }};")
        self.add(f"acc += bpf_loop({self.rng.choice(('3', '8', '(acc & 7)'))}, cb_{name}, {name}, 0);")
        self.add(f"acc ^= {name}[0] + {name}[1];")
