/* Start, loop, stop. */

static volatile sig_atomic_t fs_stop;
static volatile sig_atomic_t fs_asked; /* for the counters */

static void fs_on_signal(int number)
{
	if (number == SIGUSR1)
		fs_asked = 1;
	else
		fs_stop = 1;
}

static void fs_cleanup(void)
{
	fs_close_objects();
	fs_close_socket(&fs_queue);
}

/* The counters, and what the kernel dropped before the socket, as one line of JSON. */
static void fs_report(FILE *to, const struct fs_queue *queue)
{
	struct xdp_statistics kernel = { 0 };
	socklen_t size = sizeof(kernel);

	getsockopt(xsk_socket__fd(queue->socket), SOL_XDP, XDP_STATISTICS, &kernel, &size);
	fprintf(to, "{");
#define FS_PRINT(name) fprintf(to, "\"" #name "\": %llu, ", (unsigned long long)fs_counters.name);
	FS_COUNTERS(FS_PRINT)
#undef FS_PRINT
	fprintf(to, "\"rx_dropped\": %llu, \"rx_ring_full\": %llu, \"fill_ring_empty\": %llu}\n",
		(unsigned long long)kernel.rx_dropped, (unsigned long long)kernel.rx_ring_full,
		(unsigned long long)kernel.rx_fill_ring_empty_descs);
	fflush(to);
}

static void fs_step(struct fs_queue *queue, int timeout_ms)
{
	struct pollfd waiting = { .fd = xsk_socket__fd(queue->socket), .events = POLLIN };

	fs_complete(queue);
	fs_refill(queue);
	if (!fs_receive(queue) && timeout_ms)
		poll(&waiting, 1, timeout_ms);
	fs_kick(queue);
}

/* After the program is gone from the interface: what it has handed over still is processed, and leaves. */
static void fs_drain(struct fs_queue *queue)
{
	uint64_t deadline = fs_env_now(NULL, FS_CLOCK_MONOTONIC) + 1000000000u;
	uint32_t quiet = 0;

	while (quiet < 10 && fs_env_now(NULL, FS_CLOCK_MONOTONIC) < deadline) {
		uint64_t before = fs_counters.received;

		fs_step(queue, 5);
		quiet = fs_counters.received == before && !queue->outstanding ? quiet + 1 : 0;
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = fs_on_signal };
	struct fs_queue *queue = &fs_queue;
	uint32_t key;
	uint64_t next;
	int program = -1;

	fs_parse_options(argc, argv);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	if (fs_options.pin && mkdir(fs_options.pin, 0700) && errno != EEXIST)
		fs_die("cannot make the folder %s: %s", fs_options.pin, strerror(errno));
	if (fs_options.sockets)
		fs_join();
	else
		program = fs_options.object ? fs_load_object() : fs_load_default();
	fs_open_maps();
	fs_open_reentry();
	fs_open_socket(queue);
	if (program >= 0)
		fs_attach(program);
	fprintf(stderr, "af_xdp: ready on %s, queue %u\n", fs_options.interface, fs_options.queue);
	next = fs_env_now(NULL, FS_CLOCK_MONOTONIC);
	while (!fs_stop) {
		fs_step(queue, fs_options.spin ? 0 : 100);
		if (fs_asked) {
			fs_asked = 0;
			fs_report(stderr, queue);
		}
		if (fs_options.stats && fs_env_now(NULL, FS_CLOCK_MONOTONIC) >= next) {
			fs_report(stderr, queue);
			next += fs_options.stats * UINT64_C(1000000000);
		}
	}
	key = fs_options.queue; /* no more packets come */
	bpf_map_delete_elem(fs_socket_map, &key);
	if (fs_link >= 0)
		close(fs_link);
	fs_link = -1;
	fs_drain(queue);
	fs_report(stdout, queue);
	fs_cleanup();
	return 0;
}
