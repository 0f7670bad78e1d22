"""`fs-run`: packets through a program. See `fsir.run` and docs/fs-run.md."""

from __future__ import annotations

import sys

from fsir.run.cli import main

if __name__ == "__main__":
    sys.exit(main())
