/* The kernel's helper functions, as far as they have a meaning in user space. Arguments and results are words. */

static uint64_t fs_env_now(struct fs_run *run, int clock);
static uint32_t fs_env_random(struct fs_run *run);
static void fs_env_print(struct fs_run *run, const char *text, size_t length);
FS_API uint64_t fs_call(struct fs_run *run, uint64_t function, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4);

FS_API uint64_t fs_bpf_map_lookup_elem(struct fs_run *run, uint64_t map, uint64_t key)
{
	uint32_t index = fs_map_of(run, map);

	return fs_map_lookup(run, index, fs_any_at(run, key, fs_maps[index].key_size, false));
}

FS_API uint64_t fs_bpf_map_update_elem(struct fs_run *run, uint64_t map, uint64_t key, uint64_t value, uint64_t flags)
{
	uint32_t index = fs_map_of(run, map);
	const uint8_t *at = fs_any_at(run, key, fs_maps[index].key_size, false);

	return fs_map_update(run, index, at, fs_any_at(run, value, fs_maps[index].value_size, false), flags);
}

FS_API uint64_t fs_bpf_map_delete_elem(struct fs_run *run, uint64_t map, uint64_t key)
{
	uint32_t index = fs_map_of(run, map);

	return fs_map_delete(run, index, fs_any_at(run, key, fs_maps[index].key_size, false));
}

/* Queues, stacks and bloom filters; an empty one gives zeros. */
FS_API uint64_t fs_bpf_map_push_elem(struct fs_run *run, uint64_t map, uint64_t value, uint64_t flags)
{
	uint32_t index = fs_map_of(run, map);
	const uint8_t *at = fs_any_at(run, value, fs_maps[index].value_size, false);

	return (uint64_t)(int64_t)fs_env_push(run, index, at, flags);
}

FS_API uint64_t fs_bpf_map_pop_elem(struct fs_run *run, uint64_t map, uint64_t value)
{
	uint32_t index = fs_map_of(run, map);

	return (uint64_t)(int64_t)fs_env_take(run, index, fs_any_at(run, value, fs_maps[index].value_size, true), true);
}

FS_API uint64_t fs_bpf_map_peek_elem(struct fs_run *run, uint64_t map, uint64_t value)
{
	uint32_t index = fs_map_of(run, map);

	return (uint64_t)(int64_t)fs_env_take(run, index, fs_any_at(run, value, fs_maps[index].value_size, true), false);
}

FS_API uint64_t fs_bpf_redirect_map(struct fs_run *run, uint64_t map, uint64_t key, uint64_t flags)
{
	return fs_map_redirect(run, fs_map_of(run, map), key, flags);
}

FS_API uint64_t fs_bpf_redirect(struct fs_run *run, uint64_t ifindex, uint64_t flags)
{
	if (flags)
		return XDP_VERDICT_ABORTED;
	run->redirect = (struct fs_redirect){ FS_TO_DEVICE, (uint32_t)ifindex, 0, 0, 0 };
	return XDP_VERDICT_REDIRECT;
}

enum { FS_CLOCK_MONOTONIC, FS_CLOCK_BOOT, FS_CLOCK_TAI, FS_CLOCK_COARSE };

FS_API uint64_t fs_bpf_ktime_get_ns(struct fs_run *run)
{
	return fs_env_now(run, FS_CLOCK_MONOTONIC);
}

FS_API uint64_t fs_bpf_ktime_get_boot_ns(struct fs_run *run)
{
	return fs_env_now(run, FS_CLOCK_BOOT);
}

FS_API uint64_t fs_bpf_ktime_get_tai_ns(struct fs_run *run)
{
	return fs_env_now(run, FS_CLOCK_TAI);
}

FS_API uint64_t fs_bpf_ktime_get_coarse_ns(struct fs_run *run)
{
	return fs_env_now(run, FS_CLOCK_COARSE);
}

FS_API uint64_t fs_bpf_get_prandom_u32(struct fs_run *run)
{
	return fs_env_random(run);
}

FS_API uint64_t fs_bpf_get_smp_processor_id(struct fs_run *run)
{
	return run->cpu;
}

FS_API uint64_t fs_bpf_xdp_adjust_head(struct fs_run *run, uint64_t ctx, uint64_t by)
{
	(void)ctx;
	return fs_adjust_head(run, by);
}

FS_API uint64_t fs_bpf_xdp_adjust_meta(struct fs_run *run, uint64_t ctx, uint64_t by)
{
	(void)ctx;
	return fs_adjust_meta(run, by);
}

FS_API uint64_t fs_bpf_xdp_adjust_tail(struct fs_run *run, uint64_t ctx, uint64_t by)
{
	(void)ctx;
	return fs_adjust_tail(run, by);
}

