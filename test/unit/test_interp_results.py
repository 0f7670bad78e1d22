"""Results of a run as JSON, and the first difference between two runs."""

from dataclasses import replace

import pytest

from fsir.interp.machine import Redirect
from fsir.interp.results import PacketResult, compare, verdict_name

ONE = PacketResult(0, 2, b"abcdef", b"meta")
TWO = PacketResult(1, 4, b"xyz", redirect=Redirect(map_name="tx", key=3))


@pytest.mark.parametrize(
    ("verdict", "hook", "name"),
    [
        (1, "xdp", "XDP_DROP"),
        (9, "xdp", "XDP_ABORTED (9)"),
        (2, "skb", "TC_ACT_SHOT"),
        (0xFFFFFFFF, "skb", "TC_ACT_UNSPEC"),
    ],
)
def test_verdicts_have_the_kernels_names(verdict: int, hook: str, name: str) -> None:
    assert verdict_name(verdict, "xdp" if hook == "xdp" else "skb") == name


def test_json_says_everything_that_is_known() -> None:
    assert ONE.to_json() == {
        "index": 0,
        "verdict": 2,
        "verdict_name": "XDP_PASS",
        "redirect": None,
        "data": b"abcdef".hex(),
        "metadata": b"meta".hex(),
    }
    full = replace(TWO, instructions=12, helper_calls={"redirect_map": 1}).to_json()
    assert full["redirect"] == {"map": "tx", "key": 3}
    assert (full["instructions"], full["helper_calls"]) == (12, {"redirect_map": 1})


def test_equal_runs_have_no_difference() -> None:
    maps = {"m": [{"key": "00", "value": "01"}]}
    unknown = replace(TWO, redirect=None, instructions=7)
    assert compare([ONE, TWO], [ONE, unknown], maps, {"m": [{"key": "00", "value": "01"}]}) is None


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (replace(ONE, verdict=1), "packet 0: verdicts differ: XDP_PASS and XDP_DROP"),
        (replace(ONE, data=b"abXdef"), "packet 0: bytes from offset 2 differ: 616263646566 and 616258646566"),
        (replace(ONE, data=b"abc"), "packet 0: bytes (length 6 and 3) differ: 616263646566 and 616263"),
        (replace(ONE, metadata=b""), "packet 0: metadata (length 4 and 0) differ: 6d657461 and "),
    ],
)
def test_the_first_difference_between_packets(other: PacketResult, text: str) -> None:
    assert str(compare([ONE], [other], {}, {"m": []})) == text


def test_redirect_targets_count_where_both_are_known() -> None:
    other = replace(TWO, redirect=Redirect(map_name="tx", key=4))
    assert str(compare([TWO], [other], {}, {})) == "packet 1: redirect targets differ: map tx, key 3 and map tx, key 4"


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [
        (
            [{"key": "00", "value": "01"}],
            [{"key": "00", "value": "02"}],
            "map m: entries under key 00 differ: 01 and 02",
        ),
        ([{"key": "00", "value": "01"}], [], "map m: entries under key 00 differ: 01 and none"),
        ([{"value": "01"}, {"value": "02"}], [{"value": "02"}, {"value": "01"}], "map m: records 0 differ: 01 and 02"),
        ([{"value": "01"}], [], "map m: numbers of records differ: 1 and 0"),
    ],
)
def test_the_first_difference_between_maps(left: list[dict[str, str]], right: list[dict[str, str]], text: str) -> None:
    assert str(compare([], [], {"a": [], "m": left}, {"a": [], "m": right})) == text
    assert compare([], [], {"m": left}, {"m": right}, ignore_maps={"m"}) is None


def test_a_packet_or_map_that_is_missing() -> None:
    assert str(compare([ONE], [], {}, {})) == "packets: numbers differ: 1 and 0"
    assert str(compare([], [], {"m": []}, {})) == "map m: runs differ: present and absent"


def test_padding_of_perf_records_is_ignored_where_asked() -> None:
    left, right = {"e": [{"value": "0102"}]}, {"e": [{"value": "0102ffffffff"}]}
    assert compare([], [], left, right, perf_maps={"e"}) is None
    assert compare([], [], left, right) is not None
    longer = {"e": [{"value": "0102" + "00" * 8}]}
    assert compare([], [], left, longer, perf_maps={"e"}) is not None
