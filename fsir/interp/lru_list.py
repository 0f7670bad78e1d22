"""The eviction order of the kernel's LRU hashes (kernel/bpf/bpf_lru_list.c), for one CPU running at a time.

It is not strictly "least recently used": a node that is looked up gets a reference bit; nodes wait on a
per-CPU *pending* list until the CPU runs out of free nodes, are then moved to the *inactive* list (or to the
*active* list if referenced), and eviction takes unreferenced nodes from the tail of the inactive list in
batches. With the same accesses on the same CPUs the victims here are those of a kernel from 6.17 on; older
ones take batches of 128 whatever the size of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum

from fsir.interp.memory import Region

_COMMON_BATCH = 128
_PERCPU_BATCH = 4


class Place(IntEnum):
    """The list a node is on; the first two are counted to keep active and inactive in balance."""

    ACTIVE = 0
    INACTIVE = 1
    FREE = 2
    LOCAL_FREE = 3
    LOCAL_PENDING = 4


class Node:
    """An element's place in the order, with its key and value storage, which are the map's business.

    Also serves as a list head.
    """

    __slots__ = ("cpu", "key", "next", "place", "prev", "ref", "storage")

    def __init__(self) -> None:
        self.prev = self.next = self
        self.place = Place.FREE
        self.ref = False
        self.cpu = 0
        self.key = b""
        self.storage: list[Region] = []

    def unlink(self) -> None:
        self.prev.next, self.next.prev = self.next, self.prev
        self.prev = self.next = self

    def move_to_head(self, head: Node) -> None:
        self.unlink()
        self.prev, self.next = head, head.next
        head.next.prev = self
        head.next = self


def _from_head(head: Node) -> Iterator[Node]:
    """The nodes from head to tail; the one yielded may be moved meanwhile."""
    node = head.next
    while node is not head:
        following = node.next
        yield node
        node = following


def _from_tail(head: Node) -> Iterator[Node]:
    """The nodes from tail to head; the one yielded may be moved meanwhile."""
    node = head.prev
    while node is not head:
        following = node.prev
        yield node
        node = following


class _LruList:
    """Active, inactive and free nodes. Free nodes that were never used exist only as a number, `fresh`."""

    def __init__(self, size: int, scans: int, evict: Callable[[Node], None]):
        self.heads = {place: Node() for place in (Place.ACTIVE, Place.INACTIVE, Place.FREE)}
        self.counts = {Place.ACTIVE: 0, Place.INACTIVE: 0}
        self.hand = self.heads[Place.INACTIVE]
        self.fresh = size
        self.scans = scans
        self.evict = evict

    def _count(self, place: Place, step: int) -> None:
        if place in self.counts:
            self.counts[place] += step

    def move(self, node: Node, place: Place) -> None:
        """Move within or between these lists, to the head, clearing the reference bit."""
        if node is self.hand:
            self.hand = self.hand.prev
        self._count(node.place, -1)
        self._count(place, +1)
        node.place = place
        node.ref = False
        node.move_to_head(self.heads[place])

    def hand_over(self, node: Node, head: Node, place: Place) -> None:
        """Give a node away to a free list, its reference bit unchanged."""
        if node is self.hand:
            self.hand = self.hand.prev
        self._count(node.place, -1)
        node.place = place
        node.move_to_head(head)

    def adopt(self, node: Node) -> None:
        """Take a node from a pending list."""
        place = Place.ACTIVE if node.ref else Place.INACTIVE
        self._count(place, +1)
        node.place = place
        node.ref = False
        node.move_to_head(self.heads[place])

    def rotate(self) -> None:
        """Give referenced nodes another round, and keep the inactive list at least as long as the active."""
        if self.counts[Place.INACTIVE] < self.counts[Place.ACTIVE]:
            self._rotate_active()
        self._rotate_inactive()

    def _rotate_active(self) -> None:
        head = self.heads[Place.ACTIVE]
        first = head.next
        for scanned, node in enumerate(_from_tail(head), 1):
            self.move(node, Place.ACTIVE if node.ref else Place.INACTIVE)
            if scanned == self.scans or node is first:
                break

    def _rotate_inactive(self) -> None:
        head = self.heads[Place.INACTIVE]
        if head.next is head:
            return
        last = self.hand.next
        if last is head:
            last = last.next
        current = self.hand
        following = head
        scanned = 0
        while scanned < self.scans:
            if current is head:
                current = current.prev
                continue
            following = current.prev
            if current.ref:
                self.move(current, Place.ACTIVE)
            if current is last:
                break
            current = following
            scanned += 1
        self.hand = following

    def shrink(self, wanted: int, head: Node, place: Place) -> None:
        """Evict up to `wanted` unreferenced nodes to a free list, or else any one node."""
        evicted = 0
        for scanned, node in enumerate(_from_tail(self.heads[Place.INACTIVE]), 1):
            if node.ref:
                self.move(node, Place.ACTIVE)
            else:
                self.evict(node)
                self.hand_over(node, head, place)
                evicted += 1
                if evicted == wanted:
                    break
            if scanned == self.scans:
                break
        if evicted:
            return
        inactive = self.heads[Place.INACTIVE]
        forced = inactive if inactive.next is not inactive else self.heads[Place.ACTIVE]
        if forced.prev is not forced:
            victim = forced.prev
            self.evict(victim)
            self.hand_over(victim, head, place)

    def take_free(self, limit: int) -> Iterator[Node]:
        """Up to `limit` free nodes, unlinked by the caller before it asks for the next."""
        taken = 0
        for node in _from_head(self.heads[Place.FREE]):
            if taken == limit:
                return
            taken += 1
            yield node
        for _ in range(min(limit - taken, self.fresh)):
            self.fresh -= 1
            yield Node()


class _LocalList:
    """What one CPU holds of the common LRU: its free nodes, and those it used since it last ran out."""

    def __init__(self, cpu: int):
        self.free = Node()
        self.pending = Node()
        self.next_steal = cpu

    def pop_free(self) -> Node | None:
        node = self.free.next
        if node is self.free:
            return None
        node.unlink()
        return node


class CommonLru:
    """One order for all CPUs: BPF_MAP_TYPE_LRU_HASH without BPF_F_NO_COMMON_LRU.

    `evict(node)` is called when a node that is in the table is taken away.
    """

    def __init__(self, size: int, ncpu: int, evict: Callable[[Node], None]):
        self.batch = min(max(size // ncpu // 2, 1), _COMMON_BATCH)
        self.evict = evict
        self.shared = _LruList(size, _COMMON_BATCH, evict)
        self.locals = [_LocalList(cpu) for cpu in range(ncpu)]

    def take(self, cpu: int) -> Node | None:
        """A node for a new element, evicting others if need be; None if there is nothing to evict."""
        local = self.locals[cpu]
        node = local.pop_free()
        if node is None:
            self._refill(local)
            node = local.pop_free()
        if node is None:
            node = self._steal(local)
        if node is not None:
            node.cpu = cpu
            node.place = Place.LOCAL_PENDING
            node.ref = False
            node.move_to_head(local.pending)
        return node

    def _refill(self, local: _LocalList) -> None:
        shared = self.shared
        for node in _from_tail(local.pending):
            shared.adopt(node)
        shared.rotate()
        taken = 0
        for node in shared.take_free(self.batch):
            shared.hand_over(node, local.free, Place.LOCAL_FREE)
            taken += 1
        if taken < self.batch:
            shared.shrink(self.batch - taken, local.free, Place.LOCAL_FREE)

    def _steal(self, local: _LocalList) -> Node | None:
        first = local.next_steal
        cpu = first
        while True:
            victim = self.locals[cpu]
            node = victim.pop_free() or self._pop_pending(victim)
            cpu = (cpu + 1) % len(self.locals)
            if node is not None or cpu == first:
                break
        local.next_steal = cpu
        return node

    def _pop_pending(self, local: _LocalList) -> Node | None:
        for force in (False, True):
            for node in _from_tail(local.pending):
                if force or not node.ref:
                    self.evict(node)
                    node.unlink()
                    return node
        return None

    def give_back(self, node: Node) -> None:
        """The element of this node is gone from the table."""
        if node.place == Place.LOCAL_PENDING:
            node.place = Place.LOCAL_FREE
            node.ref = False
            node.move_to_head(self.locals[node.cpu].free)
        else:
            self.shared.move(node, Place.FREE)


class PerCpuLru:
    """An order and a share of the elements for each CPU: BPF_F_NO_COMMON_LRU."""

    def __init__(self, size: int, ncpu: int, evict: Callable[[Node], None]):
        share = size // ncpu
        self.lists = [_LruList(share, _PERCPU_BATCH, evict) for _ in range(ncpu)]

    def take(self, cpu: int) -> Node | None:
        """As CommonLru.take, among this CPU's share."""
        lru = self.lists[cpu]
        lru.rotate()
        node = next(lru.take_free(1), None)
        if node is None:
            lru.shrink(_PERCPU_BATCH, lru.heads[Place.FREE], Place.FREE)
            node = next(lru.take_free(1), None)
        if node is not None:
            node.cpu = cpu
            lru.move(node, Place.INACTIVE)
        return node

    def give_back(self, node: Node) -> None:
        """As CommonLru.give_back."""
        self.lists[node.cpu].move(node, Place.FREE)
