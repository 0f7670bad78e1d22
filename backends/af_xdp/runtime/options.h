/*
 * Transport: an AF_XDP socket on one queue of an interface. From here on: the command line, the objects in the
 * kernel (program, maps), the way back into the kernel, the socket, and main().
 */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

struct fs_options {
	const char *interface;
	const char *object;  /* the kernel part; NULL: every packet of the queue comes here */
	const char *program; /* its program, where it has several */
	const char *sockets; /* the map of a kernel part that is attached already: path or number */
	const char *pin;     /* folder of a BPF file system, to pin maps in */
	uint32_t ifindex;
	uint32_t queue;
	uint32_t stats; /* seconds between counters, 0: only at the end */
	uint16_t bind;	/* XDP_COPY, XDP_ZEROCOPY, or what the driver can */
	bool generic;	/* attach in generic mode, for drivers without XDP */
	bool spin;	/* never sleep */
};

static struct fs_options fs_options;

static const char fs_usage[] =
	"usage: af_xdp -i INTERFACE [options]\n"
	"  -i, --interface NAME  where packets come in\n"
	"  -o, --object FILE     the kernel part, loaded and attached; without it every packet comes here\n"
	"  -p, --program NAME    its program, where it has several\n"
	"      --sockets MAP     instead of -o, for a kernel part that is attached already: its map\n"
	"                        of sockets, by the path where it is pinned or by number; its other\n"
	"                        maps are found with --pin\n"
	"  -q, --queue N         receive queue (0)\n"
	"      --copy, --zero-copy\n"
	"                        how packets reach the socket (what the driver can)\n"
	"      --skb-mode        attach the program in generic mode, for drivers without XDP:\n"
	"                        packets cannot be passed to the kernel then\n"
	"      --pin DIR         pin the maps in DIR; those that are there already are used\n"
	"      --spin            look for packets without sleeping: nobody has to be woken up, and a CPU\n"
	"                        is busy all the time\n"
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

static void fs_parse_options(int argc, char **argv)
{
	enum { COPY = 256, ZERO_COPY, SKB_MODE, SOCKETS, PIN, STATS, SPIN, HELP };
	static const struct option known[] = {
		{ "interface", required_argument, NULL, 'i' }, { "object", required_argument, NULL, 'o' },
		{ "program", required_argument, NULL, 'p' },   { "queue", required_argument, NULL, 'q' },
		{ "copy", no_argument, NULL, COPY },	       { "zero-copy", no_argument, NULL, ZERO_COPY },
		{ "skb-mode", no_argument, NULL, SKB_MODE },   { "sockets", required_argument, NULL, SOCKETS },
		{ "pin", required_argument, NULL, PIN },       { "stats", required_argument, NULL, STATS },
		{ "spin", no_argument, NULL, SPIN },	       { "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "i:o:p:q:", known, NULL)) != -1) {
		switch (option) {
		case 'i':
			fs_options.interface = optarg;
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
			fs_options.sockets = optarg;
			break;
		case PIN:
			fs_options.pin = optarg;
			break;
		case STATS:
			fs_options.stats = fs_number("--stats", optarg);
			break;
		case SPIN:
			fs_options.spin = true;
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
	if (!fs_options.interface)
		fs_die("which interface? give one with -i");
	fs_options.ifindex = if_nametoindex(fs_options.interface);
	if (!fs_options.ifindex)
		fs_die("there is no interface %s", fs_options.interface);
	if (fs_options.object && fs_options.sockets)
		fs_die("-o loads the kernel part, --sockets finds one that is there: give one of them");
	if (FS_ARRIVAL_COUNT && !fs_options.object && !fs_options.sockets)
		fs_die("this part goes on with packets of the kernel part: give that with -o xdp.o");
}
