"""The edge between a command-line tool and its user: exit statuses, error lines, interruptions."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable


def guard(action: Callable[[], int], input_name: str, debug: bool = False) -> int:
    """Run `action` for its exit status. Whatever it raises becomes an error line about `input_name` and 1.

    `debug` prints the traceback too. An interrupt gives 130; a reader that closed the pipe ends it quietly.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names come from the input; what the terminal's encoding lacks must not stop a report.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = action()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits; that must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit:
        raise
    except BaseException as error:
        if debug:
            import traceback

            traceback.print_exc()
        from fsir.driver.errors import describe

        print(describe(error, input_name), file=sys.stderr)
        return 1
