"""A placed program as a directory: each part's artifact, the placed IR, and a manifest that says what is what.

manifest.py   the manifest as plain data; manifest.schema.json is its published schema
emit.py       the target `bundle` of fs-opt
read.py       a bundle read back, for the tools that run it
"""
