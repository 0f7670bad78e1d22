/*
 * Transport: an AF_XDP socket on each queue of an interface, or of several, with a thread of its own. From here on: the
 * command line, the objects in the kernel (program, maps), the way back into the kernel, the sockets, and main().
 */

#if defined(__has_include)
#if !__has_include(<bpf/bpf.h>) || !__has_include(<xdp/xsk.h>)
#error "libxdp or libbpf is missing: install their headers (Debian: apt install libxdp-dev libbpf-dev)"
#endif
#endif

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

struct fs_options {
	const char *object;  /* the kernel part; NULL: every packet of the queues comes here */
	const char *program; /* its program, where it has several */
	const char *pin;     /* folder of a BPF file system, to pin maps in */
	uint32_t queue;	     /* the first */
	uint32_t queues;     /* from there on, 0: all that there are */
	uint32_t stats;	     /* seconds between counters, 0: only at the end */
	uint32_t busy_poll;  /* microseconds, 0: by interrupts */
	uint16_t bind;	     /* XDP_COPY, XDP_ZEROCOPY, or what the driver can */
	bool generic;	     /* attach in generic mode, for drivers without XDP */
	bool spin;	     /* never sleep */
	bool pin_data;	     /* global data that changes, too */
	bool with_parent;    /* end when the process that started this one does */
};

/* An interface that packets come from. */
struct fs_port {
	const char *interface;
	const char *sockets; /* the map of a kernel part that is attached already: path or number */
	uint32_t ifindex;
	uint32_t queues; /* that are served, from fs_options.queue on */
	struct bpf_object *object;
	int link; /* holds the program on the interface: gone with this process, however it ends */
	int socket_map;
	struct fs_order *order; /* packets in flight from the kernel part, see order.h */
	uint32_t order_queues;
};

enum { FS_PORTS = 32 };

static struct fs_options fs_options = { .queues = 1 };
static struct fs_port fs_ports[FS_PORTS];
static uint32_t fs_port_count;

static const char fs_usage[] =
	"usage: af_xdp -i INTERFACE… [options]\n"
	"  -i, --interface NAME  where packets come in; may be repeated\n"
	"  -o, --object FILE     the kernel part, loaded and attached; without it every packet comes here\n"
	"  -p, --program NAME    its program, where it has several\n"
	"      --sockets MAP     instead of -o, for a kernel part that is attached already: its map\n"
	"                        of sockets, by the path where it is pinned or by number; its other\n"
	"                        maps are found with --pin. With several interfaces one for each, behind it\n"
	"  -q, --queue N         receive queue, the first where there are several (0)\n"
	"      --queues N|all    receive queues, a thread for each (1)\n"
	"      --copy, --zero-copy\n"
	"                        how packets reach the socket (what the driver can)\n"
	"      --skb-mode        attach the program in generic mode, for drivers without XDP:\n"
	"                        packets cannot be passed to the kernel then\n"
	"      --pin DIR         pin the maps in DIR; those that are there already are used\n"
	"      --pin-data        and so the global data that the program changes\n"
	"      --in-memory MAP   a hash that only this part uses, in this process's memory: faster, and seen\n"
	"                        by nobody else; may be repeated\n"
	"      --busy-poll USEC  have the driver polled from here, with interrupts put off\n"
	"      --spin            look for packets without sleeping: nobody has to be woken up, and a CPU\n"
	"                        is busy all the time\n"
	"      --with-parent     end when the process that started this one has ended\n"
	"      --stats SECONDS   print the counters to stderr now and then\n";

/* Something is wrong with what the user asked, or with the machine: say so, and leave. */
__attribute__((noreturn, format(printf, 1, 2))) static void fs_die(const char *format, ...);
static void fs_cleanup(void);

static void fs_die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "af_xdp: error: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	fs_cleanup();
	exit(1);
}

static uint32_t fs_number(const char *option, const char *text)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value > UINT32_MAX || *text == '-')
		fs_die("%s: '%s' is no number", option, text);
	return (uint32_t)value;
}

static void fs_ask_interface(const char *interface, unsigned long what, struct ifreq *request, bool *known)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), error;

	snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", interface);
	error = fd < 0 || ioctl(fd, what, request) ? errno : 0;
	if (fd >= 0)
		close(fd);
	*known = !error;
	if (error && error != EOPNOTSUPP)
		fs_die("cannot ask about the interface %s: %s", interface, strerror(error));
}

static short fs_interface_flags(const char *interface)
{
	struct ifreq request = { .ifr_flags = 0 };
	bool known;

	fs_ask_interface(interface, SIOCGIFFLAGS, &request, &known);
	return request.ifr_flags;
}

/* How many receive queues the interface has; drivers that do not say have one. */
static uint32_t fs_count_queues(const char *interface)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq request = { .ifr_data = (char *)&channels };
	bool known;

	fs_ask_interface(interface, SIOCETHTOOL, &request, &known);
	return known && channels.combined_count + channels.rx_count ? channels.combined_count + channels.rx_count : 1;
}

static struct fs_port *fs_add_port(const char *interface)
{
	struct fs_port *port = &fs_ports[fs_port_count];

	if (fs_port_count == FS_PORTS)
		fs_die("more than %d interfaces", FS_PORTS);
	for (uint32_t i = 0; i < fs_port_count; i++)
		if (!strcmp(fs_ports[i].interface, interface))
			fs_die("the interface %s is named twice", interface);
	*port = (struct fs_port){ .interface = interface, .link = -1, .socket_map = -1 };
	fs_port_count++;
	return port;
}

