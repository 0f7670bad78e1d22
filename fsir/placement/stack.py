"""Bytes of the stack frame that hold something when control comes to a block: written before, read later."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects.builtin import IntegerType
from xdsl.ir import Block, Operation, SSAValue

from fsir.analysis.dominance import DominatorTree, successors
from fsir.analysis.frame import FRAME_SIZE, Access, Frame, How
from fsir.dialects import ebpf
from fsir.dialects.ebpf import FuncOp
from fsir.dialects.map import DeclOp
from fsir.placement.scalars import Scalars

Piece = tuple[SSAValue | int, int]
"""Some bits of a key: the low ones of a value, or of a number."""

_ALL = (1 << FRAME_SIZE) - 1


class StackBytes:
    """Live bytes as bit sets: bit i is the byte at frame pointer - 512 + i. Where an address goes out of sight, every
    byte counts as live from the first use of the frame on."""

    def __init__(self, func: FuncOp, tree: DominatorTree, maps: dict[str, DeclOp], scalars: Scalars) -> None:
        self.tree = tree
        frame = Frame(func, maps)
        self.traceable = frame.escaped is None and not any(
            isinstance(op, ebpf.AllocaOp) for block in tree.rpo for op in block.ops
        )
        self.accesses: dict[Operation, list[Access]] = {}
        for access in frame.accesses:
            self.accesses.setdefault(access.op, []).append(access)
        self._scalars = scalars
        self._written = dict.fromkeys(tree.rpo, 0)
        self._live = dict.fromkeys(tree.rpo, 0)
        self._addresses = dict.fromkeys(tree.rpo, 0)
        self._forward()
        self._backward()

    def live(self, block: Block) -> int:
        """The bytes that a cut in front of a block must carry."""
        return self._written[block] & self._live[block]

    def stored(self, op: Operation, size: int) -> list[Piece] | None:
        """What the key of `size` bytes that a map operation reads from the frame is made of, in order: integers that
        were stored there, each on all ways. None where that is not known."""
        reads = [access for access in self.accesses.get(op, ()) if access.how is How.KEY]
        if not self.traceable or len(reads) != 1 or not _covers(reads[0], size):
            return None
        wanted = _mask(reads[0])
        found: list[Piece] = []
        while wanted:
            store = self._stored_last(op, wanted & -wanted)
            mask = self._overwrites(store) if store is not None else 0
            if (
                store is None
                or mask & ~wanted
                or not mask & wanted & -wanted
                or self._stored_last(op, mask) is not store
            ):
                return None
            value = store.value if isinstance(store, ebpf.StxOp) else store.int_prop("imm")
            bits = mask.bit_count()
            if isinstance(value, SSAValue) and not (
                isinstance(value.type, IntegerType) and value.type.width.data >= 8 * bits
            ):
                return None
            found.append((value, 8 * bits))
            wanted &= ~mask
        return found

    def _stored_last(self, op: Operation, mask: int) -> ebpf.StxOp | ebpf.StOp | None:
        """The one store that was the last to write some bytes before an operation, on all ways to it."""
        assert op.parent is not None
        last: Operation | None = None
        seen: set[Block] = set()
        work: list[tuple[Block, Operation | None]] = [(op.parent, op.prev_op)]
        while work:
            block, before = work.pop()
            while before is not None and not self._writes(before) & mask:
                before = before.prev_op
            if before is not None:
                if last not in (None, before):
                    return None
                last = before
                continue
            sources = self.tree.predecessors(block)
            if not sources or block is self.tree.rpo[0]:
                return None
            work += [(source, source.last_op) for source in sources if source not in seen]
            seen.update(sources)
        return last if isinstance(last, ebpf.StxOp | ebpf.StOp) else None

    def kept_key(self, op: Operation, size: int, happens: Callable[[Callable[[Operation], bool]], bool]) -> int:
        """The bytes of the key that a map operation reads from the frame, where they are as they were then; 0 where
        they are not, or that is not known. `happens(matters)`: whether an operation that matters has been met since."""
        reads = [access for access in self.accesses.get(op, ()) if access.how is How.KEY]
        if not self.traceable or len(reads) != 1 or not _covers(reads[0], size):
            return 0
        wanted = _mask(reads[0])
        return 0 if happens(lambda other: bool(self._writes(other) & wanted)) else wanted

    def holds_address(self, block: Block, mask: int) -> bool:
        """Whether an address may be among these bytes when control comes to a block."""
        return bool(mask & self._addresses[block])

    def is_dead(self, store: Operation) -> bool:
        """Whether nothing reads what a store puts on the frame."""
        written = self._overwrites(store)
        assert store.parent is not None
        live = 0
        for target in successors(store.parent):
            live |= self._live[target]
        op = store.parent.last_op
        while op is not None and op is not store:
            live = (live & ~self._overwrites(op)) | self._reads(op)
            op = op.prev_op
        return bool(written) and self._writes(store) == written and not written & live

    def chunks(self, mask: int) -> list[tuple[int, int]]:
        """Live bytes as aligned words: (offset from the frame pointer, bits), as few as possible."""
        found: list[tuple[int, int]] = []
        at = 0
        while mask >> at:
            if not mask >> at & 1:
                at += 1
                continue
            size = next(s for s in (8, 4, 2, 1) if at % s == 0 and self._worth(mask >> at, s))
            found.append((at - FRAME_SIZE, 8 * size))
            at += size
        return found

    def _worth(self, mask: int, size: int) -> bool:
        window = mask & ((1 << size) - 1)
        return size == 1 or window.bit_count() * 2 > size

    def _forward(self) -> None:
        again = True
        while again:
            again = False
            for block in self.tree.rpo:
                written, addresses = self._written[block], self._addresses[block]
                for op in block.ops:
                    written |= self._writes(op)
                    addresses = addresses & ~self._overwrites(op) | self._stored_addresses(op)
                for target in successors(block):
                    if written & ~self._written[target] or addresses & ~self._addresses[target]:
                        self._written[target] |= written
                        self._addresses[target] |= addresses
                        again = True

    def _backward(self) -> None:
        again = True
        while again:
            again = False
            for block in reversed(self.tree.rpo):
                live = 0
                for target in successors(block):
                    live |= self._live[target]
                for op in reversed(list(block.ops)):
                    live = (live & ~self._overwrites(op)) | self._reads(op)
                again |= live != self._live[block]
                self._live[block] = live

    def _writes(self, op: Operation) -> int:
        if not self.traceable:
            return _ALL if _touches_frame(op) else 0
        mask = 0
        for access in self.accesses.get(op, ()):
            if access.how in (How.STORE, How.WRITE):
                mask |= _mask(access)
        return mask

    def _stored_addresses(self, op: Operation) -> int:
        """The bytes of which an operation makes an address."""
        mask = 0
        for access in self.accesses.get(op, ()) if self.traceable else ():
            stores = access.how is How.STORE and isinstance(op, ebpf.StxOp) and self._stores_address(op)
            if stores or access.addresses:
                mask |= _mask(access)
        return mask

    def _stores_address(self, op: ebpf.StxOp) -> bool:
        return not isinstance(op.value.type, IntegerType) or self._scalars.is_address(op.value)

    def _reads(self, op: Operation) -> int:
        if not self.traceable:
            return _ALL
        mask = 0
        for access in self.accesses.get(op, ()):
            if access.how is not How.STORE:
                mask |= _mask(access)
        return mask

    def _overwrites(self, op: Operation) -> int:
        mask = 0
        for access in self.accesses.get(op, ()) if self.traceable else ():
            if access.how is How.STORE:
                mask |= _mask(access)
        return mask


def _touches_frame(op: Operation) -> bool:
    """Whether an operation does more with an address of the frame than add to it."""
    moves = isinstance(op, ebpf.AluRIOp) and isinstance(op.res.type, ebpf.FramePointerType)
    return not moves and any(isinstance(v.type, ebpf.FramePointerType) for v in op.operands)


def _covers(access: Access, size: int) -> bool:
    return access.end - access.start == size and access.start >= -FRAME_SIZE and access.end <= 0


def _mask(access: Access) -> int:
    start = max(access.start + FRAME_SIZE, 0)
    end = min(access.end + FRAME_SIZE, FRAME_SIZE)
    return ((1 << end) - 1) & ~((1 << start) - 1) if end > start else 0
