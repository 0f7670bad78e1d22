"""Helpers on sockets. The machine has none: lookups find nothing, and the rest is never reached with one."""

from fsir.interp.helper_base import helper
from fsir.interp.machine import HelperError, Machine


def _find_none(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0


for _name in (
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "skc_lookup_tcp",
    "get_socket_cookie",
    "skc_to_tcp6_sock",
    "skc_to_tcp_sock",
    "skc_to_tcp_timewait_sock",
    "skc_to_tcp_request_sock",
    "skc_to_udp6_sock",
    "skc_to_unix_sock",
    "skc_to_mptcp_sock",
):
    helper(_name, word=True)(_find_none)

_OVERFLOW_UID = 65534


@helper("get_socket_uid", word=True)
def get_socket_uid(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _OVERFLOW_UID


@helper("get_netns_cookie", word=True)
def get_netns_cookie(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """That of the initial network namespace."""
    return 1


def _no_socket(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    raise HelperError("a helper was given a socket, but the interpreted machine has none")


for _name in (
    "sk_release",
    "sk_fullsock",
    "tcp_sock",
    "get_listener_sock",
    "tcp_check_syncookie",
    "tcp_gen_syncookie",
):
    helper(_name)(_no_socket)


@helper("sk_assign")
def sk_assign(machine: Machine, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Only sk_lookup programs may assign no socket; what they assign is not looked at."""
    return _no_socket(machine, r1, r2, r3, r4, r5) if r2 else 0
