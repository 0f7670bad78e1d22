/*
 * The state of one packet's processing, and the ways out of it.
 *
 * Addresses are real pointers kept in 64-bit words, as the program computes with them. Nothing is read or written
 * through such a word before it has been checked against the object it must lie in: the packet, the program's stack,
 * or a map value. A word that fails the check ends the packet: it is dropped and counted as a violation.
 */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "programs are compiled for a little-endian machine"
#endif

#define FS_UNUSED __attribute__((unused))
#define FS_API FS_UNUSED static
#define FS_INLINE FS_UNUSED static inline
#define FS_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define FS_HOT __attribute__((hot))           /* what batches of packets need; the linker puts it in one place */
#define FS_APART __attribute__((noinline))    /* what not each batch needs is not in between */

#define FS_MAX_TICKETS 64         /* packets of a batch */
#define FS_MAX_DEPTH 8            /* calls, as the kernel's MAX_CALL_FRAMES */
#define FS_STACK_SIZE 65536       /* for all frames together */
#define FS_LOOP_BUDGET (8u << 20) /* BPF_MAX_LOOPS */

enum { XDP_VERDICT_ABORTED, XDP_VERDICT_DROP, XDP_VERDICT_PASS, XDP_VERDICT_TX, XDP_VERDICT_REDIRECT };

/* struct xdp_md as programs see it; only its address and offsets matter, see fs_any_load(). */
struct fs_context {
	uint32_t data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct fs_redirect {
	enum { FS_NOWHERE, FS_TO_DEVICE, FS_TO_MAP_ENTRY } kind;
	uint32_t ifindex;
	uint32_t map; /* index in fs_maps */
	uint32_t key;
	uint64_t flags;
};

/* How packets ended; one line of JSON at the program's end. */
#define FS_COUNTERS(X)                                                                                             \
	X(received) X(passed) X(transmitted) X(redirected) X(dropped) X(aborted) X(violations) X(handoff_errors)   \
	X(map_errors) X(pass_errors) X(redirect_errors) X(tx_full)

struct fs_counters {
#define FS_COUNTER(name) uint64_t name;
	FS_COUNTERS(FS_COUNTER)
#undef FS_COUNTER
};

/* The number of a packet that the kernel part has counted, see order.h. */
struct fs_ticket {
	uint32_t number;
	uint8_t slot;
};

/* All that the processing of packets changes outside of maps: each thread has its own. What every packet needs is
 * together, at the beginning. */
struct fs_run {
	/* The packet: [meta, data) is metadata, [data, end) the frame; it may grow into the `room` from `first` on. */
	uint64_t meta, data, end;
	uint64_t first, room;

	/* The handoff header, if the packet came with one. */
	const uint8_t *header;
	uint32_t header_size; /* with the trailer, where there is one */
	uint32_t own_meta;    /* bytes of the program's own metadata before the header */
	uint32_t resume;
	uint32_t arrival; /* index in fs_arrivals; FS_ARRIVAL_COUNT for none of them */
	bool in_frame;	  /* the header is the first bytes of the frame */

	bool alone;	      /* other threads wait before they use maps that are written, see maps.h */
	uint32_t depth;
	uint32_t stack_top;   /* frames in use are stack[0 .. stack_top) */
	uint32_t loops;	      /* what may_goto has used of its budget */
	struct fs_redirect redirect;
	struct fs_value *values; /* copies of map values in use */
	struct fs_block *block;	 /* where in their memory there is room */

	struct fs_counters counters;
	uint64_t resumed[FS_ARRIVAL_COUNT + 1]; /* packets that came to each resume point */

	uint32_t ifindex, queue, cpu, cpus;
	struct fs_order *order; /* of this queue */
	struct fs_ticket tickets[FS_MAX_TICKETS];
	uint32_t ticket_count;
	uint64_t now_ns;
	struct fs_context context;
	struct fs_block *blocks; /* all memory of copies */
	struct fs_accessor **accessors; /* by map, see accessor.h */
	uint64_t random;
	jmp_buf escape;
	char message[160]; /* what the violation was */
	uint8_t stack[FS_STACK_SIZE] __attribute__((aligned(16)));
};

/* Why a packet was not processed to its end. */
enum { FS_VIOLATION = 1, FS_REFUSED };

/* End the packet: `verb` of `size` bytes at `address`, which lies in no object the program may touch. */
__attribute__((noreturn, cold, noinline)) FS_API void fs_violation(struct fs_run *run, const char *verb,
								   uint64_t address, uint64_t size)
{
	char where[48];

	if (address - run->data + 65536 < 131072)
		snprintf(where, sizeof(where), "packet%+lld", (long long)(address - run->data));
	else if (address < 65536)
		snprintf(where, sizeof(where), "NULL+%llu", (unsigned long long)address);
	else
		snprintf(where, sizeof(where), "%#llx", (unsigned long long)address);
	snprintf(run->message, sizeof(run->message), "%s of %llu bytes at %s (the packet has %llu)", verb,
		 (unsigned long long)size, where, (unsigned long long)(run->end - run->data));
	longjmp(run->escape, FS_VIOLATION);
}

/* End the packet for another reason. */
__attribute__((noreturn, cold, noinline)) FS_API void fs_fail(struct fs_run *run, const char *why)
{
	snprintf(run->message, sizeof(run->message), "%s", why);
	longjmp(run->escape, FS_VIOLATION);
}

/* End a packet of a handoff that is not one of this part's. */
__attribute__((noreturn, cold, noinline)) FS_API void fs_refuse(struct fs_run *run)
{
	snprintf(run->message, sizeof(run->message), "no handoff header that this part knows");
	longjmp(run->escape, FS_REFUSED);
}

/* A zeroed frame of `size` bytes for a function; its address. */
FS_INLINE uint64_t fs_enter(struct fs_run *run, uint32_t size)
{
	uint8_t *frame = run->stack + run->stack_top;

	if (FS_UNLIKELY(run->depth >= FS_MAX_DEPTH || size > FS_STACK_SIZE - run->stack_top))
		fs_fail(run, "calls nest too deeply");
	run->depth++;
	run->stack_top += size;
	memset(frame, 0, size);
	return (uint64_t)(uintptr_t)frame;
}

FS_INLINE void fs_leave(struct fs_run *run, uint32_t size)
{
	run->depth--;
	run->stack_top -= size;
}

/* may_goto: whether the loop has used up its budget. */
FS_INLINE bool fs_budget_spent(struct fs_run *run)
{
	return ++run->loops > FS_LOOP_BUDGET;
}
