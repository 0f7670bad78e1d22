"""What every random program starts with: types, helpers, maps, and small subprograms."""

from __future__ import annotations

import random

HEAD = """\
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long long s64;
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*update)(void *, const void *, const void *, u64) = (void *)2;
static long (*delete)(void *, const void *) = (void *)3;
static u32 (*cpu_id)(void) = (void *)8;
static long (*redirect)(u32, u64) = (void *)23;
static s64 (*csum_diff)(u32 *, u32, u32 *, u32, u32) = (void *)28;
static long (*adjust_head)(struct xdp_md *, int) = (void *)44;
static long (*redirect_map)(void *, u64, u64) = (void *)51;
static long (*adjust_meta)(struct xdp_md *, int) = (void *)54;
static long (*adjust_tail)(struct xdp_md *, int) = (void *)65;
static long (*load_bytes)(struct xdp_md *, u32, void *, u32) = (void *)189;
static long (*store_bytes)(struct xdp_md *, u32, void *, u32) = (void *)190;
static long (*bpf_loop)(u32, void *, void *, u64) = (void *)181;
#define BOUND(x, m) ({ u64 j_ = (x) & (m); asm volatile("" : "+r"(j_)); j_; })
#define ROL16(x, n) ((u16)((u16)(x) << (n)) | (u16)((u16)(x) >> (16 - (n))))
#define ROL32(x, n) ((u32)(x) << (n) | (u32)(x) >> (32 - (n)))
#define ROL64(x, n) ((u64)(x) << (n) | (u64)(x) >> (64 - (n)))
struct eth { u8 dst[6], src[6]; u16 type; } __attribute__((packed));
struct tag { u16 tci, type; };
struct ip4 { u8 ihl : 4, version : 4; u8 tos; u16 len, id, frag; u8 ttl, proto; u16 check; u32 src, dst; };
struct ip6 { u8 low : 4, version : 4; u8 flow[3]; u16 len; u8 next, hops; u32 src[4], dst[4]; };
struct tcp { u16 src, dst; u32 seq, ack; u16 res : 4, doff : 4, fin : 1, syn : 1, rest : 6; u16 win, check, urg; };
struct udp { u16 src, dst, len, check; };
struct key { u32 a; u16 b; u8 c; };
struct val { u64 x; u32 y; u16 z; u8 w; s8 t; s32 q, r; };
struct bits { u32 a : 3, b : 9, c : 20; u16 d : 5, : 3, e : 8; };
struct prefix { u32 len, addr; };
char _license[] SEC("license") = "GPL";
"""

BTF_MAP = """\
struct { int (*type)[%(number)d]; int (*max_entries)[%(size)d]; %(key)s *key; %(value)s *value;%(flags)s } \
%(name)s SEC(".maps");
"""
LEGACY = "struct map_def { u32 type, key_size, value_size, max_entries, map_flags; };\n"
LEGACY_MAP = """\
struct map_def %(name)s SEC("maps") = { %(number)d, sizeof(%(key)s), sizeof(%(value)s), %(size)d, %(flag_number)d };
"""

MAPS: dict[str, tuple[int, str, str, tuple[int, ...], int]] = {
    "m_hash": (1, "struct key", "struct val", (1024, 1024, 16), 0),
    "m_small": (1, "u16", "u32", (1024,), 0),
    "m_array": (2, "u32", "struct val", (16, 3, 1), 0),
    "m_words": (2, "u32", "u32", (64,), 0),
    "m_bits": (2, "u32", "struct bits", (4,), 0),
    "m_cpu": (6, "u32", "u64", (8,), 0),
    "m_cpuhash": (5, "struct key", "struct val", (256,), 0),
    "m_lru": (9, "u32", "u64", (4096,), 0),
    "m_trie": (11, "struct prefix", "u32", (64,), 1),
    "m_dev": (14, "u32", "u32", (8,), 0),
    "m_out": (2, "u32", "u64", (8,), 0),
}
"""Type number, key, value, sizes to choose from, flags."""

ARRAYS = {"m_array": "val", "m_words": "u32", "m_bits": "bits", "m_cpu": "u64"}
HASHES = {"m_hash": "val", "m_cpuhash": "val", "m_small": "u32", "m_lru": "u64", "m_trie": "u32"}


def maps(rng: random.Random, legacy: bool) -> str:
    """The definitions of all maps. A legacy section works without debug information."""
    text = [LEGACY] if legacy else []
    for name, (number, key, value, sizes, flags) in MAPS.items():
        words = {
            "name": name,
            "number": number,
            "key": key,
            "value": value,
            "size": rng.choice(sizes),
            "flags": f" int (*map_flags)[{flags}];" if flags else "",
            "flag_number": flags,
        }
        text.append((LEGACY_MAP if legacy else BTF_MAP) % words)
    return "".join(text)


GLOBALS = """\
volatile const u32 c_mask = 0x3f;
volatile const u64 c_table[4] = { 1, 0xff, 0x8000000000000001ull, 42 };
static const u8 c_bytes[9] = { 3, 1, 4, 1, 5, 9, 2, 6, 5 };
u32 g_count = 5;
u64 g_zero;
s16 g_small[4] = { 1, -1, 300, -300 };
"""