FS_API uint64_t fs_bpf_xdp_get_buff_len(struct fs_run *run, uint64_t ctx)
{
	(void)ctx;
	return run->end - run->data;
}

FS_API uint64_t fs_bpf_xdp_load_bytes(struct fs_run *run, uint64_t ctx, uint64_t offset, uint64_t to, uint64_t size)
{
	uint8_t *buffer = fs_buffer(run, to, (uint32_t)size, true);

	(void)ctx;
	offset = (uint32_t)offset;
	size = (uint32_t)size;
	if (offset > 0xffff || size > 0xffff)
		return (uint64_t)-FS_EFAULT;
	if (offset + size > run->end - run->data)
		return (uint64_t)-FS_EINVAL;
	memmove(buffer, (const uint8_t *)(uintptr_t)run->data + offset, size);
	return 0;
}

FS_API uint64_t fs_bpf_xdp_store_bytes(struct fs_run *run, uint64_t ctx, uint64_t offset, uint64_t from, uint64_t size)
{
	const uint8_t *buffer = fs_buffer(run, from, (uint32_t)size, false);

	(void)ctx;
	offset = (uint32_t)offset;
	size = (uint32_t)size;
	if (offset > 0xffff || size > 0xffff)
		return (uint64_t)-FS_EFAULT;
	if (offset + size > run->end - run->data)
		return (uint64_t)-FS_EINVAL;
	memmove((uint8_t *)(uintptr_t)run->data + offset, buffer, size);
	return 0;
}

/* Ones' complement sum of 32-bit words, the last padded with zeros. */
FS_API uint32_t fs_csum_partial(const uint8_t *bytes, uint64_t size, uint32_t seed)
{
	uint64_t total = seed;

	for (; size >= 4; bytes += 4, size -= 4)
		total += fs_get(bytes, 4);
	if (size)
		total += fs_get(bytes, (unsigned int)size);
	while (total >> 32)
		total = (uint32_t)total + (total >> 32);
	return (uint32_t)total;
}

/* As kernels from 6.13 on: sizes need not be multiples of 4, the result is folded to 16 bits. */
FS_API uint64_t fs_bpf_csum_diff(struct fs_run *run, uint64_t from, uint64_t from_size, uint64_t to, uint64_t to_size,
				 uint64_t seed)
{
	const uint8_t *before = fs_buffer(run, from, (uint32_t)from_size, false);
	const uint8_t *after = fs_buffer(run, to, (uint32_t)to_size, false);
	uint32_t total = (uint32_t)seed;

	from_size = (uint32_t)from_size;
	to_size = (uint32_t)to_size;
	if (from_size && to_size) {
		uint64_t sum = (uint64_t)fs_csum_partial(after, to_size, total) +
			       (uint32_t)~fs_csum_partial(before, from_size, 0);

		total = (uint32_t)sum + (uint32_t)(sum >> 32);
	} else if (to_size) {
		total = fs_csum_partial(after, to_size, total);
	} else if (from_size) {
		total = ~fs_csum_partial(before, from_size, ~total);
	}
	total = (total & 0xffff) + (total >> 16);
	return (total & 0xffff) + (total >> 16);
}

FS_API uint64_t fs_bpf_strncmp(struct fs_run *run, uint64_t a, uint64_t size, uint64_t b)
{
	const uint8_t *left = fs_buffer(run, a, (uint32_t)size, false);

	for (uint32_t i = 0; i < (uint32_t)size; i++) {
		uint8_t right = *fs_any_at(run, b + i, 1, false);

		if (left[i] != right)
			return left[i] < right ? (uint64_t)-1 : 1;
		if (!left[i])
			break;
	}
	return 0;
}

/* What can be read here is the program's own: packet, stack, and values of maps. */
FS_API uint64_t fs_bpf_probe_read(struct fs_run *run, uint64_t to, uint64_t size, uint64_t from)
{
	uint8_t *at = fs_buffer(run, to, (uint32_t)size, true);

	if (!(uint32_t)size)
		return 0;
	if (!fs_any_holds(run, from, (uint32_t)size, false)) {
		memset(at, 0, (uint32_t)size);
		return (uint64_t)-FS_EFAULT;
	}
	memmove(at, (const uint8_t *)(uintptr_t)from, (uint32_t)size);
	return 0;
}

FS_API uint64_t fs_bpf_loop(struct fs_run *run, uint64_t count, uint64_t function, uint64_t context, uint64_t flags)
{
	if (flags)
		return (uint64_t)-FS_EINVAL;
	count = (uint32_t)count;
	if (count > FS_LOOP_BUDGET)
		return (uint64_t)-FS_E2BIG;
	for (uint64_t i = 0; i < count; i++)
		if (fs_call(run, function, i, context, 0, 0))
			return i + 1;
	return count;
}
