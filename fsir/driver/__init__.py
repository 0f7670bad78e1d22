"""The driver: reading inputs, running pass pipelines, writing targets, and telling the user what happened.

`fs-opt` is `cli.main`; other tools use the pieces: `inputs.load_module`, `pass_manager.run_pipeline`,
`output.write_file`, and `shell.guard`, which turns every failure into an error line and exit status 1.
Passes use `diagnostics` (remarks, warnings, errors at an operation) and `pipeline_pass.PipelinePass`.
"""
