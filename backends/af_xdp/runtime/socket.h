/*
 * A socket, for one queue: UMEM, its four rings, and the loop that takes packets from one and puts them on another.
 *
 * A frame of the UMEM is always in one place: in the fill ring or with the kernel, with us while its packet is
 * processed, or in the transmit ring until the completion ring gives it back. There are more frames than the fill ring
 * holds, so that packets being transmitted do not starve reception.
 */

enum { FS_FRAME = 4096, FS_FRAMES = 4096, FS_FILL = 2048, FS_RING = 2048, FS_BATCH = 64, FS_AHEAD = 8 };
enum { FS_RESERVED = 40, FS_TAILROOM = 320 }; /* struct xdp_frame, struct skb_shared_info: the kernel's limits */

#ifndef SO_PREFER_BUSY_POLL /* kernel 5.11 */
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

_Static_assert((int)FS_BATCH <= (int)FS_MAX_TICKETS, "each packet of a batch may have a number");

/* What every batch needs is together, at the beginning: a process that was asleep finds its caches cold. */
struct fs_queue {
	struct xsk_ring_cons rx;
	struct xsk_ring_prod fill;
	const struct xdp_desc *first, *turn, *behind; /* of a batch: its packets, and the one that is being processed */
	const struct xdp_desc *nearly; /* from here on, no packet is known that is FS_AHEAD further */
	uint8_t *memory;
	uint64_t kept;	      /* those of the batch that are being transmitted, a bit for each */
	uint32_t others;      /* those of the batch that are not dropped */
	uint32_t spares;
	uint32_t lent;	      /* frames that the kernel has for packets to come */
	uint32_t outstanding; /* frames in transmission */
	uint32_t prepared;    /* of those, on the transmit ring and not yet shown to the kernel */
	uint32_t idle;	      /* looks for packets, in vain */
	int fd;		      /* the socket's */
	struct fs_reentry reentry;
	struct fs_run run;
	struct xsk_ring_prod tx;
	struct xsk_ring_cons completion;
	const struct fs_port *port;
	pthread_t thread;
	struct xsk_umem *umem;
	struct xsk_socket *socket;
	uint64_t spare[FS_FRAMES]; /* frames that are in no ring */
};

static struct fs_queue **fs_queues; /* of all interfaces */
static uint32_t fs_queue_count;

