/*
 * Maps whose elements cannot be had by plain system calls as a program has them: LRU hashes, where only a program's
 * lookup keeps an element alive, and maps with a value per CPU, where a system call gets and sets those of all; and
 * additions to values that others add to at the same time. A small program in the kernel makes the access, on the CPU
 * whose value is meant; key and value go through memory that both map. Each thread has its own.
 *
 * The program may interrupt the kernel's part in the middle of an addition: both are atomic.
 */

enum { FS_LOOKUP, FS_UPDATE, FS_STORE, FS_ADD32, FS_ADD64, FS_ACCESSES };
enum { FS_LARGEST_VALUE = 16384 }; /* offsets in instructions have 16 bits */

struct fs_accessor {
	int programs[FS_ACCESSES];
	uint8_t *memory; /* int64 result, uint64 flags or offset, key, value or what to add */
	uint32_t value;	 /* where that is */
};

static uint32_t fs_rounded(uint32_t size)
{
	return (size + 7) & ~7u;
}

/* Copy a value, word by word: from `src` + `from` to `dst` + `to`. */
static size_t fs_copy_code(struct bpf_insn *code, uint8_t dst, uint32_t to, uint8_t src, uint32_t from, uint32_t size)
{
	static const uint8_t sizes[] = { BPF_DW, BPF_W, BPF_H, BPF_B };
	size_t count = 0;
	uint32_t at = 0;

	for (uint32_t i = 0, width = 8; i < 4; i++, width /= 2)
		for (; size - at >= width; at += width) {
			code[count++] = FS_LOAD(sizes[i], 1, src, (int16_t)(from + at));
			code[count++] = FS_STORE(sizes[i], dst, 1, (int16_t)(to + at));
		}
	return count;
}

/* Add to the word of the value at r7 that lies at the offset in the memory at r6; its size is 4 or 8. */
static size_t fs_add_code(struct bpf_insn *code, uint32_t size, uint32_t value, uint32_t value_size, size_t *miss)
{
	size_t count = 0;

	code[count++] = FS_LOAD(BPF_DW, 1, 6, 8);
	code[count++] = fs_insn(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, -(int32_t)size);
	*miss = count;
	code[count++] = fs_insn(BPF_JMP | BPF_JGT | BPF_K, 1, 0, 0, (int32_t)(value_size - size));
	code[count++] = fs_insn(BPF_ALU64 | BPF_ADD | BPF_X, 7, 1, 0, 0);
	code[count++] = FS_LOAD(BPF_DW, 1, 6, (int16_t)value);
	code[count++] = fs_insn(BPF_STX | BPF_ATOMIC | (size == 4 ? BPF_W : BPF_DW), 7, 1, 0, BPF_ADD);
	return count;
}

