"""Which values are live where, for a region in SSA form.

Values are numbered densely and sets of them are Python integers used as bit sets: an `&` or `|` over a
thousand values costs what it costs over one. The result is valid until the region changes.

A value passed to a block argument is a use by the terminator that passes it; a block argument is defined at
the start of its block and so is not live into it. Unreachable blocks take part like any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xdsl.ir import Block, Operation, Region, SSAValue


def solve_backward(
    used: Sequence[int], defined: Sequence[int], successors: Sequence[Sequence[int]], order: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Live-in and live-out bit sets of numbered blocks.

    `used` holds what each block uses before it defines it, `defined` what it defines; `order` names every
    block once and is best a postorder (successors first).
    """
    live_in = list(used)
    live_out = [0] * len(used)
    predecessors: list[list[int]] = [[] for _ in used]
    for block, targets in enumerate(successors):
        for target in targets:
            predecessors[target].append(block)
    position = {block: i for i, block in enumerate(order)}
    pending = set(range(len(order)))
    while pending:
        # Sweeps in the given order; within a sweep only the blocks whose successors changed.
        for at in sorted(pending):
            pending.discard(at)
            block = order[at]
            out = 0
            for target in successors[block]:
                out |= live_in[target]
            live_out[block] = out
            into = used[block] | (out & ~defined[block])
            if into != live_in[block]:
                live_in[block] = into
                pending.update(position[p] for p in predecessors[block])
    return live_in, live_out


def bits(mask: int) -> Iterator[int]:
    """The numbers of the set bits of `mask`, ascending."""
    base = 0
    while mask:
        if not mask & 0xFFFF_FFFF_FFFF_FFFF:
            skip = ((mask & -mask).bit_length() - 1) & ~63
            mask >>= skip
            base += skip
        low = mask & 0xFFFF_FFFF_FFFF_FFFF
        mask >>= 64
        while low:
            bit = low & -low
            yield base + bit.bit_length() - 1
            low ^= bit
        base += 64


class Liveness:
    """Live values of the blocks of `region`."""

    def __init__(self, region: Region) -> None:
        self.values: list[SSAValue] = []
        self.number: dict[SSAValue, int] = {}
        self.blocks = list(region.blocks)
        self._index = {block: i for i, block in enumerate(self.blocks)}
        for block in self.blocks:
            for arg in block.args:
                self._add(arg)
            for op in block.ops:
                for result in op.results:
                    self._add(result)
        used, defined = [], []
        for block in self.blocks:
            block_used, block_defined = self._local(block)
            used.append(block_used)
            defined.append(block_defined)
        successors = [
            [self._index[s] for s in dict.fromkeys(last.successors)] if (last := block.last_op) else []
            for block in self.blocks
        ]
        order = _postorder(successors)
        self._in, self._out = solve_backward(used, defined, successors, order)

    def _add(self, value: SSAValue) -> None:
        self.number[value] = len(self.values)
        self.values.append(value)

    def _local(self, block: Block) -> tuple[int, int]:
        number = self.number
        own = {number[arg] for arg in block.args}
        used = set()
        for op in block.ops:
            for operand in op.operands:
                index = number.get(operand)
                if index is not None and index not in own:
                    used.add(index)
            for inner in op.regions:
                for nested in inner.walk():
                    used.update(number[v] for v in nested.operands if v in number and number[v] not in own)
            own.update(number[result] for result in op.results)
        return _mask(used), _mask(own)

    def live_in(self, block: Block) -> int:
        """The bit set of values live on entry to `block`, its arguments excluded."""
        return self._in[self._index[block]]

    def live_out(self, block: Block) -> int:
        """The bit set of values live at the end of `block`, those that it only passes to arguments excluded."""
        return self._out[self._index[block]]

    def values_of(self, mask: int) -> list[SSAValue]:
        """The values of a bit set, in order of definition."""
        return [self.values[i] for i in bits(mask)]

    def is_live_in(self, value: SSAValue, block: Block) -> bool:
        """Whether `value` is live on entry to `block`."""
        return bool(self.live_in(block) >> self.number[value] & 1)

    def is_live_out(self, value: SSAValue, block: Block) -> bool:
        """Whether `value` is live at the end of `block`."""
        return bool(self.live_out(block) >> self.number[value] & 1)

    def backward(self, block: Block) -> Iterator[tuple[Operation, int]]:
        """The operations of `block` from the last to the first, each with what is live *after* it."""
        live = self.live_out(block)
        number = self.number
        for op in reversed(block.ops):
            yield op, live
            for result in op.results:
                live &= ~(1 << number[result])
            for operand in op.operands:
                index = number.get(operand)
                if index is not None:
                    live |= 1 << index


def _mask(indices: set[int]) -> int:
    """The bit set of `indices`; building it bytewise is linear where repeated `|=` is quadratic."""
    if not indices:
        return 0
    buffer = bytearray(max(indices) // 8 + 1)
    for index in indices:
        buffer[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(buffer, "little")


def _postorder(successors: Sequence[Sequence[int]]) -> list[int]:
    """All blocks, successors before predecessors as far as loops allow."""
    seen = [False] * len(successors)
    order: list[int] = []
    for root in range(len(successors)):
        if seen[root]:
            continue
        seen[root] = True
        stack = [(root, iter(successors[root]))]
        while stack:
            block, remaining = stack[-1]
            for target in remaining:
                if not seen[target]:
                    seen[target] = True
                    stack.append((target, iter(successors[target])))
                    break
            else:
                stack.pop()
                order.append(block)
    return order