static uint64_t fs_env_now(struct fs_run *run, int clock)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_MONOTONIC_COARSE };
	struct timespec now;

	(void)run;
	clock_gettime(clocks[clock], &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t fs_env_random(struct fs_run *run)
{
	uint64_t state = run->random;

	if (!state && getrandom(&state, sizeof(state), 0) < 0)
		state = fs_env_now(run, FS_CLOCK_MONOTONIC) ^ (uintptr_t)run;
	state |= !state;
	state ^= state >> 12; /* xorshift64* */
	state ^= state << 25;
	state ^= state >> 27;
	run->random = state;
	return (uint32_t)((state * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

static void fs_env_print(struct fs_run *run, const char *text, size_t length)
{
	(void)run;
	fwrite(text, 1, length, stderr);
	fputc('\n', stderr);
}

/* Whether the kernel could have more frames. How many it has is known here: looking at the ring would fetch a cache line
 * that its CPU writes all the time. */
static bool fs_can_refill(const struct fs_queue *queue)
{
	return queue->lent < FS_FILL && queue->spares;
}

/* Lend frames to the kernel. */
FS_APART static void fs_refill(struct fs_queue *queue)
{
	uint32_t at, count = FS_FILL - queue->lent;

	if (count > queue->spares)
		count = queue->spares;
	if (!count || xsk_ring_prod__reserve(&queue->fill, count, &at) != count)
		return;
	for (uint32_t i = 0; i < count; i++)
		*xsk_ring_prod__fill_addr(&queue->fill, at + i) = queue->spare[--queue->spares];
	xsk_ring_prod__submit(&queue->fill, count);
	queue->lent += count;
}

static void fs_give_back(struct fs_queue *queue, uint64_t address)
{
	queue->spare[queue->spares++] = address & ~(uint64_t)(FS_FRAME - 1);
}

FS_APART static void fs_complete(struct fs_queue *queue)
{
	uint32_t at, count = xsk_ring_cons__peek(&queue->completion, FS_RING, &at);

	for (uint32_t i = 0; i < count; i++)
		fs_give_back(queue, *xsk_ring_cons__comp_addr(&queue->completion, at + i));
	xsk_ring_cons__release(&queue->completion, count);
	queue->outstanding -= count;
}

/* Why there is no socket, in words of those who can do something about it. */
static const char *fs_socket_advice(int error)
{
	switch (error) {
	case EBUSY:
		return " (another socket is there)";
	case EINVAL:
		return " (is there such a queue?)";
	case EOPNOTSUPP:
		return fs_options.bind == XDP_ZEROCOPY ? " (its driver has no zero-copy mode: leave out --zero-copy)" : "";
	default:
		return "";
	}
}

static void fs_poll_busily(int fd)
{
	const int values[][2] = { { SO_PREFER_BUSY_POLL, 1 },
				  { SO_BUSY_POLL, (int)fs_options.busy_poll },
				  { SO_BUSY_POLL_BUDGET, FS_BATCH } };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (setsockopt(fd, SOL_SOCKET, values[i][0], &values[i][1], sizeof(int)))
			fs_die("--busy-poll: the kernel refuses: %s", strerror(errno));
}

static bool fs_is_zero_copy(const struct fs_queue *queue)
{
	struct xdp_options options = { 0 };
	socklen_t size = sizeof(options);

	getsockopt(queue->fd, SOL_XDP, XDP_OPTIONS, &options, &size);
	return options.flags & XDP_OPTIONS_ZEROCOPY;
}

static int fs_create_socket(struct fs_queue *queue, const struct fs_port *port, uint32_t key)
{
	const struct xsk_umem_config memory = { .fill_size = FS_FILL,
						.comp_size = FS_RING,
						.frame_size = FS_FRAME };
	const struct xsk_socket_config config = { .rx_size = FS_RING,
						  .tx_size = FS_RING,
						  .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
						  .bind_flags = fs_options.bind | XDP_USE_NEED_WAKEUP };
	int error = xsk_umem__create(&queue->umem, queue->memory, (uint64_t)FS_FRAMES * FS_FRAME, &queue->fill,
				     &queue->completion, &memory);

	if (error)
		fs_die("cannot register packet memory: %s", strerror(-error));
	error = xsk_socket__create(&queue->socket, port->interface, key, queue->umem, &queue->rx, &queue->tx, &config);
	if (error) {
		xsk_umem__delete(queue->umem);
		queue->umem = NULL;
		queue->socket = NULL;
	}
	return error;
}

/* Room for all frames, in huge pages where the kernel has some: each frame is a page of its own, and addresses of small
 * ones are forgotten from one use to the next. */
static uint8_t *fs_packet_memory(void)
{
	enum { HUGE = 2 << 20 };
	const size_t size = (size_t)FS_FRAMES * FS_FRAME;
	uint8_t *memory = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fs_die("out of memory");
	memory += -(uintptr_t)memory % HUGE;
	madvise(memory, size, MADV_HUGEPAGE);
	return memory;
}

static void fs_open_socket(struct fs_queue *queue, const struct fs_port *port, uint32_t key)
{
	enum { TRIES = 50, PAUSE_MS = 20 };
	int error;

	queue->memory = fs_packet_memory();
	error = fs_create_socket(queue, port, key);
	for (int i = 0; i < TRIES && error == -EBUSY; i++) { /* one that has died is forgotten after some time */
		poll(NULL, 0, PAUSE_MS);
		error = fs_create_socket(queue, port, key);
	}
	if (error)
		fs_die("cannot open an AF_XDP socket on %s, queue %u: %s%s", port->interface, key, strerror(-error),
		       fs_socket_advice(-error));
	for (uint32_t frame = FS_FRAMES; frame--;) /* so that the kernel gets them by rising addresses */
		fs_give_back(queue, (uint64_t)frame * FS_FRAME);
	fs_refill(queue);
	queue->fd = xsk_socket__fd(queue->socket);
	if (fs_options.busy_poll)
		fs_poll_busily(queue->fd);
	queue->port = port;
	queue->run.ifindex = port->ifindex;
	queue->run.queue = key;
	queue->run.accessors = fs_make_accessors();
	queue->run.room = FS_FRAME - FS_TAILROOM - FS_RESERVED;
	queue->run.cpus = (uint32_t)fs_cpus;
	if (FS_ORDERED)
		fs_begin_order(&queue->run, port);
	fs_open_reentry(&queue->reentry);
	error = bpf_map_update_elem(port->socket_map, &key, &queue->fd, BPF_ANY);
	if (error)
		fs_die("cannot put the socket into its map: %s", strerror(-error));
}

static struct fs_queue *fs_add_queue(void)
{
	struct fs_queue **more = realloc(fs_queues, (fs_queue_count + 1) * sizeof(*more));
	struct fs_queue *queue = calloc(1, sizeof(*queue));

	if (!more || !queue)
		fs_die("out of memory");
	fs_queues = more;
	fs_queues[fs_queue_count++] = queue;
	return queue;
}

/* Put the packet on the transmit ring: whether there was room. */
static bool fs_transmit(struct fs_queue *queue)
{
	const struct fs_run *run = &queue->run;
	struct xdp_desc *descriptor;
	uint32_t at;

	/* The completion ring has no more room than this. */
	if (queue->outstanding >= FS_RING || xsk_ring_prod__reserve(&queue->tx, 1, &at) != 1)
		return false;
	descriptor = xsk_ring_prod__tx_desc(&queue->tx, at);
	descriptor->addr = run->data - (uint64_t)(uintptr_t)queue->memory;
	descriptor->len = (uint32_t)(run->end - run->data);
	descriptor->options = 0;
	queue->prepared++;
	queue->outstanding++;
	queue->kept |= UINT64_C(1) << (queue->turn - queue->first);
	return true;
}

/* Show the kernel what it is to send, and wake it up where it waits for that. In copy mode one call sends 32 packets, and
 * says EAGAIN for the rest. */
FS_APART static void fs_kick(struct fs_queue *queue, bool idle)
{
	if (queue->prepared)
		xsk_ring_prod__submit(&queue->tx, queue->prepared);
	queue->prepared = 0;
	for (uint32_t sent = 0; sent < queue->outstanding && xsk_ring_prod__needs_wakeup(&queue->tx); sent += 32)
		if (sendto(queue->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || errno != EAGAIN)
			break;
	if (fs_options.busy_poll || (idle && xsk_ring_prod__needs_wakeup(&queue->fill)))
		recvfrom(queue->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* Carry out a verdict other than XDP_DROP. */
static void fs_conclude(struct fs_queue *queue, uint32_t verdict)
{
	struct fs_run *run = &queue->run;

	queue->others++;
	switch (verdict) {
	case XDP_PASS: /* counted when it has gone */
		run->counters.pass_errors += !fs_pass(&queue->reentry, run);
		break;
	case XDP_REDIRECT:
		run->counters.redirect_errors += !fs_redirect_packet(&queue->reentry, run);
		break;
	case XDP_TX:
		*(fs_transmit(queue) ? &run->counters.transmitted : &run->counters.tx_full) += 1;
		break;
	default:
		run->counters.aborted++;
	}
}

/* Have the bytes of a packet come into the cache; a header may stand in front of it. */
static void fs_prefetch(const uint8_t *packet)
{
	if (FS_ARRIVAL_COUNT)
		__builtin_prefetch(packet - 64);
	__builtin_prefetch(packet);
}

static void fs_set_bounds(struct fs_queue *queue, uint64_t data, uint64_t end)
{
	struct fs_run *run = &queue->run;

	run->data = run->meta = data;
	run->end = end;
	run->first = (data & ~(uint64_t)(FS_FRAME - 1)) + FS_RESERVED; /* frames are aligned, see fs_packet_memory() */
}

/* Process the packets of a batch from number queue->turn on. (Inlined behind setjmp(), it would have no registers.) Between
 * two packets there should be little to do: how much of the next one's work the CPU begins meanwhile depends on it. */
FS_HOT FS_APART static void fs_process_batch(struct fs_queue *queue)
{
	const struct xdp_desc *const behind = queue->behind, *const nearly = queue->nearly;
	const uint8_t *const memory = queue->memory;
	struct fs_run *run = &queue->run;

	for (const struct xdp_desc *packet = queue->turn; packet < behind; packet++) {
		const uint64_t data = (uint64_t)(uintptr_t)memory + packet->addr, end = data + packet->len;
		uint32_t verdict;

		if (packet < nearly)
			fs_prefetch(memory + packet[FS_AHEAD].addr);
		if (FS_NEEDS_RUN)
			queue->turn = packet;
		if (FS_NEEDS_BOUNDS)
			fs_set_bounds(queue, data, end);
		verdict = fs_run_packet(run, data, end);
		if (verdict == XDP_DROP)
			continue;
		if (!FS_NEEDS_BOUNDS)
			fs_set_bounds(queue, data, end);
		queue->turn = packet;
		fs_conclude(queue, verdict);
	}
}

/* Eight at a time, for the compiler to unroll: each instruction that is no packet's keeps the next packets waiting. */
static void fs_copy_addresses(__u64 *place, const struct xdp_desc *packet, const struct xdp_desc *behind)
{
	for (; behind - packet >= 8; packet += 8, place += 8)
		for (int i = 0; i < 8; i++)
			place[i] = packet[i].addr;
	while (packet < behind)
		*place++ = packet++->addr;
}

/* The frames of the batch that are not being transmitted go back to the kernel one by one. The kernel shows packets before
 * it shows that their places on the fill ring are free: if that came in between, they go back later. */
FS_APART static void fs_recycle_some(struct fs_queue *queue, uint32_t count)
{
	const uint32_t back = count - (uint32_t)__builtin_popcountll(queue->kept);
	uint32_t put = 0;
	const bool at_once = xsk_ring_prod__reserve(&queue->fill, back, &put) == back;

	for (uint32_t i = 0; i < count; i++) {
		const uint64_t address = queue->first[i].addr;

		if (queue->kept >> i & 1)
			continue;
		if (at_once)
			*xsk_ring_prod__fill_addr(&queue->fill, put++) = address;
		else
			fs_give_back(queue, address);
	}
	queue->lent -= count;
	if (!at_once)
		return;
	xsk_ring_prod__submit(&queue->fill, back);
	queue->lent += back;
}

/* The frames of the batch go back to the kernel, as they came where they lie in a row on the fill ring, too. */
static void fs_recycle(struct fs_queue *queue, uint32_t count)
{
	uint32_t put = queue->fill.cached_prod;

	if (FS_UNLIKELY(queue->kept || (put & (FS_FILL - 1)) + count > FS_FILL ||
			xsk_ring_prod__reserve(&queue->fill, count, &put) != count)) {
		fs_recycle_some(queue, count);
		return;
	}
	fs_copy_addresses(xsk_ring_prod__fill_addr(&queue->fill, put), queue->first, queue->behind);
	xsk_ring_prod__submit(&queue->fill, count);
}

/* The kernel has read what stands on the fill ring: have the places come to this CPU, to be written when the packets that
 * were taken are done. (Where a CPU has no such instruction, it does nothing.) */
#ifdef __x86_64__
__attribute__((target("prfchw")))
#endif
FS_HOT static void fs_claim(struct fs_queue *queue, uint32_t count)
{
	enum { LINE = 64 / sizeof(__u64) };

	for (uint32_t i = 0; i < count; i += LINE)
		__builtin_prefetch(xsk_ring_prod__fill_addr(&queue->fill, queue->fill.cached_prod + i), 1);
}

/* Take packets that are there: how many. They lie in a row, so that at the ring's end a batch may be a short one. */
FS_HOT FS_APART static uint32_t fs_take(struct fs_queue *queue)
{
	uint32_t at = 0, count = xsk_ring_cons__peek(&queue->rx, FS_BATCH, &at);
	const uint32_t in_row = FS_RING - (at & (FS_RING - 1)), known = queue->rx.cached_prod - at;

	if (count > in_row) {
		xsk_ring_cons__cancel(&queue->rx, count - in_row);
		count = in_row;
	}
	queue->first = queue->turn = xsk_ring_cons__rx_desc(&queue->rx, at);
	queue->behind = queue->first + count;
	queue->nearly = queue->first + (known < in_row ? known : in_row) - FS_AHEAD;
	queue->kept = 0;
	queue->others = 0;
	fs_claim(queue, count);
	return count;
}

/* Process the packets that are there: how many. */
static uint32_t fs_receive(struct fs_queue *queue)
{
	const uint32_t count = fs_take(queue);
	struct fs_run *run = &queue->run;
	int cpu, reason;

	if (!count)
		return 0;
	if (FS_NEEDS_RUN) {
		cpu = sched_getcpu();
		run->cpu = cpu < 0 || cpu >= fs_cpus ? 0 : (uint32_t)cpu;
	}
	reason = FS_NEEDS_RUN ? setjmp(run->escape) : 0;
	if (FS_UNLIKELY(reason)) { /* the packet queue->turn could not go on; the others can */
		fs_abandon(run, reason);
		queue->turn++;
		queue->others++;
	}
	fs_process_batch(queue);
	fs_recycle(queue, count);
	xsk_ring_cons__release(&queue->rx, count);
	run->counters.received += count;
	run->counters.dropped += count - queue->others;
	if (FS_UNLIKELY(queue->reentry.waiting))
		fs_reenter(&queue->reentry, run);
	return count;
}

static void fs_close_socket(struct fs_queue *queue)
{
	if (queue->socket)
		xsk_socket__delete(queue->socket);
	if (queue->umem)
		xsk_umem__delete(queue->umem);
	queue->socket = NULL;
	queue->umem = NULL;
}
