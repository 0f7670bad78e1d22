/* What the kernel's own headers give the programs in samples/bpf besides the user API: included before each. */
#include <linux/types.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/ptrace.h>
#include <linux/pkt_cls.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
#define bool _Bool
#define true 1
#define false 0
#define TASK_COMM_LEN 16
#define NULL ((void *)0)
#define AF_INET 2
#define AF_INET6 10
#define PF_INET AF_INET
#define PF_INET6 AF_INET6
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOL_SOCKET 1
#define SOL_TCP 6
#define SOL_IPV6 41
#define SO_SNDBUF 7
#define SO_RCVBUF 8
#define __packed __attribute__((packed))
#define BITS_PER_LONG 64
#define SOL_IP 0
#define __force
#define __user
struct sockaddr {
	__u16 sa_family;
	char sa_data[14];
};
#define htons(x) ((__be16)__builtin_bswap16(x))
#define ntohs htons
#define htonl(x) ((__be32)__builtin_bswap32(x))
#define ntohl htonl
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define cpu_to_be32 htonl
#define memcmp __builtin_memcmp
