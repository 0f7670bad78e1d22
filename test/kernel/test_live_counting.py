"""Values that the kernel's part adds to while user space works on a packet that does, too: no addition is lost."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_live_deploy import Wire, live
from test_live_order import FAST, SLOW, bundle_of, command, wire

from fsir.backends.af_xdp.inprocess import compiler
from fsir.kernel.live import Capture, send

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")
__all__ = ["wire"]
ROUNDS, BETWEEN = 10, 200
STEPS = 10_000_000
"""Of the slow path: enough for the kernel to do all that comes behind."""
FLOWS = {"flows": [{"key": f"0{n}000000", "value": "00" * 16} for n in range(3)]}


def frame(flow: int, number: int, kind: int) -> bytes:
    head = flow.to_bytes(4, "little") + bytes(8) + b"\x88\xb5"
    return head + bytes([number, kind]) + STEPS.to_bytes(4, "little") + bytes(40)


def totals(entries: Any) -> dict[str, list[int]]:
    """Packets, bytes and odd ones by key, all CPUs together."""
    found = {}
    for entry in entries:
        values = [bytes.fromhex(v) for v in entry.get("values", [entry.get("value")])]
        words = [[int.from_bytes(v[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 16))] for v in values]
        found[entry["key"]] = [sum(column) for column in zip(*words, strict=True)]
    return found


def test_no_addition_is_lost(tmp_path: Path, wire: Wire) -> None:
    (tmp_path / "maps.json").write_text(json.dumps(FLOWS))
    bundle = bundle_of("counting", tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    shared = {each["name"]: [share["mechanism"] for share in each["sharing"]] for each in manifest["maps"]}
    assert shared["totals"] == shared["flows"] == ["counted"]
    assert [handoff["order"] for handoff in manifest["handoffs"]] == ["commuting"]
    rng, (near, far) = random.Random(1), wire
    expected: dict[str, Counter[str]] = {what: Counter() for what in ("packets", "bytes", "odd")}
    with live(far, [*command(bundle), "--maps", str(tmp_path / "maps.json")]) as run, Capture(far) as up:
        for _ in range(ROUNDS):
            sent = [(rng.randrange(4), rng.randrange(256), SLOW)]
            sent += [(rng.randrange(4), rng.randrange(256), FAST) for _ in range(BETWEEN)]
            send(near, [frame(*each) for each in sent])
            assert len(up.take(1)) == 1
            for flow, number, kind in sent:
                for key in ("total", f"0{flow}000000"):
                    times = 1 + (kind == SLOW)
                    expected["packets"][key] += times
                    expected["bytes"][key] += times * number
                    expected["odd"][key] += times * (number & 1)
        document = run.end()
    assert document["user"]["received"] == ROUNDS
    found = {"total": totals(document["maps"]["totals"])["01000000"], **totals(document["maps"]["flows"])}
    assert found == {key: [count[key] for count in expected.values()] for key in found}
