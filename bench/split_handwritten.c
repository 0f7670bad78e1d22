/*
 * A loop over AF_XDP as one writes it by hand, for comparison with the generated one: one socket on queue 0, packets in
 * batches, the same work on each, and every packet dropped. -DHUGE_PAGES: packet memory in huge pages. The kernel's part
 * is attached already; its map of sockets is pinned.
 *
 *	split_handwritten -i INTERFACE PINNED-MAP
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xdp/xsk.h>

enum { FRAME = 4096, FRAMES = 4096, BATCH = 64, HUGE = 2 << 20 };

static volatile sig_atomic_t stop, asked;
static unsigned long long received;

static void on_signal(int number)
{
	if (number == SIGUSR1)
		asked = 1;
	else
		stop = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "af_xdp: error: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The work on one packet: WORK stands in front of this file, a chain of steps on h for each of four flows. */
static inline void work(uint8_t *data, uint8_t *end)
{
	uint64_t h;

	if (data + 64 > end)
		return;
	memcpy(&h, data + 40, sizeof(h));
	WORK
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct xsk_socket_config config = { .rx_size = 2048,
					    .tx_size = 2048,
					    .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
					    .bind_flags = XDP_USE_NEED_WAKEUP };
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons completion, rx;
	struct xsk_umem *umem;
	struct xsk_socket *socket;
	uint32_t at = 0, key = 0;
	uint8_t *memory;
	int error, map, fd;

	if (argc != 4)
		return 1;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	memory = mmap(NULL, (size_t)FRAMES * FRAME + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("memory");
#ifdef HUGE_PAGES
	memory += -(uintptr_t)memory % HUGE;
	madvise(memory, (size_t)FRAMES * FRAME, MADV_HUGEPAGE);
#endif
	error = xsk_umem__create(&umem, memory, (uint64_t)FRAMES * FRAME, &fill, &completion, NULL);
	if ((errno = -error))
		fail("UMEM");
	error = xsk_socket__create(&socket, argv[2], 0, umem, &rx, &tx, &config);
	if ((errno = -error))
		fail("cannot open an AF_XDP socket");
	xsk_ring_prod__reserve(&fill, 2048, &at);
	for (uint32_t i = 0; i < 2048; i++)
		*xsk_ring_prod__fill_addr(&fill, at + i) = (uint64_t)i * FRAME;
	xsk_ring_prod__submit(&fill, 2048);
	map = bpf_obj_get(argv[3]);
	fd = xsk_socket__fd(socket);
	if (map < 0 || bpf_map_update_elem(map, &key, &fd, BPF_ANY))
		fail("the map of sockets");
	fprintf(stderr, "af_xdp: ready on %s, queue 0\n", argv[2]);
	while (!stop) {
		uint32_t put, count = xsk_ring_cons__peek(&rx, BATCH, &at);

		if (asked) {
			asked = 0;
			fprintf(stderr, "{\"received\": %llu}\n", received);
		}
		if (!count) {
			struct pollfd waiting = { .fd = fd, .events = POLLIN };

			poll(&waiting, 1, 100);
			continue;
		}
		while (xsk_ring_prod__reserve(&fill, count, &put) != count)
			;
		for (uint32_t i = 0; i < count; i++) {
			const struct xdp_desc *packet = xsk_ring_cons__rx_desc(&rx, at + i);
			uint8_t *data = xsk_umem__get_data(memory, packet->addr);

			work(data, data + packet->len);
			*xsk_ring_prod__fill_addr(&fill, put + i) = packet->addr;
		}
		xsk_ring_prod__submit(&fill, count);
		xsk_ring_cons__release(&rx, count);
		received += count;
	}
	bpf_map_delete_elem(map, &key);
	xsk_socket__delete(socket);
	xsk_umem__delete(umem);
	printf("{\"received\": %llu}\n", received);
	return 0;
}
