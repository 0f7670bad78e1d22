/*
 * The program on the interface, and the maps.
 *
 * With a kernel part, its object is loaded and the maps that both parts touch are the same kernel maps. All others are
 * made here: kernel maps too, so that bpftool and the control plane see them. Arrays are mapped where they can be.
 */

static int fs_cpus;
static bool fs_threads;	      /* there are several */
static pthread_mutex_t fs_written = PTHREAD_MUTEX_INITIALIZER; /* see maps.h */

/* A map that this process has pinned, and unpins at its end. */
struct fs_pin {
	struct fs_pin *next;
	char path[512];
};

static struct fs_pin *fs_pins;

static struct bpf_insn fs_insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	return (struct bpf_insn){ .code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm };
}

#define FS_MOV_REG(dst, src) fs_insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define FS_MOV_IMM(dst, imm) fs_insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define FS_ADD_IMM(dst, imm) fs_insn(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define FS_SUB_REG(dst, src) fs_insn(BPF_ALU64 | BPF_SUB | BPF_X, dst, src, 0, 0)
#define FS_LOAD(size, dst, src, off) fs_insn(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define FS_STORE(size, dst, src, off) fs_insn(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define FS_CALL(helper) fs_insn(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define FS_EXIT() fs_insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static int fs_load_program(const char *name, const struct bpf_insn *code, size_t count)
{
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", code, count, NULL);

	if (fd < 0)
		fs_die("the kernel refuses the program %s: %s", name, strerror(-fd));
	return fd;
}

/* Whether this process may do all that follows, before it has done anything. */
static void fs_check_rights(void)
{
	const struct bpf_insn code[] = { FS_MOV_IMM(0, XDP_PASS), FS_EXIT() };
	int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "fs_rights", "GPL", code, 2, NULL);
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		fs_die("this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)");
	if (program == -EPERM || (fd < 0 && errno == EPERM))
		fs_die("no permission: run as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF");
	if (program < 0 || fd < 0)
		fs_die("the kernel refuses XDP programs or sockets: %s", strerror(program < 0 ? -program : errno));
	close(program);
	close(fd);
}

/* Without a kernel part: every packet of a queue goes to its socket. */
static int fs_load_default(struct fs_port *port)
{
	port->socket_map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "fs_sockets", 4, 4, fs_options.queue + port->queues, NULL);
	if (port->socket_map < 0)
		fs_die("cannot make a map for the sockets: %s", strerror(-port->socket_map));
	const struct bpf_insn code[] = {
		FS_LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, rx_queue_index)),
		fs_insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, port->socket_map),
		fs_insn(0, 0, 0, 0, 0),
		FS_MOV_IMM(3, XDP_PASS),
		FS_CALL(BPF_FUNC_redirect_map),
		FS_EXIT(),
	};
	return fs_load_program("fs_all", code, sizeof(code) / sizeof(code[0]));
}

/* Where a map is pinned, or will be: remembered in the second case. A BPF file system has no dots in names. */
static const char *fs_pin_path(const char *name)
{
	static struct fs_pin *pin;

	if (!pin)
		pin = calloc(1, sizeof(*pin));
	if (!pin)
		fs_die("out of memory");
	if (snprintf(pin->path, sizeof(pin->path), "%s/%s", fs_options.pin, name) >= (int)sizeof(pin->path))
		fs_die("the path %s/%s is too long", fs_options.pin, name);
	for (char *at = pin->path + strlen(fs_options.pin) + 1; *at; at++)
		if (*at == '.')
			*at = '_';
	if (access(pin->path, F_OK) == 0)
		return pin->path;
	pin->next = fs_pins;
	fs_pins = pin;
	pin = NULL;
	return fs_pins->path;
}

static struct bpf_program *fs_choose_program(struct bpf_object *object)
{
	struct bpf_program *program, *chosen = NULL;
	int count = 0;

	bpf_object__for_each_program(program, object) {
		if (bpf_program__type(program) != BPF_PROG_TYPE_XDP)
			continue;
		if (fs_options.program && strcmp(bpf_program__name(program), fs_options.program))
			continue;
		chosen = program;
		count++;
	}
	if (!count)
		fs_die("%s holds no XDP program%s%s", fs_options.object, fs_options.program ? " " : "",
		       fs_options.program ? fs_options.program : "");
	if (count > 1)
		fs_die("%s holds %d XDP programs; choose one with --program", fs_options.object, count);
	return chosen;
}

/* Which of this part's maps a map of the kernel part is; FS_MAP_COUNT for none. Global data goes by its section, which
 * libbpf puts behind the object's name; what is read only may as well be a copy. */
