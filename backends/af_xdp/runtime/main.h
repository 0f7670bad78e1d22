/* Start, loop, stop. */

static bool fs_stop;		       /* asked for, by a signal or a thread */
static volatile sig_atomic_t fs_asked; /* for the counters */
static bool fs_detached;	       /* no more packets come */
static bool fs_lost;		       /* an interface has gone */

static void fs_end(void)
{
	__atomic_store_n(&fs_stop, true, __ATOMIC_RELAXED);
}

static bool fs_goes_on(void)
{
	return !__atomic_load_n(&fs_stop, __ATOMIC_RELAXED);
}

static void fs_on_signal(int number)
{
	if (number == SIGUSR1)
		fs_asked = 1;
	else
		fs_end();
}

static void fs_cleanup(void)
{
	fs_close_objects();
	for (uint32_t i = 0; i < fs_queue_count; i++)
		fs_close_socket(fs_queues[i]);
}

static uint64_t fs_now(void)
{
	return fs_env_now(NULL, FS_CLOCK_MONOTONIC);
}

/* A counter of all threads, which may be counting. */
static uint64_t fs_total(size_t offset)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < fs_queue_count; i++)
		total += __atomic_load_n((const uint64_t *)((const char *)&fs_queues[i]->run + offset), __ATOMIC_RELAXED);
	return total;
}

