"""One run: packets through an engine, in order, and what is left in the maps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from fsir.interp.mapfile import Contents
from fsir.interp.packet_io import Packet
from fsir.interp.results import Hook, PacketResult
from fsir.run.engines import Settings, Subject, open_engine
from fsir.run.errors import RunError, explained


@dataclass(frozen=True)
class Run:
    """What a run was and what it left."""

    input_name: str
    engine: str
    program: str
    hook: Hook
    results: list[PacketResult]
    maps: Contents
    perf_maps: frozenset[str]
    added_maps: frozenset[str]

    @property
    def title(self) -> str:
        """The run in a few words."""
        return f"{self.input_name}, {self.program}, {self.engine}"


def run(
    subject: Subject, engine_name: str, settings: Settings, packets: Sequence[Packet], time_start: int | None
) -> Run:
    """Run all packets. Raises RunError."""
    with explained(subject.shown), closing(open_engine(engine_name, subject, settings)) as engine:
        results: list[PacketResult] = []
        offset = 0 if time_start is None or not packets else time_start - packets[0].time_ns
        for index, packet in enumerate(packets):
            try:
                results.append(engine.run(index, packet, packet.time_ns + offset))
            except RunError:
                raise
            except Exception as error:
                error.add_note(f"packet {index}")
                raise
        return Run(
            subject.shown,
            engine_name,
            engine.program,
            engine.hook,
            results,
            engine.dump_maps(),
            engine.perf_maps,
            engine.added_maps,
        )