static uint32_t fs_counterpart(const struct bpf_object *object, const struct bpf_map *map)
{
	uint32_t index;

	for (index = 0; index < FS_MAP_COUNT; index++)
		if (bpf_object__find_map_by_name(object, fs_maps[index].name) == map &&
		    !(fs_maps[index].internal && fs_maps[index].flags & BPF_F_RDONLY_PROG))
			break;
	return index;
}

static void fs_prepare_map(const struct fs_port *port, struct bpf_map *map)
{
	const char *name = bpf_map__name(map);
	uint32_t index = fs_counterpart(port->object, map), queues = fs_options.queue + port->queues;
	const struct bpf_map *first;

	if (bpf_map__type(map) == BPF_MAP_TYPE_XSKMAP) {
		if (bpf_map__max_entries(map) < queues)
			bpf_map__set_max_entries(map, queues);
		if (port != fs_ports)
			return; /* each interface has its own: sockets go by the queue's number */
	} else if (port != fs_ports && strcmp(name, "fs_order")) {
		first = bpf_object__find_map_by_name(fs_ports[0].object, name);
		if (!first || bpf_map__reuse_fd(map, bpf_map__fd(first)))
			fs_die("the map %s cannot be shared between the interfaces", name);
		return;
	}
	if (!strcmp(name, "fs_order")) {
		if (bpf_map__max_entries(map) < queues * FS_SLOTS)
			bpf_map__set_max_entries(map, queues * FS_SLOTS);
		return;
	}
	if (index < FS_MAP_COUNT && fs_maps[index].wants_mmap)
		bpf_map__set_map_flags(map, bpf_map__map_flags(map) | BPF_F_MMAPABLE);
	if (fs_options.pin && !bpf_map__is_internal(map)) {
		const char *path = fs_pin_path(name);

		if (bpf_map__set_pin_path(map, path))
			fs_die("map %s cannot be pinned at %s", name, path);
	}
}

static int fs_load_object(struct fs_port *port)
{
	struct bpf_program *program, *chosen;
	struct bpf_map *map;
	int error, sockets = 0;

	port->object = bpf_object__open_file(fs_options.object, NULL);
	if (!port->object)
		fs_die("cannot read %s: %s", fs_options.object, strerror(errno));
	chosen = fs_choose_program(port->object);
	bpf_object__for_each_program(program, port->object)
		if (program != chosen)
			bpf_program__set_autoload(program, false);
	bpf_object__for_each_map(map, port->object)
		fs_prepare_map(port, map);
	error = bpf_object__load(port->object);
	if (error)
		fs_die("the kernel refuses %s: %s", fs_options.object, strerror(-error));
	bpf_object__for_each_map(map, port->object) {
		uint32_t index = fs_counterpart(port->object, map);

		if (index < FS_MAP_COUNT && port == fs_ports)
			fs_maps[index].fd = bpf_map__fd(map);
		if (bpf_map__type(map) == BPF_MAP_TYPE_XSKMAP) {
			port->socket_map = bpf_map__fd(map);
			sockets++;
		}
	}
	if (sockets != 1)
		fs_die("%s has %d maps of type XSKMAP; it needs one, through which packets come here",
		       fs_options.object, sockets);
	return bpf_program__fd(chosen);
}

/* The kernel part is there already: its map of sockets. */
static void fs_join(struct fs_port *port)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	const char *name = port->sockets;

	port->socket_map = name[strspn(name, "0123456789")] ? bpf_obj_get(name) :
							      bpf_map_get_fd_by_id(fs_number("--sockets", name));
	if (port->socket_map < 0)
		fs_die("--sockets: there is no map %s: %s", name, strerror(-port->socket_map));
	if (bpf_obj_get_info_by_fd(port->socket_map, &info, &size) || info.type != BPF_MAP_TYPE_XSKMAP)
		fs_die("--sockets: %s is no map of type XSKMAP", name);
	if (info.max_entries < fs_options.queue + port->queues)
		fs_die("--sockets: %s has room for %u queues; load the kernel part with a larger one", name,
		       info.max_entries);
}

