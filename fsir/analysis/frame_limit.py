"""How deep a function's stack frame may become.

The kernel adds up the frames along every chain of calls, each rounded up to 32 bytes, and refuses more than 512; before
a function that makes tail calls, less than 256 may have come together. (`check_max_stack_depth`, kernel/bpf/verifier.c)
"""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from fsir.analysis.frame_use import FRAME_SIZE, frame_depth
from fsir.dialects.ebpf import CallLocalOp, CallOp, FuncOp, LdSymOp, functions

_TAIL_CALL = 12
_BEFORE_TAIL_CALLS = 255
_ROUNDING = 32


def frame_limit(func: FuncOp) -> int:
    """The bytes that the frame of `func` may take, given the frames that the other functions of its module have now."""
    module = _module_of(func)
    if module is None:
        return FRAME_SIZE
    graph = _CallGraph(module)
    if not graph.callees[func.symbol] and not graph.callers[func.symbol]:
        return FRAME_SIZE
    above = graph.deepest(func.symbol, graph.callers)
    below = graph.deepest(func.symbol, graph.callees)
    room = FRAME_SIZE - above - below
    if graph.tail_calls_below(func.symbol):
        room = min(room, _BEFORE_TAIL_CALLS - above)
    return max(room // _ROUNDING * _ROUNDING, 0)


def _module_of(func: FuncOp) -> Operation | None:
    parent = func.parent_op()
    while parent is not None and not isinstance(parent, ModuleOp):
        parent = parent.parent_op()
    return parent


class _CallGraph:
    """Who calls whom, callbacks included, and how deep the frames are."""

    def __init__(self, module: Operation) -> None:
        self.funcs = {func.symbol: func for func in functions(module)}
        self.callees: dict[str, set[str]] = {name: set() for name in self.funcs}
        self.callers: dict[str, set[str]] = {name: set() for name in self.funcs}
        self.tail_calling: set[str] = set()
        self.depths: dict[str, int] = {}
        for name, func in self.funcs.items():
            for block in func.body.blocks:
                for op in block.ops:
                    target = _target(op)
                    if target in self.funcs:
                        self.callees[name].add(target)
                        self.callers[target].add(name)
                    if isinstance(op, CallOp) and op.helper.data == _TAIL_CALL:
                        self.tail_calling.add(name)

    def depth(self, name: str) -> int:
        if name not in self.depths:
            depth = max(frame_depth(self.funcs[name]), 1)
            self.depths[name] = (depth + _ROUNDING - 1) // _ROUNDING * _ROUNDING
        return self.depths[name]

    def deepest(self, name: str, edges: dict[str, set[str]], active: frozenset[str] = frozenset()) -> int:
        """The largest sum of frames along a chain from `name`, itself excluded. A cycle, which the kernel refuses
        anyway, is cut."""
        active |= {name}
        return max(
            (self.depth(other) + self.deepest(other, edges, active) for other in edges[name] if other not in active),
            default=0,
        )

    def tail_calls_below(self, name: str) -> bool:
        """Whether a function that `name` calls, directly or not, makes tail calls."""
        work, seen = list(self.callees[name]), set[str]()
        while work:
            other = work.pop()
            if other not in seen:
                seen.add(other)
                work.extend(self.callees[other])
        return bool(seen & self.tail_calling)


def _target(op: Operation) -> str:
    """The function that an operation calls or takes the address of, or "" for none."""
    if isinstance(op, CallLocalOp):
        return op.callee.root_reference.data
    return op.sym.root_reference.data if isinstance(op, LdSymOp) else ""