static void fs_check_port(struct fs_port *port)
{
	uint32_t queues;

	port->ifindex = if_nametoindex(port->interface);
	if (!port->ifindex)
		fs_die("there is no interface %s", port->interface);
	if (!(fs_interface_flags(port->interface) & IFF_UP))
		fs_die("the interface %s is down: ip link set dev %s up", port->interface, port->interface);
	if (!port->sockets != !fs_ports[0].sockets)
		fs_die("--sockets: there must be one for each interface, behind it");
	port->queues = fs_options.queues;
	if (port->queues)
		return;
	queues = fs_count_queues(port->interface);
	if (queues <= fs_options.queue)
		fs_die("%s has %u receive queues; there is no queue %u", port->interface, queues, fs_options.queue);
	port->queues = queues - fs_options.queue;
}

static void fs_keep_in_memory(const char *name)
{
	uint32_t map = 0;

	while (fs_maps[map].name && strcmp(fs_maps[map].name, name))
		map++;
	if (!fs_maps[map].name)
		fs_die("--in-memory: this part has no map %s", name);
	if (fs_maps[map].type != BPF_MAP_TYPE_HASH || fs_maps[map].shared)
		fs_die("--in-memory: %s", fs_maps[map].shared ? "other parts use that map, too" : "only for hashes");
	fs_maps[map].in_memory = true;
}

static void fs_parse_options(int argc, char **argv)
{
	enum { COPY = 256, ZERO_COPY, SKB_MODE, SOCKETS, PIN, STATS, SPIN, QUEUES, BUSY_POLL, WITH_PARENT, IN_MEMORY, PIN_DATA,
	       HELP };
	static const struct option known[] = {
		{ "interface", required_argument, NULL, 'i' }, { "object", required_argument, NULL, 'o' },
		{ "program", required_argument, NULL, 'p' },   { "queue", required_argument, NULL, 'q' },
		{ "copy", no_argument, NULL, COPY },	       { "zero-copy", no_argument, NULL, ZERO_COPY },
		{ "skb-mode", no_argument, NULL, SKB_MODE },   { "sockets", required_argument, NULL, SOCKETS },
		{ "pin", required_argument, NULL, PIN },       { "stats", required_argument, NULL, STATS },
		{ "spin", no_argument, NULL, SPIN },	       { "queues", required_argument, NULL, QUEUES },
		{ "help", no_argument, NULL, HELP },	       { "busy-poll", required_argument, NULL, BUSY_POLL },
		{ "with-parent", no_argument, NULL, WITH_PARENT }, { "in-memory", required_argument, NULL, IN_MEMORY },
		{ "pin-data", no_argument, NULL, PIN_DATA },   { NULL, 0, NULL, 0 },
	};
	struct fs_port *port = NULL;
	const char *sockets = NULL; /* named before any interface */
	int option;

	while ((option = getopt_long(argc, argv, "i:o:p:q:", known, NULL)) != -1) {
		switch (option) {
		case 'i':
			port = fs_add_port(optarg);
			port->sockets = sockets;
			sockets = NULL;
			break;
		case 'o':
			fs_options.object = optarg;
			break;
		case 'p':
			fs_options.program = optarg;
			break;
		case 'q':
			fs_options.queue = fs_number("--queue", optarg);
			break;
		case COPY:
			fs_options.bind = XDP_COPY;
			break;
		case ZERO_COPY:
			fs_options.bind = XDP_ZEROCOPY;
			break;
		case SKB_MODE:
			fs_options.generic = true;
			break;
		case SOCKETS:
			*(port ? &port->sockets : &sockets) = optarg;
			break;
		case QUEUES:
			fs_options.queues = strcmp(optarg, "all") ? fs_number("--queues", optarg) : 0;
			if (!fs_options.queues && strcmp(optarg, "all"))
				fs_die("--queues: at least one, or all");
			break;
		case BUSY_POLL:
			fs_options.busy_poll = fs_number("--busy-poll", optarg);
			break;
		case PIN:
			fs_options.pin = optarg;
			break;
		case PIN_DATA:
			fs_options.pin_data = true;
			break;
		case STATS:
			fs_options.stats = fs_number("--stats", optarg);
			break;
		case SPIN:
			fs_options.spin = true;
			break;
		case IN_MEMORY:
			fs_keep_in_memory(optarg);
			break;
		case WITH_PARENT:
			fs_options.with_parent = true;
			break;
		case HELP:
			fputs(fs_usage, stdout);
			exit(0);
		default:
			fputs(fs_usage, stderr);
			exit(1);
		}
	}
	if (optind < argc)
		fs_die("'%s' is not understood; --help lists the options", argv[optind]);
	if (!fs_port_count)
		fs_die("which interface? give one with -i");
	for (uint32_t i = 0; i < fs_port_count; i++)
		fs_check_port(&fs_ports[i]);
	if (fs_options.object && fs_ports[0].sockets)
		fs_die("-o loads the kernel part, --sockets finds one that is there: give one of them");
	if (FS_ARRIVAL_COUNT && !fs_options.object && !fs_ports[0].sockets)
		fs_die("this part goes on with packets of the kernel part: give that with -o xdp.o");
}