static int fs_make_access(const struct fs_map *map, int kind, int memory, uint32_t value)
{
	struct bpf_insn *code = calloc(64 + 2 * ((size_t)map->value_size / 8 + 4), sizeof(*code));
	const uint32_t added = kind == FS_ADD32 ? 4 : 8;
	size_t n = 0, miss, outside = 0;
	int program;

	if (!code)
		fs_die("out of memory");
	code[n++] = fs_insn(BPF_LD | BPF_IMM | BPF_DW, 6, BPF_PSEUDO_MAP_VALUE, 0, memory);
	code[n++] = fs_insn(0, 0, 0, 0, 0);
	code[n++] = fs_insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map->fd);
	code[n++] = fs_insn(0, 0, 0, 0, 0);
	code[n++] = FS_MOV_REG(2, 6);
	code[n++] = FS_ADD_IMM(2, 16);
	if (kind == FS_UPDATE) {
		code[n++] = FS_MOV_REG(3, 6);
		code[n++] = FS_ADD_IMM(3, (int32_t)value);
		code[n++] = FS_LOAD(BPF_DW, 4, 6, 8);
		code[n++] = FS_CALL(BPF_FUNC_map_update_elem);
	} else {
		code[n++] = FS_CALL(BPF_FUNC_map_lookup_elem);
		code[n++] = FS_MOV_REG(7, 0);
		code[n++] = FS_MOV_IMM(0, -ENOENT);
		miss = n;
		code[n++] = fs_insn(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 0, 0);
		if (kind == FS_LOOKUP) {
			n += fs_copy_code(code + n, 6, value, 7, 0, map->value_size);
		} else if (kind == FS_STORE) {
			n += fs_copy_code(code + n, 7, 0, 6, value, map->value_size);
		} else {
			size_t from = n;

			n += fs_add_code(code + n, added, value, map->value_size, &outside);
			outside += from;
		}
		code[n++] = FS_MOV_IMM(0, 0);
		code[miss].off = (int16_t)(n - miss - 1);
		if (outside)
			code[outside].off = (int16_t)(n - outside - 1);
	}
	code[n++] = FS_STORE(BPF_DW, 6, 0, 0);
	code[n++] = FS_MOV_IMM(0, 0);
	code[n++] = FS_EXIT();
	program = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "fs_access", "GPL", code, n, NULL);
	free(code);
	if (program < 0)
		fs_die("the kernel refuses the access to the map %s by a program: %s", map->name, strerror(-program));
	return program;
}

/* Whether an access to a map of this kind may be asked for. */
static bool fs_is_accessed(const struct fs_map *map, int kind)
{
	if (kind < FS_ADD32)
		return map->by_program;
	return map->counted && map->value_size >= (kind == FS_ADD32 ? 4 : 8);
}

static struct fs_accessor *fs_make_accessor(const struct fs_map *map)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	struct fs_accessor *accessor = calloc(1, sizeof(*accessor));
	const uint32_t value = 16 + fs_rounded(map->key_size), size = value + fs_rounded(map->value_size);
	int memory;

	if (map->value_size > FS_LARGEST_VALUE || map->key_size > FS_LARGEST_VALUE)
		fs_die("the map %s has elements of more than %d bytes", map->name, FS_LARGEST_VALUE);
	memory = bpf_map_create(BPF_MAP_TYPE_ARRAY, "fs_access", sizeof(uint32_t), size, 1, &options);
	if (memory < 0 || !accessor)
		fs_die("cannot make memory to access the map %s: %s", map->name, strerror(memory < 0 ? -memory : ENOMEM));
	accessor->value = value;
	accessor->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (accessor->memory == MAP_FAILED)
		fs_die("cannot map memory to access the map %s: %s", map->name, strerror(errno));
	for (int kind = 0; kind < FS_ACCESSES; kind++)
		accessor->programs[kind] = !fs_is_accessed(map, kind) ? -1 : fs_make_access(map, kind, memory, value);
	close(memory);
	return accessor;
}

/* Those of a thread, by map; NULL where plain system calls do. */
static struct fs_accessor **fs_make_accessors(void)
{
	struct fs_accessor **all = calloc(FS_MAP_COUNT + 1, sizeof(*all));

	if (!all)
		fs_die("out of memory");
	for (uint32_t index = 0; index < FS_MAP_COUNT; index++)
		if ((fs_maps[index].by_program || fs_maps[index].counted) && !fs_maps[index].in_memory)
			all[index] = fs_make_accessor(&fs_maps[index]);
	return all;
}

static int fs_access(struct fs_run *run, uint32_t index, int kind, const uint8_t *key, const uint8_t *value,
		     uint64_t flags)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = run->cpu);
	struct fs_accessor *accessor = run->accessors[index];
	int64_t result;
	int error;

	memcpy(accessor->memory + 8, &flags, sizeof(flags));
	memcpy(accessor->memory + 16, key, fs_maps[index].key_size);
	if (value)
		memcpy(accessor->memory + accessor->value, value, fs_maps[index].value_size);
	error = bpf_prog_test_run_opts(accessor->programs[kind], &options);
	memcpy(&result, accessor->memory, sizeof(result));
	return error ? error : (int)result;
}

