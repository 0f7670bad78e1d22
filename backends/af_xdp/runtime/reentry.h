/*
 * The way back into the kernel: PASS and REDIRECT run a small XDP program on the frame as if the interface had just
 * received it (BPF_PROG_TEST_RUN with live frames, kernel 5.18).
 *
 * For PASS the program returns XDP_PASS. For REDIRECT the target precedes the frame as metadata, which the program
 * takes off: one program for bpf_redirect, one for each map.
 */

struct fs_target {
	uint32_t number; /* interface, or key */
	uint32_t unused;
	uint64_t flags;
};

static int fs_reentry_pass = -1, fs_reentry_device = -1, fs_reentry_map[FS_MAP_COUNT + 1];

static int fs_load_redirect(int map)
{
	enum { OFF = sizeof(struct fs_target) };
	const struct bpf_insn start[] = {
		FS_MOV_REG(6, 1),
		FS_LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, data_meta)),
		FS_LOAD(BPF_W, 3, 1, offsetof(struct xdp_md, data)),
		FS_MOV_REG(4, 2),
		FS_ADD_IMM(4, OFF),
		FS_JUMP_GT(4, 3, 0), /* to the last two, see below */
		FS_LOAD(BPF_W, 7, 2, offsetof(struct fs_target, number)),
		FS_LOAD(BPF_DW, 8, 2, offsetof(struct fs_target, flags)),
		FS_MOV_IMM(2, OFF),
		FS_CALL(BPF_FUNC_xdp_adjust_meta),
	};
	const struct bpf_insn to_device[] = { FS_MOV_REG(1, 7), FS_MOV_IMM(2, 0), FS_CALL(BPF_FUNC_redirect) };
	const struct bpf_insn to_map[] = { FS_MAP_FD(1, map), FS_MOV_REG(2, 7), FS_MOV_REG(3, 8),
					   FS_CALL(BPF_FUNC_redirect_map) };
	const struct bpf_insn end[] = { FS_EXIT(), FS_MOV_IMM(0, XDP_ABORTED), FS_EXIT() };
	struct bpf_insn code[32];
	size_t count = sizeof(start) / sizeof(start[0]);

	memcpy(code, start, sizeof(start));
	if (map < 0) {
		memcpy(code + count, to_device, sizeof(to_device));
		count += sizeof(to_device) / sizeof(to_device[0]);
	} else {
		memcpy(code + count, to_map, sizeof(to_map));
		count += sizeof(to_map) / sizeof(to_map[0]);
	}
	memcpy(code + count, end, sizeof(end));
	count += sizeof(end) / sizeof(end[0]);
	code[5].off = (int16_t)(count - 2 - 6);
	return fs_load_program("fs_redirect", code, count);
}

static void fs_open_reentry(void)
{
	const struct bpf_insn pass[] = { FS_MOV_IMM(0, XDP_PASS), FS_EXIT() };

	fs_reentry_pass = fs_load_program("fs_pass", pass, sizeof(pass) / sizeof(pass[0]));
	fs_reentry_device = fs_load_redirect(-1);
	for (uint32_t map = 0; fs_maps[map].name; map++)
		fs_reentry_map[map] = fs_map_redirects(fs_maps[map].type) ? fs_load_redirect(fs_maps[map].fd) : -1;
}

/* Run `program` on the frame, which has `meta` bytes of metadata before it. Whether the kernel took it. */
static bool fs_inject(int program, uint8_t *bytes, uint32_t meta, uint32_t size)
{
	struct xdp_md context = {
		.data = meta,
		.data_end = size,
		.ingress_ifindex = fs_options.ifindex,
		.rx_queue_index = fs_options.queue,
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = bytes, .data_size_in = size, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = 1, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	return bpf_prog_test_run_opts(program, &options) == 0;
}

/* In generic mode the interface's program would see the packet again: it cannot be passed. */
static bool fs_pass(struct fs_run *run)
{
	return !fs_options.generic &&
	       fs_inject(fs_reentry_pass, (uint8_t *)(uintptr_t)run->meta, (uint32_t)(run->data - run->meta),
			 (uint32_t)(run->end - run->meta));
}

static bool fs_redirect_packet(struct fs_run *run)
{
	struct fs_target target = { .flags = run->redirect.flags };
	uint64_t start = run->meta - sizeof(target);
	int program = fs_reentry_device;

	if (run->redirect.kind == FS_NOWHERE || start < run->first - sizeof(target))
		return false;
	target.number = run->redirect.kind == FS_TO_DEVICE ? run->redirect.ifindex : run->redirect.key;
	if (run->redirect.kind == FS_TO_MAP_ENTRY)
		program = fs_reentry_map[run->redirect.map];
	memcpy((uint8_t *)(uintptr_t)start, &target, sizeof(target));
	return fs_inject(program, (uint8_t *)(uintptr_t)start, (uint32_t)(run->data - start),
			 (uint32_t)(run->end - start));
}
