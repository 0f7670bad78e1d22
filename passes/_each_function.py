"""One function after the other, so that the failure of one need not be the failure of all.

A lowering pass hands its work on a function to `each_function`. Alone, it fails with the first function that fails;
inside of `on_failure`, a handler can put that function aside (with its original code) and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from fsir.dialects.ebpf import FuncOp
from fsir.driver.diagnostics import FailedAt

Handler = Callable[[FuncOp, FailedAt], bool]
"""Takes a function whose lowering failed; true when it has dealt with it."""

_handler: ContextVar[Handler | None] = ContextVar("handler", default=None)


def each_function(funcs: Iterable[FuncOp], action: Callable[[FuncOp], None]) -> None:
    """Apply `action` to each function. It gives up by `fsir.driver.diagnostics.fail`."""
    for func in funcs:
        try:
            action(func)
        except FailedAt as error:
            handler = _handler.get()
            if handler is None or not handler(func, error):
                raise


def is_handled() -> bool:
    """Whether a handler deals with functions that fail, so that one may fail for not being good enough."""
    return _handler.get() is not None


@contextmanager
def on_failure(handler: Handler) -> Iterator[None]:
    """Let `handler` deal with functions that fail in the passes that run inside."""
    token = _handler.set(handler)
    try:
        yield
    finally:
        _handler.reset(token)