/* What maps.h asks for. */
static int fs_env_lookup(struct fs_run *run, uint32_t index, const uint8_t *key, uint8_t *value, uint64_t *token)
{
	const struct fs_map *map = &fs_maps[index];
	int error;

	*token = 0;
	if (map->in_memory)
		return fs_table_lookup(index, key, value);
	if (!map->by_program)
		return bpf_map_lookup_elem(map->fd, key, value);
	error = fs_access(run, index, FS_LOOKUP, key, NULL, 0);
	if (!error)
		memcpy(value, run->accessors[index]->memory + run->accessors[index]->value, map->value_size);
	return error;
}

static int fs_env_update(struct fs_run *run, uint32_t index, const uint8_t *key, const uint8_t *value, uint64_t flags)
{
	const struct fs_map *map = &fs_maps[index];

	if (map->in_memory)
		return fs_table_update(index, key, value, flags);
	if (!map->by_program)
		return bpf_map_update_elem(map->fd, key, value, flags);
	return fs_access(run, index, FS_UPDATE, key, value, flags);
}

static int fs_env_delete(struct fs_run *run, uint32_t index, const uint8_t *key)
{
	(void)run;
	if (fs_maps[index].in_memory)
		return fs_table_delete(index, key);
	return bpf_map_delete_elem(fs_maps[index].fd, key);
}

static int fs_env_store(struct fs_run *run, uint32_t index, const uint8_t *key, uint64_t token, const uint8_t *value)
{
	int error = fs_maps[index].by_program ? fs_access(run, index, FS_STORE, key, value, 0) :
						fs_env_update(run, index, key, value, BPF_EXIST);

	(void)token;
	return error == -ENOENT ? 0 : error; /* deleted meanwhile: what is written to it is lost, as in the kernel */
}

static int fs_env_add(struct fs_run *run, uint32_t index, const uint8_t *key, uint64_t token, uint32_t offset,
		      uint32_t size, uint64_t by)
{
	struct fs_accessor *accessor = run->accessors[index];
	int error;

	(void)token;
	memcpy(accessor->memory + accessor->value, &by, sizeof(by));
	error = fs_access(run, index, size == 4 ? FS_ADD32 : FS_ADD64, key, NULL, offset);
	return error == -ENOENT ? 0 : error;
}

static void fs_env_hold(struct fs_run *run)
{
	if (fs_threads && !run->alone)
		pthread_mutex_lock(&fs_written);
	run->alone = true;
}

static void fs_env_release(struct fs_run *run)
{
	if (!run->alone)
		return;
	if (fs_threads)
		pthread_mutex_unlock(&fs_written);
	run->alone = false;
}

/* Keep an element alive that the program has found again. */
static void fs_env_touch(struct fs_run *run, uint32_t index, const uint8_t *key)
{
	if (!fs_maps[index].in_memory)
		fs_access(run, index, FS_LOOKUP, key, NULL, 0);
}

static int fs_env_push(struct fs_run *run, uint32_t index, const uint8_t *value, uint64_t flags)
{
	(void)run;
	return bpf_map_update_elem(fs_maps[index].fd, NULL, value, flags);
}

static int fs_env_take(struct fs_run *run, uint32_t index, uint8_t *value, bool remove)
{
	const struct fs_map *map = &fs_maps[index];
	int error;

	(void)run;
	if (map->type == BPF_MAP_TYPE_BLOOM_FILTER) /* asks for the value that is there */
		return remove ? -EOPNOTSUPP : bpf_map_lookup_elem(map->fd, NULL, value);
	error = remove ? bpf_map_lookup_and_delete_elem(map->fd, NULL, value) :
			 bpf_map_lookup_elem(map->fd, NULL, value);
	if (error)
		memset(value, 0, map->value_size);
	return error;
}
