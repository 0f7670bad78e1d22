"""maps.json: what a machine's maps look like in it, there and back."""

import json
from pathlib import Path

import pytest

from fsir.interp.machine import Machine
from fsir.interp.map_base import BPF_F_NO_PREALLOC, MapError, MapSpec
from fsir.interp.mapfile import (
    Contents,
    MapFileError,
    dump_maps,
    fill_maps,
    format_contents,
    read_contents,
)

INNER = MapSpec("inner", "hash", 4, 4, 8)
SPECS = (
    MapSpec("array", "array", 4, 8, 4),
    MapSpec("hash", "hash", 4, 2, 8),
    MapSpec("lru", "lru_hash", 4, 2, 8),
    MapSpec("percpu", "percpu_hash", 4, 2, 8),
    MapSpec("percpu_array", "percpu_array", 4, 2, 8),
    MapSpec("trie", "lpm_trie", 8, 4, 8, BPF_F_NO_PREALLOC),
    MapSpec("devices", "devmap", 4, 8, 8),
    MapSpec("device_hash", "devmap_hash", 4, 4, 8),
    MapSpec("cpus", "cpumap", 4, 8, 8),
    MapSpec("sockets", "xskmap", 4, 4, 8),
    MapSpec("programs", "prog_array", 4, 4, 8),
    MapSpec("maps", "hash_of_maps", 4, 4, 8, inner=INNER),
    MapSpec("queue", "queue", 0, 2, 8),
    MapSpec("stack", "stack", 0, 2, 8),
    MapSpec("ring", "ringbuf", 0, 0, 4096),
    MapSpec("events", "perf_event_array", 4, 4, 0),
)
CONTENTS: Contents = {
    "array": [{"key": "02000000", "value": "0000000000000001"}],
    "hash": [{"key": "00000001", "value": "abcd"}, {"key": "ff000000", "value": "0000"}],
    "lru": [{"key": "00000001", "value": "abcd"}],
    "percpu": [{"key": "00000001", "values": ["0102", "0304"]}],
    "percpu_array": [{"key": "07000000", "values": ["0000", "0304"]}],
    "trie": [{"key": "180000000a010200", "value": "01000000"}, {"key": "200000000a010203", "value": "02000000"}],
    "devices": [{"key": "00000000", "ifindex": 3}, {"key": "01000000", "ifindex": 4, "program": "second"}],
    "device_hash": [{"key": "ffffffff", "ifindex": 3}],
    "cpus": [{"key": "01000000", "qsize": 192}],
    "sockets": [{"key": "00000000", "socket": 0}],
    "programs": [{"key": "05000000", "program": "next"}],
    "maps": [{"key": "00000001", "map": [{"key": "00000007", "value": "00000008"}]}, {"key": "00000002", "map": []}],
    "queue": [{"value": "0002"}, {"value": "0001"}],
    "stack": [{"value": "0002"}, {"value": "0001"}],
    "ring": [],
    "events": [],
}


def machine() -> Machine:
    new = Machine(ncpu=2)
    for spec in SPECS:
        new.add_map(spec)
    return new


def test_every_type_comes_back_as_it_went_in(tmp_path: Path) -> None:
    first = machine()
    fill_maps(first, CONTENTS)
    assert dump_maps(first) == CONTENTS
    path = tmp_path / "maps.json"
    path.write_text(format_contents(dump_maps(first)))
    assert json.loads(path.read_text()) == CONTENTS
    second = machine()
    fill_maps(second, read_contents(path))
    assert dump_maps(second) == CONTENTS


def test_entries_are_sorted_by_key_and_zero_array_entries_left_out() -> None:
    new = machine()
    for key in (b"zzzz", b"aaaa", b"mmmm"):
        new.maps["hash"].update(key, b"vv", 0, 0)
    new.maps["array"].update(bytes(4), bytes(8), 0, 0)
    contents = dump_maps(new)
    assert [entry["key"] for entry in contents["hash"]] == [b"aaaa".hex(), b"mmmm".hex(), b"zzzz".hex()]
    assert contents["array"] == []


def test_rings_and_events_are_dumped_in_order() -> None:
    from fsir.interp.maps_handles import PerfEventArrayMap
    from fsir.interp.maps_ringbuf import RingBufMap

    new = machine()
    ring, events = new.maps["ring"], new.maps["events"]
    assert isinstance(ring, RingBufMap) and isinstance(events, PerfEventArrayMap)
    for data in (b"b", b"a"):
        ring.output(data, 0)
        events.output(0, 0, data)
    ring.reserve(8, 0)
    assert dump_maps(new)["ring"] == dump_maps(new)["events"] == [{"value": "62"}, {"value": "61"}]


def test_missing_cpus_get_zeros() -> None:
    new = machine()
    fill_maps(new, {"percpu": [{"key": "00000001", "values": ["0102"]}]})
    assert dump_maps(new)["percpu"] == [{"key": "00000001", "values": ["0102", "0000"]}]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"none": []}, "map none: the program has no such map; it has array, cpus"),
        ({"hash": [{"key": "00", "value": "0000"}]}, "'key' must be 4 bytes in hex, not \"00\""),
        ({"hash": [{"key": "0000000g", "value": "0000"}]}, "'key' must be 4 bytes in hex"),
        ({"hash": [{"key": "00000000"}]}, "'value' must be 2 bytes in hex, not null"),
        ({"array": [{"key": "04000000", "value": "00" * 8}]}, "refused with E2BIG"),
        ({"percpu": [{"key": "00000000", "values": ["0000"] * 3}]}, "at most 2 CPUs"),
        ({"percpu": [{"key": "00000000", "value": "0000"}]}, "'values' must list"),
        ({"trie": [{"key": "210000000a010200", "value": "00000000"}]}, "refused with EINVAL"),
        ({"devices": [{"key": "00000000", "ifindex": "eth0"}]}, "'ifindex' must be a number"),
        ({"devices": [{"key": "08000000", "ifindex": 1}]}, "refused with E2BIG"),
        ({"device_hash": [{"key": "00000000", "ifindex": 1, "program": "p"}]}, "values of 8 bytes"),
        ({"programs": [{"key": "00000000"}]}, "'program' must name a program"),
        ({"maps": [{"key": "00000000", "value": "00"}]}, "'map' must be the list"),
        ({"maps": [{"key": "00000000", "map": [{"key": "00"}]}]}, r"map maps[00000000]: 'key' must be"),
        ({"ring": [{"value": "00"}]}, "a ringbuf cannot be filled from a file"),
    ],
)
def test_what_does_not_fit_is_an_error_with_a_reason(contents: Contents, message: str) -> None:
    with pytest.raises(MapError) as error:
        fill_maps(machine(), contents)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object of lists by map name"),
        ('{"m": {}}', "map 'm' must be a list of objects"),
        ('{"m": [1]}', "map 'm' must be a list of objects"),
    ],
)
def test_files_that_are_no_maps_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "maps.json"
    path.write_text(text)
    with pytest.raises(MapFileError, match=message) as error:
        read_contents(path)
    assert str(error.value).startswith(f"{path}: error: ")


def test_a_missing_file() -> None:
    with pytest.raises(MapFileError, match=r"^none\.json: error: No such file"):
        read_contents("none.json")
