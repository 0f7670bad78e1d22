"""`fs-opt`: the compiler's command line. See `fsir.driver` and docs/driver.md."""

from __future__ import annotations

import sys

from fsir.driver.cli import main

if __name__ == "__main__":
    sys.exit(main())
