/*
 * The way back into the kernel: PASS and REDIRECT run an XDP program on the packet as if the interface had just received
 * it (BPF_PROG_TEST_RUN with live frames, kernel 5.18).
 *
 * A system call costs as much as some 20 packets, and runs the program repeatedly on copies of one frame only. So a batch
 * of packets lies in a map that both sides see, and each repetition takes the next one, with what is to become of it.
 * Packets that go the same way stay in order.
 *
 * A call with several repetitions takes some 28 ms for adding the program to the kernel's XDP dispatcher, unless it is
 * there already: therefore it is attached to a loopback interface that nobody uses, in a network namespace of its own.
 *
 * Each queue has a program of its own: the program cannot tell who runs it (a frame that is put in has queue 0).
 */

enum { FS_REENTRY_BATCH = 64, FS_REENTRY_ROOM = 3520 }; /* for metadata and frame; the kernel has no more room */
enum { FS_GO_PASS, FS_GO_DEVICE, FS_GO_MAP, FS_GO_FAILED = 0x7fffffff };

struct fs_slot {
	uint32_t length; /* of metadata and frame */
	uint32_t meta;	 /* of the metadata */
	uint32_t go;	 /* FS_GO_…; maps count from FS_GO_MAP on */
	uint32_t target; /* interface, or key */
	uint64_t flags;
	uint8_t bytes[FS_REENTRY_ROOM];
};

/* Descriptors stay open as long as the process. */
struct fs_reentry {
	struct fs_slot *slots;	/* in memory shared with the program */
	uint32_t *next_slot;	/* the program's position */
	uint32_t waiting;	/* slots in use */
	uint32_t repetitions;	/* packets in one call */
	int program;
};

/* A program being written; jumps forward are completed by fs_land(). */
struct fs_code {
	struct bpf_insn code[256];
	int count;
	int jumps[8]; /* to the end, where packets fail */
	int failing;
};

static void fs_write(struct fs_code *to, struct bpf_insn insn)
{
	to->code[to->count++] = insn;
}

static void fs_write_map(struct fs_code *to, uint8_t reg, int fd, uint8_t kind)
{
	fs_write(to, fs_insn(BPF_LD | BPF_IMM | BPF_DW, reg, kind, 0, fd));
	fs_write(to, fs_insn(0, 0, 0, 0, 0));
}

static void fs_write_fail_if(struct fs_code *to, uint8_t condition, uint8_t reg, int32_t value)
{
	to->jumps[to->failing++] = to->count;
	fs_write(to, fs_insn(BPF_JMP | condition | BPF_K, reg, 0, 0, value));
}

static void fs_land(struct fs_code *to, int jump)
{
	to->code[jump].off = (int16_t)(to->count - jump - 1);
}

/* r6 = context, r7 = the next slot, r9 = the position. */
static void fs_write_take_slot(struct fs_code *to, int position, int slots)
{
	fs_write(to, FS_MOV_REG(6, 1));
	fs_write_map(to, 9, position, BPF_PSEUDO_MAP_VALUE);
	fs_write(to, FS_LOAD(BPF_W, 1, 9, 0));
	fs_write(to, FS_STORE(BPF_W, 10, 1, -4));
	fs_write(to, FS_ADD_IMM(1, 1));
	fs_write(to, FS_STORE(BPF_W, 9, 1, 0));
	fs_write_map(to, 1, slots, BPF_PSEUDO_MAP_FD);
	fs_write(to, FS_MOV_REG(2, 10));
	fs_write(to, FS_ADD_IMM(2, -4));
	fs_write(to, FS_CALL(BPF_FUNC_map_lookup_elem));
	fs_write(to, fs_insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0));
	fs_write(to, FS_MOV_IMM(0, XDP_ABORTED)); /* no such slot */
	fs_write(to, FS_EXIT());
	fs_write(to, FS_MOV_REG(7, 0));
}

