"""The packet being processed: one region in which `data_meta`, `data` and `data_end` move.

All positions are offsets in the region. Programs can access `[data_meta, data_end)`. The limits are those of
the kernel: XDP cannot grow into the `xdp_frame` at the start of the headroom nor into the `skb_shared_info`
behind the tailroom, nor shrink below an Ethernet header.
"""

from fsir.interp.map_base import EINVAL, ENOMEM
from fsir.interp.memory import Memory

EACCES = 13
ETH_HLEN = 14
XDP_HEADROOM = 256
XDP_FRAME_SIZE = 40
"""sizeof(struct xdp_frame), at the start of the headroom: 216 of 256 bytes are usable on 6.18."""
XDP_META_MAX = 252
_PAGE = 4096
_SHARED_INFO = 320
_SKB_HEADROOM = 1024
_MAX_LENGTH = 0xFFFF + _SKB_HEADROOM


class PacketBuffer:
    """Holds one packet at a time; `load` takes the next without allocating.

    With `skb` the buffer behaves as that of a socket buffer: ample head- and tailroom, and no metadata limit.
    """

    def __init__(self, memory: Memory, *, skb: bool = False, tailroom_end: int = _PAGE - _SHARED_INFO):
        self.memory = memory
        self.headroom = _SKB_HEADROOM if skb else XDP_HEADROOM
        self._reserved = 0 if skb else XDP_FRAME_SIZE
        self._tailroom_end = _MAX_LENGTH + _SKB_HEADROOM if skb else tailroom_end
        size = max(self._tailroom_end, _MAX_LENGTH + self.headroom)
        self.region = memory.alloc(size, "packet")
        self.base = self.region.base
        self.data_meta = self.data = self.data_end = self.headroom
        self._hard_end = self._tailroom_end
        self._zeros = bytes(self.headroom)

    def load(self, packet: bytes, metadata: bytes = b"") -> None:
        """Start over with a packet, and metadata directly in front of it. Longer than 65535 is a ValueError."""
        if len(packet) > 0xFFFF:
            raise ValueError(f"a packet of {len(packet)} bytes is longer than 65535")
        if len(metadata) > self.headroom - self._reserved:
            raise ValueError(f"{len(metadata)} bytes of metadata do not fit the headroom")
        buf = self.region.buf
        buf[: self.headroom] = self._zeros
        self.data = self.headroom
        self.data_meta = self.data - len(metadata)
        self.data_end = self.data + len(packet)
        buf[self.data_meta : self.data] = metadata
        buf[self.data : self.data_end] = packet
        self._hard_end = max(self._tailroom_end, self.data_end)
        self._publish()

    def _publish(self) -> None:
        self.region.origin = self.data
        self.memory.set_bounds(self.region, self.data_meta, self.data_end)

    def __len__(self) -> int:
        return self.data_end - self.data

    @property
    def packet(self) -> bytes:
        """The bytes from data to data_end."""
        return bytes(self.region.buf[self.data : self.data_end])

    @property
    def metadata(self) -> bytes:
        """The bytes from data_meta to data."""
        return bytes(self.region.buf[self.data_meta : self.data])

    def read(self, offset: int, size: int) -> bytes | None:
        """`size` bytes at `offset` from data, or None if they are not all in the packet."""
        if offset + size > len(self):
            return None
        return bytes(self.region.buf[self.data + offset : self.data + offset + size])

    def write(self, offset: int, content: bytes) -> bool:
        """Overwrite bytes at `offset` from data; False, and nothing done, if they are not all in the packet."""
        if offset + len(content) > len(self):
            return False
        self.region.buf[self.data + offset : self.data + offset + len(content)] = content
        return True

    # XDP

    def adjust_head(self, delta: int) -> int:
        """Move `data` by `delta`; metadata moves along. 0 or -EINVAL, as bpf_xdp_adjust_head."""
        metadata = self.metadata
        data = self.data + delta
        if data < self._reserved + len(metadata) or data > self.data_end - ETH_HLEN:
            return -EINVAL
        self.data = data
        self.data_meta = data - len(metadata)
        self.region.buf[self.data_meta : data] = metadata
        self._publish()
        return 0

    def adjust_meta(self, delta: int) -> int:
        """Move `data_meta` by `delta`. 0, -EINVAL or -EACCES, as bpf_xdp_adjust_meta."""
        meta = self.data_meta + delta
        size = self.data - meta
        if meta < self._reserved or size < 0:
            return -EINVAL
        if size % 4 or size > XDP_META_MAX:
            return -EACCES
        self.data_meta = meta
        self._publish()
        return 0

    def adjust_tail(self, delta: int) -> int:
        """Move `data_end` by `delta`; added bytes are zero. 0 or -EINVAL, as bpf_xdp_adjust_tail."""
        end = self.data_end + delta
        if end > self._hard_end or end < self.data + ETH_HLEN:
            return -EINVAL
        self._set_end(end)
        return 0

    # Socket buffers

    def resize(self, length: int) -> int:
        """Trim, or extend with zeros at the end, to `length` bytes."""
        if self.data + length > self._hard_end:
            return -ENOMEM
        self._set_end(self.data + length)
        return 0

    def insert(self, offset: int, content: bytes) -> int:
        """Make room at `offset` from data and put `content` there; what precedes it moves forward.

        Where the headroom is used up, everything moves, as the kernel reallocates. An `offset` behind the end of
        a packet that was trimmed is as good as another: the bytes that were there come back.
        """
        buf, size = self.region.buf, len(content)
        length = len(self) + size
        head = bytes(buf[self.data : self.data + offset])
        if self.data - size < self._reserved:
            rest = bytes(buf[self.data + offset : self.data_end])
            if self.headroom + length > self._hard_end:
                return -ENOMEM
            self.data = self.headroom
            buf[self.data + offset + size : self.data + length] = rest
        else:
            self.data -= size
        self.data_meta = self.data
        self.data_end = self.data + length
        buf[self.data : self.data + offset + size] = head + content
        self._publish()
        return 0

    def remove(self, offset: int, size: int) -> int:
        """Cut `size` bytes out at `offset` from data; what precedes them moves back."""
        head = self.read(0, offset)
        if head is None or offset + size > len(self):
            return -ENOMEM
        self.data += size
        self.data_meta = self.data
        self.write(0, head)
        self._publish()
        return 0

    def _set_end(self, end: int) -> None:
        if end > self.data_end:
            self.region.buf[self.data_end : end] = bytes(end - self.data_end)
        self.data_end = end
        self._publish()
