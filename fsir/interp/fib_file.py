"""Routes, interfaces and neighbours as a file: what bpf_fib_lookup and bpf_check_mtu ask for.

    {"interfaces": [{"ifindex": 2, "mac": "020000000002", "mtu": 1400, "forwarding": true}],
     "routes": [{"prefix": "10.0.0.0/8", "ifindex": 2, "gateway": "192.0.2.1"},
                {"prefix": "::/0", "action": "blackhole"}],
     "neighbours": [{"ifindex": 2, "address": "192.0.2.1", "mac": "020000000099"}]}

Every list may be missing, and of an interface everything but its number. Routes may have a `metric` and an `mtu`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, get_args

from fsir.interp.fib import Action, Fib, Interface, Route


class RoutesError(ValueError):
    """A file of routes that is none; the message names the file and the entry."""


def read_fib(path: str) -> Fib:
    """Read a file. Raises RoutesError, OSError."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RoutesError(f"{path}: error: is no JSON: {error}") from error
    try:
        return fib_from(document)
    except ValueError as error:
        raise RoutesError(f"{path}: error: {error}") from error


def fib_from(document: object) -> Fib:
    """The tables of a document. Raises ValueError, which names the entry."""
    if not isinstance(document, dict) or (unknown := set(document) - set(_READERS)):
        what = f"unknown: {', '.join(sorted(unknown))}" if isinstance(document, dict) else "it is no object"
        raise ValueError(f"expected an object with {', '.join(_READERS)}; {what}")
    fib = Fib()
    for name, (reader, allowed) in _READERS.items():
        entries = document.get(name, [])
        if not isinstance(entries, list):
            raise ValueError(f"{name} must be a list")
        for number, entry in enumerate(entries):
            try:
                if not isinstance(entry, dict) or (unknown := set(entry) - allowed):
                    raise ValueError(f"expected an object with some of {', '.join(sorted(allowed))}")
                reader(fib, entry)
            except KeyError as missing:
                raise ValueError(f"{name}[{number}]: {missing.args[0]} is missing") from missing
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name}[{number}]: {error}") from error
    return fib


def _interface(fib: Fib, entry: dict[str, Any]) -> None:
    index = _number(entry["ifindex"], 1)
    mtu = _number(entry.get("mtu", 1500), 68)
    forwarding = entry.get("forwarding", True)
    if not isinstance(forwarding, bool):
        raise ValueError("forwarding is true or false")
    fib.interfaces[index] = Interface(index, _mac(entry.get("mac", "000000000000")), mtu, forwarding)


def _route(fib: Fib, entry: dict[str, Any]) -> None:
    action = entry.get("action", "forward")
    if action not in get_args(Action):
        raise ValueError(f"action is one of {', '.join(get_args(Action))}")
    prefix = ip_network(entry["prefix"])
    gateway = ip_address(entry["gateway"]) if "gateway" in entry else None
    index = _number(entry["ifindex"], 1) if action == "forward" else 0
    metric, mtu = _number(entry.get("metric", 0)), _number(entry.get("mtu", 0))
    fib.routes.append(Route(prefix, index, gateway, None, metric, mtu, action))


def _neighbour(fib: Fib, entry: dict[str, Any]) -> None:
    fib.neighbours[_number(entry["ifindex"], 1), ip_address(entry["address"])] = _mac(entry["mac"])


def _number(value: object, lowest: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 1 << 31:
        raise ValueError(f"{value!r} is no number from {lowest} on")
    return value


def _mac(text: object) -> bytes:
    mac = bytes.fromhex(str(text).replace(":", ""))
    if len(mac) != 6:
        raise ValueError(f"{text!r} is no address of 6 bytes")
    return mac


_Reader = Callable[[Fib, dict[str, Any]], None]
_READERS: dict[str, tuple[_Reader, frozenset[str]]] = {
    "interfaces": (_interface, frozenset({"ifindex", "mac", "mtu", "forwarding"})),
    "routes": (_route, frozenset({"prefix", "ifindex", "gateway", "metric", "mtu", "action"})),
    "neighbours": (_neighbour, frozenset({"ifindex", "address", "mac"})),
}
