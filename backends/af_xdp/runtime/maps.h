/*
 * Maps. A map's values are reached in one of two ways:
 *
 *   direct   an array that is mapped into this process: a lookup gives an address in it
 *   copied   everything else: a lookup copies the value, and what the program has changed in the copy is written back
 *            when the packet is done; what it adds to a value that others add to, too, is added there at once
 *
 * Two lookups of one element give the same copy. An update or delete through the map ends a copy's connection with the
 * map where the kernel puts a new element in place of the old one (hash, LPM), and refreshes it where the kernel writes
 * in place (arrays, per-CPU types): a program that holds the old address sees what it would see in the kernel.
 *
 * With several threads, a copy that is written back must not overwrite what another thread has done meanwhile: from its
 * first use of such a map (`written`) on until it is done, a packet is the only one that uses any of them. So every
 * packet's effect is as a whole before or behind another's. Arrays that are mapped are shared as CPUs share them.
 *
 * fs_env_lookup, fs_env_update, fs_env_delete and fs_env_store are the transport's, fs_env_hold and fs_env_release, too.
 */

/* A copied value; `data`, `before` and `key` follow it in the arena. */
struct fs_value {
	struct fs_value *next;
	uint32_t map;
	bool stale;	/* no longer connected with the map */
	uint64_t token; /* the transport's name for the element */
	uint8_t *data, *before, *key;
} __attribute__((aligned(16)));

/* The copies' memory: blocks that are kept from packet to packet. */
struct fs_block {
	struct fs_block *next;
	size_t size, used;
	uint8_t bytes[] __attribute__((aligned(16)));
};

static int fs_env_lookup(struct fs_run *run, uint32_t map, const uint8_t *key, uint8_t *value, uint64_t *token);
static int fs_env_update(struct fs_run *run, uint32_t map, const uint8_t *key, const uint8_t *value, uint64_t flags);
static int fs_env_delete(struct fs_run *run, uint32_t map, const uint8_t *key);
static int fs_env_store(struct fs_run *run, uint32_t map, const uint8_t *key, uint64_t token, const uint8_t *value);
static int fs_env_push(struct fs_run *run, uint32_t map, const uint8_t *value, uint64_t flags);
static int fs_env_take(struct fs_run *run, uint32_t map, uint8_t *value, bool remove);
static int fs_env_add(struct fs_run *run, uint32_t map, const uint8_t *key, uint64_t token, uint32_t offset,
		      uint32_t size, uint64_t by);
static void fs_env_touch(struct fs_run *run, uint32_t map, const uint8_t *key);
static void fs_env_hold(struct fs_run *run);
static void fs_env_release(struct fs_run *run);

/* Before a map is used. */
FS_INLINE void fs_map_use(struct fs_run *run, const struct fs_map *map)
{
	if (!map->direct && map->written)
		fs_env_hold(run);
}

FS_API void *fs_allocate(struct fs_run *run, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	while (!run->block || run->block->size - run->block->used < size) {
		struct fs_block *next = run->block ? run->block->next : run->blocks;
		size_t room = size > 65536 ? size : 65536;

		if (!next) {
			next = malloc(sizeof(*next) + room);
			if (!next)
				fs_fail(run, "out of memory");
			next->next = NULL;
			next->size = room;
			*(run->block ? &run->block->next : &run->blocks) = next;
		}
		next->used = 0;
		run->block = next;
	}
	run->block->used += size;
	return run->block->bytes + run->block->used - size;
}

FS_API bool fs_value_holds(struct fs_run *run, uint32_t index, uint64_t address, uint64_t size, bool write)
{
	const struct fs_map *map = &fs_maps[index];

	if (write && map->read_only)
		return false;
	if (map->direct) {
		uint64_t offset = address - (uint64_t)(uintptr_t)map->direct;
		uint64_t length = map->stride * (map->max_entries - 1) + map->value_size;

		return size <= length && offset <= length - size;
	}
	for (const struct fs_value *value = run->values; value; value = value->next) {
		uint64_t offset = address - (uint64_t)(uintptr_t)value->data;

		if (value->map == index && size <= map->value_size && offset <= map->value_size - size)
			return true;
	}
	return false;
}

