"""What a module's BTF says of names: which undefined functions are the kernel's, and hints on where to place what.

A hint is a declaration tag on a function, `__attribute__((btf_decl_tag("fsir:place=user")))`: calls of that function
run there. It names a level (`nic`, `kernel`, `user`) or a target.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.object import SectionOp
from fsir.object.btf import Btf, Kind
from fsir.placement.targets import Target

PREFIX = "fsir:place="
LEVELS = {"nic": 0, "kernel": 1, "user": 2}


class Symbols:
    """The names of one module."""

    def __init__(self, module: ModuleOp) -> None:
        btf = _btf_of(module)
        self._kernel: set[str] = set()
        self.hints: dict[str, str] = {}
        """Where functions want to run, by name."""
        if btf is None:
            return
        ksyms = btf.find(Kind.DATASEC, ".ksyms")
        if ksyms is not None:
            self._kernel = {btf.name(var.type_id) for var in btf.vars(ksyms)}
        by_id = {func.btf_func.data: func for func in functions(module) if func.btf_func is not None}
        for type_id, func in by_id.items():
            for _, tag in btf.decl_tags(type_id):
                if tag.startswith(PREFIX):
                    self.hints[func.symbol] = tag.removeprefix(PREFIX)

    def in_kernel(self, name: str) -> bool:
        """Whether an undefined function is declared to be the kernel's (`__ksym`), or is one by its name."""
        return name in self._kernel or name.startswith("bpf_") or " " in name

    def hint(self, op: Operation, target: Target) -> str | None:
        """Why a call does not run on a target, by a hint on what it calls."""
        if not isinstance(op, ebpf.CallLocalOp):
            return None
        name = op.callee.root_reference.data
        wanted = self.hints.get(name)
        if wanted is None or wanted == target.name or LEVELS.get(wanted) == target.level:
            return None
        return f"calls '{name}', which is tagged {PREFIX}{wanted}"

    def forced(self, func: FuncOp) -> str | None:
        """Where a whole program wants to run."""
        return self.hints.get(func.symbol)


def _btf_of(module: ModuleOp) -> Btf | None:
    for op in module.body.block.ops:
        if isinstance(op, SectionOp) and op.section.data == ".BTF" and op.content:
            return Btf.parse(op.content)
    return None
