"""Traffic and tables of examples/kv-cache."""

import random
import struct
from typing import Any

from traffic import frames as f
from traffic import frames6 as f6
from traffic.cases import Case
from traffic.tables import Maps, entry, u32

PORT = 11211
SERVER = "10.0.0.11"
MAX_KEY, MAX_REPLY = 32, 160
# Lengths of what is cached: empty, odd and even, the longest reply that fits.
DATA = {
    b"a": b"",
    b"session:17": b"0123456789abcdef",
    b"user:4711:name": b"Ada Lovelace!",
    b"counter": b"7",
    b"page:/index.html": b"<html><body>hello</body></html>\r\n",
    b"k" * 31: b"\xff" * 40,
    b"k" * 32: bytes(range(64)),
    b"largest": b"x" * (MAX_REPLY - len(b"VALUE largest 0 132\r\n\r\nEND\r\n")),
}
# Entries that the control plane has damaged: no reply, and one that is longer than its room.
EMPTY, BROKEN = b"empty", b"broken"
# Only here to be changed: DELETE and SET remove them, GET before and after.
CHANGED = [b"volatile:%d" % number for number in range(40)]
UNKNOWN = (b"b", b"session:18", b"user:4711", b"counters", b"k" * 30, b"A")


def reply(key: bytes) -> bytes:
    data = DATA.get(key, b"v")
    return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(data), data)


def words(data: bytes) -> int:
    """The sum of the little-endian 16-bit words of the data, as the program adds them."""
    data += bytes(len(data) % 2)
    return sum(struct.unpack(f"<{len(data) // 2}H", data))


def cache_entry(key: bytes, content: bytes, length: int | None = None) -> Any:
    size = len(content) if length is None else length
    value = u32(size) + u32(words(content)) + bytes(8) + content.ljust(MAX_REPLY, b"\0")
    return entry(u32(len(key)) + key.ljust(MAX_KEY, b"\0"), value)


def maps() -> Maps:
    return {
        "cache": [
            *(cache_entry(key, reply(key)) for key in (*DATA, *CHANGED)),
            cache_entry(EMPTY, b""),
            cache_entry(BROKEN, b"", MAX_REPLY + 1),
        ],
        "stages": [{"key": u32(0).hex(), "program": "kv_get"}, {"key": u32(1).hex(), "program": "kv_invalidate"}],
    }


def settings() -> list[Maps]:
    """The cache turned off."""
    return [{".data": [entry(u32(0), u32(0))]}]


def client(rng: random.Random) -> tuple[str, int]:
    return f"10.0.{rng.randrange(4)}.{rng.randrange(1, 255)}", rng.randrange(1024, 65536)


def tags(rng: random.Random, frame: bytes) -> bytes:
    """The frame, sometimes with one or two VLAN tags."""
    vids = [rng.randrange(4096) for _ in range(rng.choices((0, 1, 2), (6, 2, 1))[0])]
    return f6.tagged(frame, *vids, outer=rng.choice((f.ETH_QINQ, f.ETH_VLAN)))


def over_udp(rng: random.Random, text: bytes, *, port: int = PORT, head: bytes | None = None, **fields: Any) -> bytes:
    src, sport = client(rng)
    fields.setdefault("tos", rng.choice((0, 0, 8, 0xFF)))
    fields.setdefault("ttl", rng.choice((1, 64, 255)))
    head = struct.pack("!HHHH", rng.randrange(65536), 0, 1, rng.choice((0, 0, 7))) if head is None else head
    body = f.udp(src, SERVER, sport, port, head + text)
    return tags(rng, f.ethernet(f.ipv4(f.UDP, src, SERVER, body, ident=rng.randrange(65536), **fields)))


def over_tcp(rng: random.Random, text: bytes, *, port: int = PORT, doff: int | None = None) -> bytes:
    src, sport = client(rng)
    options = b"\1" * 4 * rng.choice((0, 0, 3, 10))
    body = f.tcp(src, SERVER, sport, port, text, flags=f.ACK | f.PSH, options=options, doff=doff)
    return tags(rng, f.ethernet(f.ipv4(f.TCP, src, SERVER, body)))


def get(rng: random.Random) -> bytes:
    return over_udp(rng, b"get " + rng.choice(list(DATA)) + b"\r\n")


def padded(rng: random.Random) -> bytes:
    """A request with Ethernet padding, or text behind the end of the line."""
    frame = over_udp(rng, b"get " + rng.choice(list(DATA)) + b"\r\n")
    return rng.choice((f.pad(frame), frame + rng.randbytes(rng.randint(1, 300))))


def miss(rng: random.Random) -> bytes:
    return over_udp(rng, b"get " + rng.choice((*UNKNOWN, EMPTY, BROKEN)) + b"\r\n")


def get_changed(rng: random.Random) -> bytes:
    return over_udp(rng, b"get " + rng.choice(CHANGED) + b"\r\n")