static void fs_attach(struct fs_port *port, int program)
{
	struct bpf_link_create_opts options = {
		.sz = sizeof(options),
		.flags = fs_options.generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE,
	};

	port->link = bpf_link_create(program, (int)port->ifindex, BPF_XDP, &options);
	if (port->link == -EBUSY || port->link == -EEXIST)
		fs_die("cannot attach to %s: another XDP program is there (ip link set dev %s xdp off removes it)",
		       port->interface, port->interface);
	if (port->link == -ERANGE)
		fs_die("cannot attach to %s: the MTU is too large for XDP; of a veth, its other end's (ip link set dev NAME "
		       "mtu 1500)",
		       port->interface);
	if (port->link == -EOPNOTSUPP)
		fs_die("the driver of %s has no XDP; try --skb-mode", port->interface);
	if (port->link < 0)
		fs_die("cannot attach to %s: %s", port->interface, strerror(-port->link));
}

static void fs_detach(struct fs_port *port)
{
	if (port->link >= 0)
		close(port->link);
	port->link = -1;
}

/* The kernel's names are short, and of few letters. */
static void fs_kernel_name(char name[BPF_OBJ_NAME_LEN], const char *from)
{
	size_t length = 0;

	for (; *from && length < BPF_OBJ_NAME_LEN - 1; from++)
		if ((*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z') || (*from >= '0' && *from <= '9') ||
		    *from == '_' || *from == '.')
			name[length++] = *from;
	name[length] = 0;
}

static void fs_check_pinned(const struct fs_map *map, int fd, const char *path)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		fs_die("%s is no map", path);
	if (info.type != map->type || info.key_size != map->key_size || info.value_size != map->value_size)
		fs_die("%s is another map than %s: remove it, or use another folder", path, map->name);
}

/* A map that the kernel part does not have. */
static void fs_make_map(uint32_t index)
{
	struct fs_map *map = &fs_maps[index];
	uint32_t flags = map->flags | (map->type == BPF_MAP_TYPE_ARRAY ? BPF_F_MMAPABLE : 0);
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	char name[BPF_OBJ_NAME_LEN];
	const char *path;
	const uint32_t first = 0;
	bool kernel_part = fs_options.object || fs_ports[0].sockets;
	int error;


	if (map->internal && map->shared && !(map->flags & BPF_F_RDONLY_PROG) && kernel_part) {
		map->fd = fs_options.pin ? bpf_obj_get(fs_pin_path(map->name)) : -1;
		if (map->fd < 0)
			fs_die("the global data in %s is the kernel part's, too: let this program load it, with -o, "
			       "or pin it in the folder of --pin", map->name);
		fs_check_pinned(map, map->fd, map->name);
		map->wants_mmap = true;
		return;
	}
	if (map->internal && !(fs_options.pin && fs_options.pin_data && !map->read_only)) {
		map->direct = calloc(1, map->value_size);
		if (!map->direct)
			fs_die("out of memory");
		if (map->initial)
			memcpy(map->direct, map->initial, map->value_size);
		map->stride = map->value_size;
		map->fd = -1;
		return;
	}
	if (map->in_memory) {
		fs_make_table(index);
		return;
	}
	path = fs_options.pin ? fs_pin_path(map->name) : NULL;
	map->fd = path ? bpf_obj_get(path) : -1;
	if (map->fd >= 0) {
		fs_check_pinned(map, map->fd, path);
		return;
	}
	if (map->shared && fs_ports[0].sockets)
		fs_die("the map %s is the kernel part's, too: give the folder where it is pinned with --pin", map->name);
	if (map->shared && fs_options.object)
		fs_die("%s has no map %s, which the parts share", fs_options.object, map->name);
	fs_kernel_name(name, map->name);
	map->fd = bpf_map_create(map->type, name, map->key_size, map->value_size, map->max_entries, &options);
	if (map->fd < 0)
		fs_die("cannot make the map %s: %s", map->name, strerror(-map->fd));
	error = map->initial ? bpf_map_update_elem(map->fd, &first, map->initial, BPF_ANY) : 0;
	if (error)
		fs_die("cannot fill %s: %s", map->name, strerror(-error));
	error = path ? bpf_obj_pin(map->fd, path) : 0;
	if (error)
		fs_die("cannot pin %s: %s (is it in a BPF file system?)", path, strerror(-error));
}

/* The kernel part's map of packets in flight, as memory of this process; each interface has its own. With --sockets it
 * is pinned beside the map of sockets, under its name with fs_order for fs_xsks. */
