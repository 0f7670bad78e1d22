"""The NIC part in front of the wire: P4 text in its interpreter, as there is no NIC here that would run it.

What the switch sends to its CPU port, handoff header and all, is what the interface then receives.
"""

from __future__ import annotations

from typing import Any

from fsir.backends.p4.controller import Controller
from fsir.backends.p4.interp import Output, Switch, load
from fsir.backends.p4.mirror import MapAddition, add_to
from fsir.interp.mapfile import Contents

_PORTS = 500  # ports below are numbered like their interfaces


class NicPart:
    """`part` is that of the manifest; `contents` are the maps that its tables mirror."""

    def __init__(self, part: dict[str, Any], source: bytes, ifindex: int, contents: Contents) -> None:
        ports = {} if ifindex < _PORTS else {ifindex: 0}
        self.port = ports.get(ifindex, ifindex)
        self._cpu_port: int = part["control_plane"]["cpu_port"]
        self._switch = Switch(load(source.decode(), part["artifact"]))
        self._controller = Controller(self._switch, part["control_plane"], ports)
        self._controller.mirror(contents)
        self._additions: list[MapAddition] = []

    def process(self, frame: bytes, clock_ns: int) -> Output | None:
        """What leaves the switch; None for a frame that it drops."""
        outputs = self._switch.process(frame, self.port, clock_ns)
        if not outputs:
            return None
        (output,) = outputs
        return output

    def to_host(self, output: Output) -> bool:
        """Whether the frame goes on to the interface."""
        return output.port == self._cpu_port

    def counted(self, contents: Contents, cpu: int) -> Contents:
        """Map contents with what the NIC has counted."""
        self._additions += self._controller.collect()
        return add_to(contents, self._controller.control, self._additions, cpu)