FS_API struct fs_value *fs_value_of(struct fs_run *run, uint32_t map, const uint8_t *key)
{
	for (struct fs_value *value = run->values; value; value = value->next)
		if (value->map == map && !value->stale && !memcmp(value->key, key, fs_maps[map].key_size))
			return value;
	return NULL;
}

/* The copy of an element that another key led to before (a longest-prefix match has many keys). */
FS_API struct fs_value *fs_value_by_token(struct fs_run *run, uint32_t map, uint64_t token)
{
	for (struct fs_value *value = run->values; token && value; value = value->next)
		if (value->map == map && !value->stale && value->token == token)
			return value;
	return NULL;
}

/* A lookup in a map whose values are copied. */
FS_API uint64_t fs_copied_lookup(struct fs_run *run, uint32_t index, const void *key)
{
	const struct fs_map *map = &fs_maps[index];
	struct fs_value *value, *same;

	fs_map_use(run, map);
	value = fs_value_of(run, index, key);
	if (value && map->ages)
		fs_env_touch(run, index, key);
	if (!value) {
		size_t room = (map->value_size + 15) & ~(size_t)15;

		value = fs_allocate(run, sizeof(*value) + 2 * room + map->key_size);
		*value = (struct fs_value){ .map = index, .data = (uint8_t *)(value + 1) };
		value->before = value->data + room;
		value->key = value->before + map->value_size;
		memcpy(value->key, key, map->key_size);
		if (fs_env_lookup(run, index, value->key, value->data, &value->token))
			return 0;
		same = fs_value_by_token(run, index, value->token);
		if (same)
			return (uint64_t)(uintptr_t)same->data;
		memcpy(value->before, value->data, map->value_size);
		value->next = run->values;
		run->values = value;
	}
	return (uint64_t)(uintptr_t)value->data;
}

FS_INLINE uint64_t fs_map_lookup(struct fs_run *run, uint32_t index, const void *key)
{
	const struct fs_map *map = &fs_maps[index];
	uint32_t number;

	if (!map->direct)
		return fs_copied_lookup(run, index, key);
	memcpy(&number, key, sizeof(number));
	return number < map->max_entries ? (uint64_t)(uintptr_t)map->direct + number * map->stride : 0;
}

/* After a change through the map: what becomes of the copy that the program may still hold. */
FS_API void fs_value_replaced(struct fs_run *run, uint32_t index, const uint8_t *key, const uint8_t *now)
{
	struct fs_value *value = fs_value_of(run, index, key);

	if (!value)
		return;
	if (now && fs_maps[index].in_place) {
		memmove(value->data, now, fs_maps[index].value_size);
		memcpy(value->before, value->data, fs_maps[index].value_size);
	} else {
		value->stale = true;
	}
}

FS_API uint64_t fs_map_update(struct fs_run *run, uint32_t map, const void *key, const void *value, uint64_t flags)
{
	int error;

	fs_map_use(run, &fs_maps[map]);
	error = fs_env_update(run, map, key, value, flags);
	if (!error)
		fs_value_replaced(run, map, key, value);
	return (uint64_t)(int64_t)error;
}

FS_API uint64_t fs_map_delete(struct fs_run *run, uint32_t map, const void *key)
{
	int error;

	fs_map_use(run, &fs_maps[map]);
	error = fs_env_delete(run, map, key);
	if (!error)
		fs_value_replaced(run, map, key, NULL);
	return (uint64_t)(int64_t)error;
}

