"""What running a program on packets left, and where two runs differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fsir.interp.machine import Redirect
from fsir.interp.mapfile import Contents

Hook = Literal["xdp", "skb"]

XDP_VERDICTS = ("XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT")
TC_VERDICTS = (
    "TC_ACT_OK",
    "TC_ACT_RECLASSIFY",
    "TC_ACT_SHOT",
    "TC_ACT_PIPE",
    "TC_ACT_STOLEN",
    "TC_ACT_QUEUED",
    "TC_ACT_REPEAT",
    "TC_ACT_REDIRECT",
    "TC_ACT_TRAP",
)


def verdict_name(verdict: int, hook: Hook = "xdp") -> str:
    """The kernel's name of a verdict, a 32-bit number; of an unknown one, what the hook makes of it."""
    if hook == "xdp":
        return XDP_VERDICTS[verdict] if verdict < len(XDP_VERDICTS) else f"{XDP_VERDICTS[0]} ({verdict})"
    if verdict == 0xFFFFFFFF:
        return "TC_ACT_UNSPEC"
    return TC_VERDICTS[verdict] if verdict < len(TC_VERDICTS) else f"TC_ACT_UNSPEC ({verdict})"


@dataclass(frozen=True, slots=True)
class PacketResult:
    """One packet's. What an engine cannot know is None or empty, and is not compared."""

    index: int
    verdict: int
    data: bytes
    metadata: bytes = b""
    hook: Hook = "xdp"
    redirect: Redirect | None = None
    instructions: int | None = None
    helper_calls: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[tuple[str, int], ...] = ()
    """For a split program: the parts that saw the packet, in order, with the instructions of each."""
    bytes_known: bool = True
    """False for a packet that ended where nobody can look at it any more: `data` is then not compared."""
    metadata_known: bool = True
    """False where packets leave without it."""

    @property
    def verdict_name(self) -> str:
        return verdict_name(self.verdict, self.hook)

    def to_json(self) -> dict[str, Any]:
        """As `fs-run --json` prints it."""
        result: dict[str, Any] = {
            "index": self.index,
            "verdict": self.verdict,
            "verdict_name": self.verdict_name,
            "redirect": redirect_to_json(self.redirect),
            "data": self.data.hex() if self.bytes_known else None,
            "metadata": self.metadata.hex(),
        }
        if self.instructions is not None:
            result["instructions"] = self.instructions
        if self.helper_calls:
            result["helper_calls"] = dict(sorted(self.helper_calls.items()))
        if self.parts:
            result["parts"] = [{"part": part, "instructions": count} for part, count in self.parts]
        return result


def redirect_to_json(redirect: Redirect | None) -> dict[str, Any] | None:
    """A redirect's target without the fields that do not apply."""
    if redirect is None:
        return None
    fields = {
        "ifindex": redirect.ifindex,
        "map": redirect.map_name,
        "key": redirect.key,
        "flags": redirect.flags or None,
        "kind": redirect.kind if redirect.kind != "device" else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Difference:
    """The first thing that is not the same in two runs; `where` is a packet or a map."""

    where: str
    what: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} differ: {self.left} and {self.right}"


def compare(
    left: Sequence[PacketResult],
    right: Sequence[PacketResult],
    left_maps: Contents,
    right_maps: Contents,
    *,
    ignore_maps: Collection[str] = (),
    perf_maps: Collection[str] = (),
) -> Difference | None:
    """Where two runs first differ: packet by packet, then map by map; None if nowhere.

    Redirect targets count only where both are known. Records of `perf_maps` may have up to 7 bytes of padding
    behind them, which the kernel adds.
    """
    if len(left) != len(right):
        return Difference("packets", "numbers", str(len(left)), str(len(right)))
    for a, b in zip(left, right, strict=True):
        difference = _compare_packets(a, b)
        if difference is not None:
            return difference
    for name in sorted(left_maps.keys() | right_maps.keys()):
        if name in ignore_maps:
            continue
        difference = _compare_maps(name, left_maps.get(name), right_maps.get(name), name in perf_maps)
        if difference is not None:
            return difference
    return None


def _compare_packets(a: PacketResult, b: PacketResult) -> Difference | None:
    where = f"packet {a.index}"
    if a.verdict != b.verdict:
        return Difference(where, "verdicts", a.verdict_name, b.verdict_name)
    if a.redirect is not None and b.redirect is not None and not _same_target(a.redirect, b.redirect):
        return Difference(where, "redirect targets", _shown(a.redirect), _shown(b.redirect))
    known = a.bytes_known and b.bytes_known, a.metadata_known and b.metadata_known
    compared = zip(("bytes", "metadata"), known, (a.data, a.metadata), (b.data, b.metadata), strict=True)
    for what, both, x, y in compared:
        if x != y and both:
            return Difference(where, f"{what} {first_difference(x, y)}", x.hex(), y.hex())
    return None


def _same_target(a: Redirect, b: Redirect) -> bool:
    if a.flags is None or b.flags is None:
        a, b = replace(a, flags=None), replace(b, flags=None)
    return a == b


def _shown(redirect: Redirect) -> str:
    return ", ".join(f"{name} {value}" for name, value in (redirect_to_json(redirect) or {}).items())


def first_difference(a: bytes, b: bytes) -> str:
    """In words: at which byte two strings part, or how long they are."""
    for offset, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return f"from offset {offset}"
    return f"(length {len(a)} and {len(b)})"


def _compare_maps(
    name: str, a: list[dict[str, Any]] | None, b: list[dict[str, Any]] | None, padded: bool
) -> Difference | None:
    where = f"map {name}"
    if a is None or b is None:
        return Difference(where, "runs", "absent" if a is None else "present", "absent" if b is None else "present")
    if a == b:
        return None
    if not any("key" in entry for entry in a + b):
        return _compare_ordered(where, a, b, padded)
    left, right = ({entry["key"]: entry for entry in entries} for entries in (a, b))
    for key in sorted(left.keys() | right.keys()):
        x, y = left.get(key), right.get(key)
        if x != y:
            return Difference(where, f"entries under key {key}", _content(x), _content(y))
    return None


def _compare_ordered(where: str, a: list[dict[str, Any]], b: list[dict[str, Any]], padded: bool) -> Difference | None:
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y and not (padded and _equal_but_padding(x["value"], y["value"])):
            return Difference(where, f"records {index}", _content(x), _content(y))
    if len(a) != len(b):
        return Difference(where, "numbers of records", str(len(a)), str(len(b)))
    return None


def _equal_but_padding(x: str, y: str) -> bool:
    shorter, longer = sorted((x, y), key=len)
    return longer.startswith(shorter) and len(longer) - len(shorter) <= 14


def _content(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "none"
    return " ".join(str(value) for name, value in entry.items() if name != "key")
