"""lit: every `.mlir` file with a RUN line below test/filecheck is a test.

Run `lit test/filecheck` from the virtual environment, or let pytest do it (test/unit/test_lit.py).
"""

import os
import sys
from pathlib import Path

import lit.formats

from fsir.driver.clang import find_clang

config.name = "Frankenstack"  # noqa: F821
config.test_format = lit.formats.ShTest(execute_external=False)  # noqa: F821
config.suffixes = [".mlir", ".test"]  # noqa: F821
config.excludes = ["Inputs", "Output", "unit", "kernel", "corpus", "traffic"]  # noqa: F821
config.test_source_root = os.path.dirname(__file__)  # noqa: F821
config.test_exec_root = str(Path(__file__).parent.parent / "build" / "lit")  # noqa: F821

# fs-opt, fs-run and filecheck are those of the environment that runs lit.
environment = config.environment  # noqa: F821
environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
# A terminal's width and colours must not show in the output that is checked.
environment["COLUMNS"] = "120"
environment["NO_COLOR"] = "1"

# %roundtrip: what is printed reads back to the same, in the custom and in the generic form.
config.substitutions += [  # noqa: F821
    ("%roundtrip", "fs-opt %s | fs-opt | filecheck %s && fs-opt %s --print-op-generic | fs-opt | filecheck %s"),
    ("%examples", str(Path(__file__).parent.parent / "examples")),
]
if find_clang() is not None:
    config.available_features.add("clang")  # noqa: F821
config.recursiveExpansionLimit = 3  # noqa: F821
