"""The passes, one per file: `passes/raise_maps.py` is the pass `raise-maps` of `fs-opt`.

A file defines one subclass of `xdsl.passes.ModulePass` (or `fsir.driver.pipeline_pass.PipelinePass`) with that name and
a docstring whose first sentence is the pass's line in `fs-opt --list-passes`; its test, from which `--help-pass` takes
the example, is `test/filecheck/passes/raise-maps.mlir`. Files are found by listing (`fsir.driver.registry`); names
that begin with an underscore are not passes.
"""