/* Make the packet that of the slot: its length, its bytes, then the border between metadata and frame. */
static void fs_write_fill_frame(struct fs_code *to)
{
	int no_meta;

	fs_write(to, FS_LOAD(BPF_W, 8, 7, offsetof(struct fs_slot, length)));
	fs_write_fail_if(to, BPF_JGT, 8, FS_REENTRY_ROOM);
	fs_write_fail_if(to, BPF_JEQ, 8, 0);
	fs_write(to, FS_LOAD(BPF_W, 1, 6, offsetof(struct xdp_md, data)));
	fs_write(to, FS_LOAD(BPF_W, 3, 6, offsetof(struct xdp_md, data_end)));
	fs_write(to, FS_SUB_REG(3, 1));
	fs_write(to, FS_MOV_REG(2, 8));
	fs_write(to, FS_SUB_REG(2, 3));
	fs_write(to, FS_MOV_REG(1, 6));
	fs_write(to, FS_CALL(BPF_FUNC_xdp_adjust_tail));
	fs_write_fail_if(to, BPF_JNE, 0, 0);
	fs_write(to, FS_MOV_REG(1, 6));
	fs_write(to, FS_MOV_IMM(2, 0));
	fs_write(to, FS_MOV_REG(3, 7));
	fs_write(to, FS_ADD_IMM(3, offsetof(struct fs_slot, bytes)));
	fs_write(to, FS_MOV_REG(4, 8));
	fs_write(to, FS_CALL(BPF_FUNC_xdp_store_bytes));
	fs_write_fail_if(to, BPF_JNE, 0, 0);
	fs_write(to, FS_LOAD(BPF_W, 8, 7, offsetof(struct fs_slot, meta)));
	no_meta = to->count;
	fs_write(to, fs_insn(BPF_JMP | BPF_JEQ | BPF_K, 8, 0, 0, 0));
	fs_write(to, FS_MOV_REG(1, 6));
	fs_write(to, FS_MOV_REG(2, 8));
	fs_write(to, FS_CALL(BPF_FUNC_xdp_adjust_head));
	fs_write_fail_if(to, BPF_JNE, 0, 0);
	fs_write(to, FS_MOV_REG(1, 6));
	fs_write(to, FS_MOV_IMM(2, 0));
	fs_write(to, FS_SUB_REG(2, 8));
	fs_write(to, FS_CALL(BPF_FUNC_xdp_adjust_meta));
	fs_write_fail_if(to, BPF_JNE, 0, 0);
	fs_land(to, no_meta);
}

static void fs_write_redirect(struct fs_code *to, uint32_t go, int map)
{
	int skip = to->count;

	fs_write(to, fs_insn(BPF_JMP | BPF_JNE | BPF_K, 8, 0, 0, (int32_t)go));
	if (map < 0) {
		fs_write(to, FS_LOAD(BPF_W, 1, 7, offsetof(struct fs_slot, target)));
		fs_write(to, FS_MOV_IMM(2, 0));
		fs_write(to, FS_CALL(BPF_FUNC_redirect));
	} else {
		fs_write_map(to, 1, map, BPF_PSEUDO_MAP_FD);
		fs_write(to, FS_LOAD(BPF_W, 2, 7, offsetof(struct fs_slot, target)));
		fs_write(to, FS_LOAD(BPF_DW, 3, 7, offsetof(struct fs_slot, flags)));
		fs_write(to, FS_CALL(BPF_FUNC_redirect_map));
	}
	fs_write(to, FS_EXIT());
	fs_land(to, skip);
}

static int fs_load_reentry(int position, int slots)
{
	struct fs_code to = { .count = 0 };

	fs_write_take_slot(&to, position, slots);
	fs_write_fill_frame(&to);
	fs_write(&to, FS_LOAD(BPF_W, 8, 7, offsetof(struct fs_slot, go)));
	fs_write_redirect(&to, FS_GO_DEVICE, -1);
	for (uint32_t map = 0; fs_maps[map].name; map++)
		if (fs_map_redirects(fs_maps[map].type) && to.count < 200)
			fs_write_redirect(&to, FS_GO_MAP + map, fs_maps[map].fd);
	fs_write_fail_if(&to, BPF_JNE, 8, FS_GO_PASS);
	fs_write(&to, FS_MOV_IMM(0, XDP_PASS));
	fs_write(&to, FS_EXIT());
	for (int i = 0; i < to.failing; i++)
		fs_land(&to, to.jumps[i]);
	fs_write(&to, FS_MOV_IMM(1, FS_GO_FAILED));
	fs_write(&to, FS_STORE(BPF_W, 7, 1, offsetof(struct fs_slot, go)));
	fs_write(&to, FS_MOV_IMM(0, XDP_DROP));
	fs_write(&to, FS_EXIT());
	return fs_load_program("fs_reentry", to.code, (size_t)to.count);
}

