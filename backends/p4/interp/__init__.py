"""An interpreter of P4_16 text for the v1model architecture, written apart from the P4 emitter to test it.

    program = load(text, "nic.p4")            # P4Error: file:line:col: error: …
    switch = Switch(program)
    switch.insert("ipv4_lpm", [Lpm(0x0A000000, 8)], "forward", [0x0200_0000_0001, 3])
    outputs = switch.process(frame, port=1)   # [Output(port=3, data=b"…")]

It is no P4 compiler: clone, resubmit, recirculate, value sets, table implementations, generic structs and user
packages are refused with an error at their place, never run wrongly.
"""

from fsir.backends.p4.interp.errors import ControlPlaneError, P4Error, P4RuntimeError
from fsir.backends.p4.interp.program import Program, load
from fsir.backends.p4.interp.switch import Output, Switch
from fsir.backends.p4.interp.tables import Exact, KeyMatch, Lpm, Range, Ternary

__all__ = [
    "ControlPlaneError",
    "Exact",
    "KeyMatch",
    "Lpm",
    "Output",
    "P4Error",
    "P4RuntimeError",
    "Program",
    "Range",
    "Switch",
    "Ternary",
    "load",
]