static void fs_open_order(struct fs_port *port)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	char path[512];
	const char *at = port->sockets ? strstr(port->sockets, "fs_xsks") : NULL, *next;
	int fd = -1;

	if (port->object)
		fd = bpf_object__find_map_fd_by_name(port->object, "fs_order");
	while (at && (next = strstr(at + 1, "fs_xsks")))
		at = next;
	if (at && snprintf(path, sizeof(path), "%.*sfs_order%s", (int)(at - port->sockets), port->sockets,
			   at + strlen("fs_xsks")) < (int)sizeof(path))
		fd = bpf_obj_get(path);
	else if (port->sockets && fs_options.pin && fs_port_count == 1)
		fd = bpf_obj_get(fs_pin_path("fs_order"));
	if (fd < 0)
		fs_die("the kernel part's map fs_order, by which the order of packets is kept, is not found: let this "
		       "program load the kernel part, with -o, or pin the map beside fs_xsks");
	if (bpf_obj_get_info_by_fd(fd, &info, &size) || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.value_size != sizeof(struct fs_order) || info.max_entries % FS_SLOTS)
		fs_die("fs_order is not the map by which the order of packets is kept");
	port->order_queues = info.max_entries / FS_SLOTS;
	void *values = mmap(NULL, (size_t)info.max_entries * sizeof(struct fs_order), PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);

	if (values == MAP_FAILED)
		fs_die("cannot map the values of fs_order: %s", strerror(errno));
	port->order = values;
	if (!port->object)
		close(fd);
}

/* Before packets of a queue come: those that another process took along are not in flight any more. */
static void fs_begin_order(struct fs_run *run, const struct fs_port *port)
{
	if (run->queue >= port->order_queues)
		fs_die("the kernel part keeps the order of packets for %u queues; there is no room for queue %u",
		       port->order_queues, run->queue);
	run->order = port->order + (size_t)run->queue * FS_SLOTS;
	for (uint32_t slot = 0; slot < FS_SLOTS; slot++)
		__atomic_store_n(&run->order[slot].done, __atomic_load_n(&run->order[slot].sent, __ATOMIC_RELAXED),
				 __ATOMIC_RELEASE);
}

/* What keeping the order needs. */
static void fs_check_order(void)
{
#ifndef __x86_64__
	if (FS_ORDERED)
		fs_die("the order of packets is kept on x86-64 only, whose CPUs see each other's changes in their order; "
		       "make the bundle with decompose{order=relaxed}");
#endif
	if (FS_TURNS && fs_port_count > 1)
		fs_die("kernel and user space take turns with maps of this program, which needs that all packets come by "
		       "one interface; there are %u", fs_port_count);
	for (uint32_t i = 0; i < fs_port_count; i++)
		if (FS_TURNS && fs_count_queues(fs_ports[i].interface) > 1)
			fs_die("kernel and user space take turns with maps of this program, which needs that all packets "
			       "come by one queue: ethtool -L %s combined 1", fs_ports[i].interface);
}

/* The values of an array as memory of this process. */
static void fs_map_values(struct fs_map *map)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	size_t length, page = (size_t)sysconf(_SC_PAGESIZE);

	if (map->direct || map->in_memory)
		return;
	if (bpf_obj_get_info_by_fd(map->fd, &info, &size))
		fs_die("cannot ask about the map %s: %s", map->name, strerror(errno));
	map->max_entries = info.max_entries; /* a loader may have resized it */
	if (info.type != BPF_MAP_TYPE_ARRAY || !(info.map_flags & BPF_F_MMAPABLE)) {
		if (map->wants_mmap)
			fs_die("the map %s cannot be mapped, which its sharing relies on; remove the pinned one", map->name);
		return;
	}
	map->stride = ((uint64_t)map->value_size + 7) & ~UINT64_C(7);
	length = (map->stride * map->max_entries + page - 1) & ~(page - 1);
	void *values = mmap(NULL, length, PROT_READ | (map->read_only ? 0 : PROT_WRITE), MAP_SHARED, map->fd, 0);

	if (values == MAP_FAILED)
		fs_die("cannot map the values of %s: %s", map->name, strerror(errno));
	map->direct = values;
}

static void fs_open_maps(void)
{
	fs_cpus = libbpf_num_possible_cpus();
	if (fs_cpus < 1)
		fs_die("cannot tell the number of CPUs");
	for (uint32_t index = 0; fs_maps[index].name; index++) {
		struct fs_map *map = &fs_maps[index];

		if (map->in_memory && map->fd > 0)
			fs_die("--in-memory: the kernel part has the map %s, too", map->name);
		if (map->fd <= 0)
			fs_make_map(index);
		fs_map_values(map);
	}
}

static void fs_close_objects(void)
{
	for (; fs_pins; fs_pins = fs_pins->next)
		unlink(fs_pins->path);
	for (uint32_t i = 0; i < fs_port_count; i++) {
		fs_detach(&fs_ports[i]);
		bpf_object__close(fs_ports[i].object);
		fs_ports[i].object = NULL;
	}
}
