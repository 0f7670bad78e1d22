"""What a piece of a program can be placed on, as data: one TOML file per target, read by `fsir.placement.targets`.

A new kernel or NIC is a new file. `extends` names the file that it differs from.
"""
