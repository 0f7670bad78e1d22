"""Write NAME.pcap and maps.json of every example."""

import json
from pathlib import Path

from traffic import NAMES, maps, pcap
from traffic.tables import Maps

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def maps_text(tables: Maps) -> str:
    """JSON with one entry a line."""
    body = ",\n".join(
        f" {json.dumps(name)}: [\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in entries) + "\n ]"
        for name, entries in tables.items()
    )
    return "{\n" + body + "\n}\n"


if __name__ == "__main__":
    for example in NAMES:
        (EXAMPLES / example / f"{example}.pcap").write_bytes(pcap(example))
        (EXAMPLES / example / "maps.json").write_text(maps_text(maps(example)))
