/*
 * Hashes in this process's memory, for maps that nobody else needs to see (--in-memory): the same results as from the
 * kernel's, without system calls. All elements are allocated at once, as the kernel does.
 */

struct fs_table {
	pthread_mutex_t lock;
	uint64_t seed; /* so that nobody outside can choose keys that collide */
	uint32_t mask; /* buckets - 1 */
	uint32_t *heads, *next; /* elements by number, from 1; 0 ends a chain */
	uint32_t free;
	uint8_t *keys, *values;
};

static struct fs_table *fs_tables[FS_MAP_COUNT + 1];

static void *fs_zeroed(size_t count, size_t size)
{
	void *memory = calloc(count, size ? size : 1);

	if (!memory)
		fs_die("out of memory");
	return memory;
}

static void fs_make_table(uint32_t index)
{
	const struct fs_map *map = &fs_maps[index];
	struct fs_table *table = fs_zeroed(1, sizeof(*table));
	uint32_t buckets = 1;

	while (buckets < map->max_entries && buckets < 1u << 31)
		buckets *= 2;
	pthread_mutex_init(&table->lock, NULL);
	if (getrandom(&table->seed, sizeof(table->seed), 0) < 0)
		table->seed = fs_env_now(NULL, FS_CLOCK_MONOTONIC);
	table->mask = buckets - 1;
	table->heads = fs_zeroed(buckets, sizeof(uint32_t));
	table->next = fs_zeroed((size_t)map->max_entries + 1, sizeof(uint32_t));
	table->keys = fs_zeroed((size_t)map->max_entries + 1, map->key_size);
	table->values = fs_zeroed((size_t)map->max_entries + 1, map->value_size);
	for (uint32_t i = map->max_entries; i; i--) {
		table->next[i] = table->free;
		table->free = i;
	}
	fs_tables[index] = table;
}

static uint32_t fs_table_hash(const struct fs_table *table, const uint8_t *key, uint32_t size)
{
	uint64_t hash = table->seed ^ size;

	for (; size; size -= size < 8 ? size : 8) {
		uint32_t step = size < 8 ? size : 8;

		hash = (hash ^ fs_get(key, step)) * UINT64_C(0x9E3779B97F4A7C15);
		hash ^= hash >> 29;
		key += step;
	}
	hash *= UINT64_C(0xBF58476D1CE4E5B9);
	return (uint32_t)(hash >> 32) & table->mask;
}

/* The link to the element of a key, or the one that ends its chain. */
static uint32_t *fs_table_link(struct fs_table *table, const struct fs_map *map, const uint8_t *key)
{
	uint32_t *link = &table->heads[fs_table_hash(table, key, map->key_size)];

	while (*link && memcmp(table->keys + (size_t)*link * map->key_size, key, map->key_size))
		link = &table->next[*link];
	return link;
}

static int fs_table_lookup(uint32_t index, const uint8_t *key, uint8_t *value)
{
	const struct fs_map *map = &fs_maps[index];
	struct fs_table *table = fs_tables[index];
	uint32_t found;

	pthread_mutex_lock(&table->lock);
	found = *fs_table_link(table, map, key);
	if (found)
		memcpy(value, table->values + (size_t)found * map->value_size, map->value_size);
	pthread_mutex_unlock(&table->lock);
	return found ? 0 : -ENOENT;
}

static int fs_table_put(struct fs_table *table, const struct fs_map *map, const uint8_t *key, const uint8_t *value,
			uint64_t flags)
{
	uint32_t *link = fs_table_link(table, map, key), place = *link;

	if (place && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!place && flags == BPF_EXIST)
		return -ENOENT;
	if (!place) {
		place = table->free;
		if (!place)
			return -E2BIG;
		table->free = table->next[place];
		table->next[place] = 0;
		memcpy(table->keys + (size_t)place * map->key_size, key, map->key_size);
		*link = place;
	}
	memcpy(table->values + (size_t)place * map->value_size, value, map->value_size);
	return 0;
}

static int fs_table_update(uint32_t index, const uint8_t *key, const uint8_t *value, uint64_t flags)
{
	struct fs_table *table = fs_tables[index];
	int error;

	if (flags > BPF_EXIST)
		return -EINVAL;
	pthread_mutex_lock(&table->lock);
	error = fs_table_put(table, &fs_maps[index], key, value, flags);
	pthread_mutex_unlock(&table->lock);
	return error;
}

static int fs_table_delete(uint32_t index, const uint8_t *key)
{
	struct fs_table *table = fs_tables[index];
	uint32_t *link, place;

	pthread_mutex_lock(&table->lock);
	link = fs_table_link(table, &fs_maps[index], key);
	place = *link;
	if (place) {
		*link = table->next[place];
		table->next[place] = table->free;
		table->free = place;
	}
	pthread_mutex_unlock(&table->lock);
	return place ? 0 : -ENOENT;
}
