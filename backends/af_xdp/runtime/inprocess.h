/*
 * Transport: none. A host process calls fs_process() for each packet and provides maps, clock and random numbers
 * through functions. This is how the generated code is tested and compared without an interface.
 */

struct fs_packet {
	uint8_t *buffer;
	uint32_t size;		       /* of the buffer: the packet may not grow beyond */
	uint32_t first;		       /* metadata may not begin before */
	uint32_t meta, data, end;      /* offsets in the buffer, in and out */
	uint32_t ifindex, queue, cpu;
	uint64_t now_ns, boot_ns, tai_ns;
	/* Out: */
	uint32_t verdict;
	uint32_t redirect_kind, redirect_ifindex, redirect_map, redirect_key;
	uint64_t redirect_flags;
	char message[160]; /* why the packet was dropped, if the program did not decide that */
};

struct fs_host {
	int (*lookup)(uint32_t map, const uint8_t *key, uint8_t *value, uint64_t *token);
	int (*update)(uint32_t map, const uint8_t *key, const uint8_t *value, uint64_t flags);
	int (*remove)(uint32_t map, const uint8_t *key);
	int (*store)(uint32_t map, const uint8_t *key, uint64_t token, const uint8_t *value);
	int (*push)(uint32_t map, const uint8_t *value, uint64_t flags);
	int (*take)(uint32_t map, uint8_t *value, bool remove);
	uint32_t (*random)(void);
	void (*print)(const uint8_t *text, size_t length);
};

static struct fs_host fs_host;
static const struct fs_packet *fs_current;
static struct fs_run fs_state;
static struct fs_order *fs_orders;

static int fs_env_lookup(struct fs_run *run, uint32_t map, const uint8_t *key, uint8_t *value, uint64_t *token)
{
	(void)run;
	return fs_host.lookup(map, key, value, token);
}

static int fs_env_update(struct fs_run *run, uint32_t map, const uint8_t *key, const uint8_t *value, uint64_t flags)
{
	(void)run;
	return fs_host.update(map, key, value, flags);
}

static int fs_env_delete(struct fs_run *run, uint32_t map, const uint8_t *key)
{
	(void)run;
	return fs_host.remove(map, key);
}

static int fs_env_store(struct fs_run *run, uint32_t map, const uint8_t *key, uint64_t token, const uint8_t *value)
{
	(void)run;
	return fs_host.store(map, key, token, value);
}

static int fs_env_push(struct fs_run *run, uint32_t map, const uint8_t *value, uint64_t flags)
{
	(void)run;
	return fs_host.push(map, value, flags);
}

static int fs_env_take(struct fs_run *run, uint32_t map, uint8_t *value, bool remove)
{
	(void)run;
	return fs_host.take(map, value, remove);
}

static int fs_env_add(struct fs_run *run, uint32_t map, const uint8_t *key, uint64_t token, uint32_t offset,
		      uint32_t size, uint64_t by)
{
	uint8_t *value = malloc(fs_maps[map].value_size + 1);
	int error = value ? fs_host.lookup(map, key, value, &token) : -ENOMEM;

	(void)run;
	if (!error) {
		fs_add_to(value + offset, size, by);
		error = fs_host.store(map, key, token, value);
	}
	free(value);
	return error == -ENOENT ? 0 : error;
}

static void fs_env_touch(struct fs_run *run, uint32_t map, const uint8_t *key)
{
	uint8_t *value = malloc(fs_maps[map].value_size + 1);
	uint64_t token;

	(void)run;
	if (value)
		fs_host.lookup(map, key, value, &token);
	free(value);
}

static void fs_env_hold(struct fs_run *run)
{
	(void)run; /* one thread */
}

static void fs_env_release(struct fs_run *run)
{
	(void)run;
}

static uint64_t fs_env_now(struct fs_run *run, int clock)
{
	(void)run;
	if (clock == FS_CLOCK_BOOT)
		return fs_current->boot_ns;
	return clock == FS_CLOCK_TAI ? fs_current->tai_ns : fs_current->now_ns;
}

static uint32_t fs_env_random(struct fs_run *run)
{
	(void)run;
	return fs_host.random();
}

static void fs_env_print(struct fs_run *run, const char *text, size_t length)
{
	(void)run;
	fs_host.print((const uint8_t *)text, length);
}

#define FS_EXPORT __attribute__((visibility("default")))

FS_EXPORT void fs_attach(const struct fs_host *host);
FS_EXPORT void fs_map_direct(uint32_t map, uint8_t *values, uint64_t stride);
FS_EXPORT const char *fs_map_name(uint32_t map);
FS_EXPORT void fs_order_at(uint8_t *elements);
FS_EXPORT const uint64_t *fs_counter_values(void);
FS_EXPORT const char *fs_counter_names(void);
FS_EXPORT void fs_process(struct fs_packet *packet);

FS_EXPORT void fs_attach(const struct fs_host *host)
{
	fs_host = *host;
}

/* The values of an array are at `values` in the host's memory. */
FS_EXPORT void fs_map_direct(uint32_t map, uint8_t *values, uint64_t stride)
{
	fs_maps[map].direct = values;
	fs_maps[map].stride = stride;
}

/* The elements of the kernel part's map of packets in flight. */
FS_EXPORT void fs_order_at(uint8_t *elements)
{
	fs_orders = (struct fs_order *)(void *)elements;
}

/* The name of map number `map`, NULL when there are not so many. */
FS_EXPORT const char *fs_map_name(uint32_t map)
{
	return map < FS_MAP_COUNT ? fs_maps[map].name : NULL;
}

FS_EXPORT const uint64_t *fs_counter_values(void)
{
	return (const uint64_t *)&fs_state.counters;
}

FS_EXPORT const char *fs_counter_names(void)
{
#define FS_NAME(name) #name " "
	return FS_COUNTERS(FS_NAME);
#undef FS_NAME
}

FS_EXPORT void fs_process(struct fs_packet *packet)
{
	struct fs_run *run = &fs_state;
	const uint64_t base = (uint64_t)(uintptr_t)packet->buffer;
	static struct fs_order nobodys[FS_SLOTS];
	int reason;

	fs_current = packet;
	run->meta = base + packet->meta;
	run->data = base + packet->data;
	run->end = base + packet->end;
	run->first = base + packet->first;
	run->room = packet->size - packet->first;
	run->ifindex = packet->ifindex;
	run->queue = packet->queue;
	run->cpu = packet->cpu;
	run->cpus = UINT32_MAX;
	run->order = fs_orders ? fs_orders + (size_t)packet->queue * FS_SLOTS : nobodys;
	run->message[0] = 0;
	run->counters.received++;
	reason = setjmp(run->escape);
	if (!reason) {
		packet->verdict = fs_run_packet(run, run->data, run->end);
	} else {
		fs_abandon(run, reason);
		packet->verdict = XDP_VERDICT_DROP;
	}
	fs_publish(run);
	packet->meta = (uint32_t)(run->meta - base);
	packet->data = (uint32_t)(run->data - base);
	packet->end = (uint32_t)(run->end - base);
	packet->redirect_kind = run->redirect.kind;
	packet->redirect_ifindex = run->redirect.ifindex;
	packet->redirect_map = run->redirect.map;
	packet->redirect_key = run->redirect.key;
	packet->redirect_flags = run->redirect.flags;
	memcpy(packet->message, run->message, sizeof(packet->message));
}