/* The counters, and what the kernel dropped before the sockets, as one line of JSON. */
static void fs_report(FILE *to)
{
	struct xdp_statistics lost = { 0 };

	for (uint32_t i = 0; i < fs_queue_count; i++) {
		struct xdp_statistics kernel = { 0 };
		socklen_t size = sizeof(kernel);

		getsockopt(fs_queues[i]->fd, SOL_XDP, XDP_STATISTICS, &kernel, &size);
		lost.rx_dropped += kernel.rx_dropped;
		lost.rx_ring_full += kernel.rx_ring_full;
		lost.rx_fill_ring_empty_descs += kernel.rx_fill_ring_empty_descs;
	}
	fprintf(to, "{");
#define FS_PRINT(name) \
	fprintf(to, "\"" #name "\": %llu, ", (unsigned long long)fs_total(offsetof(struct fs_run, counters.name)));
	FS_COUNTERS(FS_PRINT)
#undef FS_PRINT
	for (uint32_t i = 0; i < FS_ARRIVAL_COUNT; i++)
		fprintf(to, "\"resume_%u\": %llu, ", fs_arrivals[i].resume,
			(unsigned long long)fs_total(offsetof(struct fs_run, resumed) + i * sizeof(uint64_t)));
	fprintf(to, "\"rx_dropped\": %llu, \"rx_ring_full\": %llu, \"fill_ring_empty\": %llu}\n",
		(unsigned long long)lost.rx_dropped, (unsigned long long)lost.rx_ring_full,
		(unsigned long long)lost.rx_fill_ring_empty_descs);
	fflush(to);
}

/* Whether the interface is still there: one that has gone takes its socket's queue along. */
FS_APART static void fs_check_socket(const struct fs_queue *queue)
{
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(queue->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error == ENETDOWN) {
		fprintf(stderr, "af_xdp: error: the interface %s has gone\n", queue->port->interface);
		__atomic_store_n(&fs_lost, true, __ATOMIC_RELAXED);
		fs_end();
	}
}

/* Process packets that are there, or wait for some. */
FS_HOT static void fs_step(struct fs_queue *queue, int timeout_ms)
{
	struct pollfd waiting;
	bool idle;

	if (queue->outstanding)
		fs_complete(queue);
	if (fs_can_refill(queue))
		fs_refill(queue);
	idle = !fs_receive(queue);
	if (idle) {
		waiting = (struct pollfd){ .fd = queue->fd, .events = POLLIN };
		if (timeout_ms ? !poll(&waiting, 1, timeout_ms) : !(++queue->idle & 0xffff))
			fs_check_socket(queue);
	}
	idle &= !timeout_ms; /* poll() has asked for packets, and where some come, the kernel needs no waking up for them */
	if (idle || queue->outstanding || fs_options.busy_poll)
		fs_kick(queue, idle);
	if (FS_ORDERED)
		fs_publish(&queue->run);
}

static int fs_patience(void)
{
	return fs_options.spin || fs_options.busy_poll ? 0 : 100;
}

/* After the program is gone from the interface: what it has handed over still is processed, and leaves. */
static void fs_drain(struct fs_queue *queue)
{
	uint64_t deadline = fs_now() + 1000000000u;
	uint32_t quiet = 0;

	while (quiet < 10 && fs_now() < deadline) {
		uint64_t before = queue->run.counters.received;

		fs_step(queue, 5);
		quiet = queue->run.counters.received == before && !queue->outstanding ? quiet + 1 : 0;
	}
}

/* The thread of a queue; the first is served by the main thread. */
static void *fs_serve(void *argument)
{
	struct fs_queue *queue = argument;

	while (fs_goes_on())
		fs_step(queue, fs_patience());
	while (!__atomic_load_n(&fs_detached, __ATOMIC_ACQUIRE))
		fs_step(queue, 5);
	fs_drain(queue);
	return NULL;
}

/* The first queue, and what is asked of the process. */
FS_HOT FS_APART static void fs_serve_first(struct fs_queue *queue)
{
	uint64_t next = fs_now();

	while (fs_goes_on()) {
		fs_step(queue, fs_patience());
		if (fs_asked) {
			fs_asked = 0;
			fs_report(stderr);
		}
		if (fs_options.stats && fs_now() >= next) {
			fs_report(stderr);
			next += fs_options.stats * UINT64_C(1000000000);
		}
	}
}

/* No more packets come. */
static void fs_detach_all(void)
{
	for (uint32_t i = 0; i < fs_queue_count; i++)
		bpf_map_delete_elem(fs_queues[i]->port->socket_map, &fs_queues[i]->run.queue);
	for (uint32_t i = 0; i < fs_port_count; i++)
		fs_detach(&fs_ports[i]);
	__atomic_store_n(&fs_detached, true, __ATOMIC_RELEASE);
}

static void fs_handle_signals(void)
{
	const struct sigaction action = { .sa_handler = fs_on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
}

/* Signals are for the main thread: it has what they ask for. */
static void fs_start_threads(void)
{
	sigset_t all, before;
	int error = 0;

	fs_threads = fs_queue_count > 1;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	for (uint32_t i = 1; i < fs_queue_count && !error; i++)
		error = pthread_create(&fs_queues[i]->thread, NULL, fs_serve, fs_queues[i]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		fs_die("cannot start a thread: %s", strerror(error));
}

int main(int argc, char **argv)
{
	int programs[FS_PORTS];
	pid_t parent = getppid();

	fs_parse_options(argc, argv);
	fs_handle_signals();
	prctl(PR_SET_NAME, "af_xdp"); /* whatever the file is called */
	if (fs_options.with_parent && (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent))
		fs_die("--with-parent: the process that started this one has ended");
	fs_check_rights();
	fs_check_order();
	if (fs_options.pin && mkdir(fs_options.pin, 0700) && errno != EEXIST)
		fs_die("cannot make the folder %s: %s", fs_options.pin, strerror(errno));
	for (uint32_t i = 0; i < fs_port_count; i++) {
		struct fs_port *port = &fs_ports[i];

		programs[i] = -1;
		if (port->sockets)
			fs_join(port);
		else
			programs[i] = fs_options.object ? fs_load_object(port) : fs_load_default(port);
	}
	fs_open_maps();
	for (uint32_t i = 0; FS_ORDERED && i < fs_port_count; i++)
		fs_open_order(&fs_ports[i]);
	for (uint32_t i = 0; i < fs_port_count; i++)
		for (uint32_t queue = 0; queue < fs_ports[i].queues; queue++)
			fs_open_socket(fs_add_queue(), &fs_ports[i], fs_options.queue + queue);
	for (uint32_t i = 0; i < fs_port_count; i++)
		if (programs[i] >= 0)
			fs_attach(&fs_ports[i], programs[i]);
	fs_start_threads();
	for (uint32_t i = 0; i < fs_queue_count; i++)
		fprintf(stderr, "af_xdp: %s on %s, queue %u, %s\n", i + 1 < fs_queue_count ? "serving" : "ready",
			fs_queues[i]->port->interface, fs_queues[i]->run.queue,
			fs_is_zero_copy(fs_queues[i]) ? "zero-copy" : "copy");
	fs_serve_first(fs_queues[0]);
	fs_detach_all();
	fs_drain(fs_queues[0]);
	for (uint32_t i = 1; i < fs_queue_count; i++)
		pthread_join(fs_queues[i]->thread, NULL);
	fs_report(stdout);
	fs_cleanup();
	return fs_lost;
}
