"""What verdicts do with a frame."""

from __future__ import annotations

from fsir.interp.results import Hook

_XDP_KEEPS = frozenset({2, 3, 4})  # PASS, TX, REDIRECT; every other number drops
_TC_DROPS = frozenset({2, 4, 5, 8})  # SHOT, STOLEN, QUEUED, TRAP


def is_dropped(verdict: int, hook: Hook) -> bool:
    """Whether the frame ends here."""
    return verdict in _TC_DROPS if hook == "skb" else verdict not in _XDP_KEEPS
