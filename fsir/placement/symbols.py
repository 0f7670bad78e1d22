"""What a module's BTF says of names: which undefined functions are the kernel's, and hints on where to place what.

A hint is a declaration tag on a function, `__attribute__((btf_decl_tag("fsir:place=user")))`: calls of that function
run there. It names a level (`nic`, `kernel`, `user`) or a target.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.analysis.libraries import Unknown, prototype_of
from fsir.analysis.signatures import btf_of
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp, functions
from fsir.dialects.map import DeclOp
from fsir.object.btf import Btf, Kind
from fsir.placement.targets import Target

PREFIX = "fsir:place="
KERNEL_FIELDS = frozenset(
    {"bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work", "bpf_refcount"}
    | {"bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node"}
)
"""Fields of map values that only programs may touch, and that keep an array from being mapped."""
LEVELS = {"nic": 0, "kernel": 1, "user": 2}


class Symbols:
    """The names of one module."""

    def __init__(self, module: ModuleOp) -> None:
        btf = self._btf = btf_of(module)
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

    def not_callable(self, name: str) -> str | None:
        """Why user space cannot call a function of a library, None if it can. IR without BTF says nothing of it."""
        if self._btf is None:
            return None
        try:
            prototype_of(self._btf, name)
        except Unknown as error:
            return str(error)
        return None

    def kernel_field(self, declaration: DeclOp) -> str | None:
        """A field of a map's values that is the kernel's own (`bpf_spin_lock`, `bpf_timer` …), by its type's name."""
        if self._btf is None or declaration.value_btf is None:
            return None
        return _kernel_type(self._btf, declaration.value_btf.data, set())

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


def _kernel_type(btf: Btf, type_id: int, seen: set[int]) -> str | None:
    """The first structure of the kernel's within a type."""
    type_id = btf.resolve(type_id)
    if type_id in seen:
        return None
    seen.add(type_id)
    kind = btf.kind(type_id)
    if kind is Kind.ARRAY:
        return _kernel_type(btf, btf.array(type_id)[0], seen)
    if kind is Kind.PTR:
        tagged = btf.target(type_id)
        return "kptr" if btf.kind(tagged) is Kind.TYPE_TAG and btf.name(tagged).startswith("kptr") else None
    if kind not in (Kind.STRUCT, Kind.UNION):
        return None
    if btf.name(type_id) in KERNEL_FIELDS:
        return btf.name(type_id)
    found = (_kernel_type(btf, member.type_id, seen) for member in btf.members(type_id))
    return next((name for name in found if name is not None), None)
