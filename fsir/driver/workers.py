"""Work on many items in child processes: one fork each, so that a crash, a hang or a leak costs only that item."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from fsir.driver.diagnostics import Diagnostics, collecting

Item = TypeVar("Item")
Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Failure:
    """A child that gave no result: it ran out of time, died, or raised what nobody expects."""

    what: str
    details: str = ""


@dataclass
class _Child(Generic[Item]):
    item: Item
    process: BaseProcess
    pipe: Connection
    deadline: float


_FORK = multiprocessing.get_context("fork")


def run(
    function: Callable[[Item], Result], items: Iterable[Item], *, jobs: int, timeout: float | None = None
) -> Iterator[tuple[Item, Result | Failure]]:
    """`function` of each item, as results come in. `timeout` is in seconds for each, None is for ever."""
    waiting = iter(items)
    running: list[_Child[Item]] = []
    exhausted = False
    try:
        while running or not exhausted:
            while len(running) < jobs and not exhausted:
                try:
                    item = next(waiting)
                except StopIteration:
                    exhausted = True
                    break
                running.append(_start(function, item, timeout))
            if not running:
                break
            first = min(child.deadline for child in running)
            remaining = None if first == math.inf else max(0.0, first - time.monotonic())
            ready = wait([child.pipe for child in running], remaining)
            for child in list(running):
                if child.pipe in ready or time.monotonic() >= child.deadline:
                    running.remove(child)
                    yield child.item, _finish(child, child.pipe in ready, timeout)
    finally:
        for child in running:
            _kill(child.process)


def _start(function: Callable[[Item], Result], item: Item, timeout: float | None) -> _Child[Item]:
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_child, args=(function, item, sender), daemon=True)
    process.start()
    sender.close()
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    return _Child(item, process, receiver, deadline)


def _child(function: Callable[[Item], Result], item: Item, sender: Connection) -> None:
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    result: object
    try:
        with collecting(Diagnostics()):
            result = function(item)
    except Exception as error:
        result = Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
    sender.send(result)
    sender.close()
    os._exit(0)  # what the item left behind is not worth the time to tidy up


def _finish(child: _Child[Item], ready: bool, timeout: float | None) -> Any:
    try:
        if not ready:
            return Failure(f"took more than {timeout:.0f} s")
        return child.pipe.recv()
    except EOFError:
        child.process.join(5)
        return Failure(f"the process died with status {child.process.exitcode}")
    finally:
        child.pipe.close()
        _kill(child.process)


def _kill(process: BaseProcess) -> None:
    """End a child with everything that it started."""
    if process.pid is not None and process.is_alive():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    process.join()
