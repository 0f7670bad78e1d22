"""What can go wrong between this process and the kernel."""

from __future__ import annotations

import os


class KernelUnavailable(Exception):
    """This machine cannot run programs in its kernel at all; `reason` says what is missing and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KernelError(Exception):
    """The kernel, or libbpf, refused something.

    `errno` is the positive error number (0 where there is none), `log` all that the verifier and libbpf had to
    say; the text of the exception has its last lines.
    """

    def __init__(self, what: str, errno: int = 0, log: str = "") -> None:
        self.what = what
        self.errno = errno
        self.log = log
        text = f"{what}: {error_name(errno)}" if errno else what
        lines = log.splitlines()
        if len(lines) > LOG_LINES:
            lines = [f"(the last {LOG_LINES} of {len(lines)} lines)", *lines[-LOG_LINES:]]
        super().__init__("\n".join([text, *lines]))


def error_name(errno: int) -> str:
    """`errno` in words, including the kernel-internal ENOTSUPP that bpf(2) leaks to its callers."""
    return "not supported by the kernel (ENOTSUPP)" if errno == ENOTSUPP else os.strerror(errno)


ENOTSUPP = 524
LOG_LINES = 20