def not_one_key(rng: random.Random) -> bytes:
    """No key, several, one that is too long, one with what no key contains, a line without end."""
    text = rng.choice(
        (
            b"get \r\n",
            b"get  a\r\n",
            b"get a counter\r\n",
            b"get " + b"k" * 33 + b"\r\n",
            b"get " + b"k" * 80 + b"\r\n",
            b"get cou\tnter\r\n",
            b"get a\n",
            b"get counter",
            b"get " + b"k" * 32,
            b"get " + b"k" * 33,
        )
    )
    return over_udp(rng, text)


def other_request(rng: random.Random) -> bytes:
    near = b"get "
    at = rng.randrange(4)
    wrong = near[:at] + bytes([near[at] ^ 0x20]) + near[at + 1 :]
    return over_udp(
        rng, rng.choice((b"gets a\r\n", b"stats\r\n", b"set a 0 0 1\r\nx\r\n", b"get", b"", wrong + b"a\r\n"))
    )


def other_datagram(rng: random.Random) -> bytes:
    """A request in several datagrams."""
    head = struct.pack("!HHHH", 1, *rng.choice(((1, 1), (0, 2), (0, 0), (0x0100, 1), (0, 0x0100))), 0)
    return over_udp(rng, b"get a\r\n", head=head)


def change(rng: random.Random) -> bytes:
    key = rng.choice(CHANGED)
    return over_tcp(rng, rng.choice((b"set %s 0 0 1\r\nx\r\n", b"cas %s 0 0 1 9\r\nx\r\n", b"delete %s\r\n")) % key)


def change_unknown(rng: random.Random) -> bytes:
    return over_tcp(rng, rng.choice((b"set ", b"delete ")) + rng.choice(UNKNOWN) + b" 0 0 0\r\n\r\n")


def other_command(rng: random.Random) -> bytes:
    texts = (
        b"",
        b"get a\r\n",
        b"set",
        b"delete",
        b"set \r\n",
        b"delete " + b"k" * 33 + b"\r\n",
        b"delexe a\r\n",
        b"sex a",
        b"cat a",
    )
    return over_tcp(rng, rng.choice(texts))


def other_port(rng: random.Random) -> bytes:
    port = rng.choice((11210, 11212, 0xCB2B, 80))
    return rng.choice((over_udp, over_tcp))(rng, b"get a\r\n", port=port)


def data_offset(rng: random.Random) -> bytes:
    return over_tcp(rng, b"delete a\r\n", doff=rng.choice((0, 4, 6, 14, 15)))


def not_plain(rng: random.Random) -> bytes:
    """Options, and fragments: the server's."""
    fields = rng.choice(({"options": bytes(4)}, {"frag": f.MF}, {"frag": 1}, {"frag": 0x1FFF}, {"frag": 0x8000}))
    return over_udp(rng, b"get a\r\n", **fields)


def other_protocol(rng: random.Random) -> bytes:
    return tags(rng, f.ethernet(f.ipv4(rng.choice((f.ICMP, f.GRE, f.SCTP)), "10.0.0.2", SERVER, bytes(40))))


def not_ip(rng: random.Random) -> bytes:
    frame = f.ethernet(f.payload(rng, 200), rng.choice((f.ETH_ARP, f.ETH_IPV6, f.ETH_LLDP)))
    return f6.tagged(frame, *range(rng.randrange(4)))


def long(rng: random.Random) -> bytes:
    return over_udp(rng, b"get counter\r\n" + bytes(rng.choice((1300, 1400, 1450 - 8))))


def truncated(rng: random.Random) -> bytes:
    return f.truncate(rng, rng.choice((get, change))(rng), 100)


CASES = (
    Case(30, get),
    Case(6, padded),
    Case(8, miss),
    Case(6, get_changed),
    Case(6, not_one_key),
    Case(4, other_request),
    Case(3, other_datagram),
    Case(3, change),
    Case(2, change_unknown),
    Case(3, other_command),
    Case(3, other_port),
    Case(2, data_offset),
    Case(3, not_plain),
    Case(2, other_protocol),
    Case(3, not_ip),
    Case(2, long),
    Case(2, lambda rng: f.bad_ipv4(rng, get(rng))),
    Case(4, truncated),
    Case(2, f.not_ipv4),
)


def sweep(rng: random.Random) -> list[bytes]:
    """Every truncation of both transports, every length of a key, every key with none, one and two tags."""
    request = over_udp(rng, b"get counter\r\n")
    plain = request[:12] + request[request.index(b"\x08\x00\x45") :]
    command = over_tcp(rng, b"delete counterx\r\n")
    return [
        *f.truncations(plain, 70),
        *f.truncations(f6.tagged(plain, 1, 2), 60),
        *f.truncations(command, 120),
        *(over_udp(rng, b"get " + b"k" * size + b"\r\n") for size in range(36)),
        *(
            f6.tagged(request[:12] + request[request.index(b"\x08\x00\x45") :], *range(count))
            for key in DATA
            for count in range(3)
            for request in [over_udp(rng, b"get " + key + b"\r\n")]
        ),
    ]