/* The address of a byte in a global-data section. */
FS_INLINE uint64_t fs_global(struct fs_run *run, uint32_t map, uint64_t offset)
{
	static const uint8_t first[4];
	const uint64_t value = fs_map_lookup(run, map, first);

	if (FS_UNLIKELY(!value))
		fs_fail(run, "global data cannot be read");
	return value + offset;
}

/* A map as a word that helpers take, and back. */
FS_INLINE uint64_t fs_map_word(uint32_t map)
{
	return (uint64_t)(uintptr_t)&fs_maps[map];
}

FS_API uint32_t fs_map_of(struct fs_run *run, uint64_t word)
{
	for (uint32_t map = 0; fs_maps[map].name; map++)
		if (word == fs_map_word(map))
			return map;
	fs_fail(run, "a helper was called with an address that is no map's");
}

FS_INLINE bool fs_map_broadcasts(uint32_t type)
{
	return type == 14 || type == 25; /* DEVMAP, DEVMAP_HASH */
}

FS_INLINE bool fs_map_redirects(uint32_t type)
{
	return fs_map_broadcasts(type) || type == 16; /* CPUMAP */
}

/* bpf_redirect_map: the verdict, and the target for when it is XDP_REDIRECT. */
FS_API uint64_t fs_map_redirect(struct fs_run *run, uint32_t index, uint64_t key, uint64_t flags)
{
	enum { ACTION = 3, BROADCAST = 1 << 3, EXCLUDE_INGRESS = 1 << 4 };
	const uint32_t number = (uint32_t)key;
	const uint64_t known = ACTION | (fs_map_broadcasts(fs_maps[index].type) ? BROADCAST | EXCLUDE_INGRESS : 0);

	if (flags & ~known)
		return XDP_VERDICT_ABORTED;
	if (!(flags & BROADCAST) && !fs_map_lookup(run, index, &number)) {
		run->redirect.kind = FS_NOWHERE;
		return flags & ACTION;
	}
	run->redirect = (struct fs_redirect){ FS_TO_MAP_ENTRY, 0, index, number, flags & ~(uint64_t)ACTION };
	return XDP_VERDICT_REDIRECT;
}

FS_INLINE void fs_add_to(uint8_t *at, uint32_t size, uint64_t by)
{
	fs_put(at, fs_get(at, size) + by, size);
}

/* Add to an aligned word of a map value: where that is a copy, to the element, and to what is known of it. */
FS_API void fs_map_add(struct fs_run *run, uint8_t *at, uint32_t size, uint64_t by)
{
	fs_aligned(run, at, size);
	for (struct fs_value *value = run->values; value; value = value->next) {
		const uint64_t offset = (uint64_t)(uintptr_t)at - (uint64_t)(uintptr_t)value->data;

		if (offset >= fs_maps[value->map].value_size)
			continue;
		fs_add_to(at, size, by);
		if (value->stale || !fs_maps[value->map].counted)
			return; /* to be written back, or lost with the element */
		fs_add_to(value->before + offset, size, by);
		if (fs_env_add(run, value->map, value->key, value->token, (uint32_t)offset, size, by))
			run->counters.map_errors++;
		return;
	}
	if (size == 4)
		fs_atomic_add32(run, at, by);
	else
		fs_atomic_add64(run, at, by);
}

/* Write back what the program changed in copies. */
FS_API void fs_write_back(struct fs_run *run)
{
	for (struct fs_value *value = run->values; value; value = value->next) {
		const struct fs_map *map = &fs_maps[value->map];

		if (value->stale || map->read_only || !memcmp(value->data, value->before, map->value_size))
			continue;
		if (fs_env_store(run, value->map, value->key, value->token, value->data))
			run->counters.map_errors++;
	}
	run->values = NULL;
}

/* The packet is done: forget the copies. */
FS_INLINE void fs_values_end(struct fs_run *run)
{
	if (!FS_MAP_COUNT)
		return;
	if (run->block) {
		fs_write_back(run);
		run->block = NULL;
	}
	fs_env_release(run);
}