static void *fs_shared_array(const char *name, uint32_t size, uint32_t count, int *fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	size_t page = (size_t)sysconf(_SC_PAGESIZE), length = ((size_t)size * count + page - 1) & ~(page - 1);
	void *memory;

	*fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, size, count, &options);
	if (*fd < 0)
		fs_die("cannot make the map %s: %s", name, strerror(-*fd));
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (memory == MAP_FAILED)
		fs_die("cannot map %s: %s", name, strerror(errno));
	return memory;
}

/* Put the program into the dispatcher: whether that is possible here. */
static bool fs_anchor_reentry(int program)
{
	enum { LOOPBACK = 1 };
	const struct bpf_link_create_opts options = { .sz = sizeof(options), .flags = XDP_FLAGS_SKB_MODE };
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), space, anchor;

	if (own < 0 || unshare(CLONE_NEWNET))
		return false;
	space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC); /* keeps the namespace */
	anchor = bpf_link_create(program, LOOPBACK, BPF_XDP, &options);
	if (setns(own, CLONE_NEWNET))
		fs_die("cannot go back to the network namespace: %s", strerror(errno));
	close(own);
	return space >= 0 && anchor >= 0;
}

static void fs_open_reentry(struct fs_reentry *way)
{
	int position, slots;

	way->next_slot = fs_shared_array("fs_position", 8, 1, &position);
	way->slots = fs_shared_array("fs_slots", sizeof(struct fs_slot), FS_REENTRY_BATCH, &slots);
	way->program = fs_load_reentry(position, slots);
	way->repetitions = fs_anchor_reentry(way->program) ? FS_REENTRY_BATCH : 1;
}

/* Let the waiting packets go, and count what became of them. */
static void fs_reenter(struct fs_reentry *way, struct fs_run *run)
{
	uint8_t frame[64] = { 0 }; /* what each repetition starts with */
	struct xdp_md context = {
		.data_end = sizeof(frame),
		.ingress_ifindex = run->ifindex,
		.rx_queue_index = run->queue,
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame), .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = (int)way->waiting, .batch_size = way->waiting,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
	bool passes[FS_REENTRY_BATCH];

	for (uint32_t i = 0; i < way->waiting; i++)
		passes[i] = way->slots[i].go == FS_GO_PASS;
	*(volatile uint32_t *)way->next_slot = 0;
	if (bpf_prog_test_run_opts(way->program, &options) && !*(volatile uint32_t *)way->next_slot)
		for (uint32_t i = 0; i < way->waiting; i++)
			way->slots[i].go = FS_GO_FAILED;
	for (uint32_t i = 0; i < way->waiting; i++) {
		bool failed = *(volatile uint32_t *)&way->slots[i].go == FS_GO_FAILED;

		if (passes[i])
			*(failed ? &run->counters.pass_errors : &run->counters.passed) += 1;
		else
			*(failed ? &run->counters.redirect_errors : &run->counters.redirected) += 1;
	}
	way->waiting = 0;
}

/* Have the packet wait: whether it fits. */
static bool fs_wait_for_reentry(struct fs_reentry *way, struct fs_run *run, uint32_t go, uint32_t target, uint64_t flags)
{
	struct fs_slot *slot = &way->slots[way->waiting];
	uint64_t length = run->end - run->meta;

	if (length > FS_REENTRY_ROOM)
		return false;
	slot->length = (uint32_t)length;
	slot->meta = (uint32_t)(run->data - run->meta);
	slot->go = go;
	slot->target = target;
	slot->flags = flags;
	memcpy(slot->bytes, (const uint8_t *)(uintptr_t)run->meta, length);
	if (++way->waiting == way->repetitions)
		fs_reenter(way, run);
	return true;
}

/* In generic mode the interface's program would see the packet again: it cannot be passed. */
static bool fs_pass(struct fs_reentry *way, struct fs_run *run)
{
	return !fs_options.generic && fs_wait_for_reentry(way, run, FS_GO_PASS, 0, 0);
}

static bool fs_redirect_packet(struct fs_reentry *way, struct fs_run *run)
{
	const struct fs_redirect *to = &run->redirect;

	if (to->kind == FS_TO_DEVICE)
		return fs_wait_for_reentry(way, run, FS_GO_DEVICE, to->ifindex, 0);
	return to->kind == FS_TO_MAP_ENTRY && fs_wait_for_reentry(way, run, FS_GO_MAP + to->map, to->key, to->flags);
}
