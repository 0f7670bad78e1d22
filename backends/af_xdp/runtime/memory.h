/*
 * Checked access. For each kind of object there is a function that turns an address into a pointer, or ends the packet:
 *
 *   fs_packet_at   the frame and its metadata        fs_value_at   the values of one map
 *   fs_stack_at    the frames of the call chain      fs_any_at     any of these
 *
 * and loads and stores of each width built on it. fs_proven_* do not check: they are used where the compiler has proven
 * that the bytes are there (fsir/analysis/in_bounds.py).
 */

FS_INLINE uint8_t *fs_packet_at(struct fs_run *run, uint64_t address, uint64_t size, bool write)
{
	uint64_t offset = address - run->meta, length = run->end - run->meta;

	if (FS_UNLIKELY(size > length || offset > length - size))
		fs_violation(run, write ? "write" : "read", address, size);
	return (uint8_t *)(uintptr_t)address;
}

FS_INLINE uint8_t *fs_stack_at(struct fs_run *run, uint64_t address, uint64_t size, bool write)
{
	uint64_t offset = address - (uint64_t)(uintptr_t)run->stack;

	if (FS_UNLIKELY(size > run->stack_top || offset > run->stack_top - size))
		fs_violation(run, write ? "stack write" : "stack read", address, size);
	return (uint8_t *)(uintptr_t)address;
}

FS_API bool fs_value_holds(struct fs_run *run, uint32_t map, uint64_t address, uint64_t size, bool write);

FS_INLINE uint8_t *fs_value_at(struct fs_run *run, uint32_t map, uint64_t address, uint64_t size, bool write)
{
	if (FS_UNLIKELY(!fs_value_holds(run, map, address, size, write)))
		fs_violation(run, write ? "map value write" : "map value read", address, size);
	return (uint8_t *)(uintptr_t)address;
}

/* Whether these bytes lie in an object that the program may touch. */
FS_API bool fs_any_holds(struct fs_run *run, uint64_t address, uint64_t size, bool write)
{
	uint64_t in_packet = address - run->meta, length = run->end - run->meta;
	uint64_t in_stack = address - (uint64_t)(uintptr_t)run->stack;

	if (size <= length && in_packet <= length - size)
		return true;
	if (size <= run->stack_top && in_stack <= run->stack_top - size)
		return true;
	for (uint32_t map = 0; fs_maps[map].name; map++)
		if (fs_value_holds(run, map, address, size, write))
			return true;
	return false;
}

FS_INLINE uint8_t *fs_any_at(struct fs_run *run, uint64_t address, uint64_t size, bool write)
{
	if (FS_UNLIKELY(!fs_any_holds(run, address, size, write)))
		fs_violation(run, write ? "write" : "read", address, size);
	return (uint8_t *)(uintptr_t)address;
}

/* Without an interface, where programs are tested, proofs are tested, too. */
FS_INLINE uint8_t *fs_proven_at(struct fs_run *run, uint64_t address, uint64_t size, bool write)
{
#ifdef FS_INPROCESS
	if (FS_UNLIKELY(!fs_any_holds(run, address, size, write)))
		fs_violation(run, "access that was proven to be in bounds,", address, size);
#endif
	(void)run, (void)size, (void)write;
	return (uint8_t *)(uintptr_t)address;
}

/* A helper's memory argument: an address is not looked at when there is nothing to read or write. */
FS_INLINE uint8_t *fs_buffer(struct fs_run *run, uint64_t address, uint64_t size, bool write)
{
	return size ? fs_any_at(run, address, size, write) : NULL;
}

/* Unaligned little-endian words of 1 to 8 bytes. */
FS_INLINE uint64_t fs_get(const uint8_t *bytes, unsigned int size)
{
	uint64_t word = 0;

	memcpy(&word, bytes, size);
	return word;
}

FS_INLINE void fs_put(uint8_t *bytes, uint64_t word, unsigned int size)
{
	memcpy(bytes, &word, size);
}

#define FS_WORD_ACCESS(kind, size, bits)                                                                           \
	FS_INLINE uint64_t fs_##kind##_u##bits(struct fs_run *run, uint64_t address)                               \
	{                                                                                                          \
		return fs_get(fs_##kind##_at(run, address, size, false), size);                                    \
	}                                                                                                          \
	FS_INLINE void fs_##kind##_set_u##bits(struct fs_run *run, uint64_t address, uint64_t word)                \
	{                                                                                                          \
		fs_put(fs_##kind##_at(run, address, size, true), word, size);                                      \
	}

#define FS_ACCESS(kind)                                                                                            \
	FS_WORD_ACCESS(kind, 1, 8) FS_WORD_ACCESS(kind, 2, 16) FS_WORD_ACCESS(kind, 3, 24) FS_WORD_ACCESS(kind, 4, 32) \
	FS_WORD_ACCESS(kind, 5, 40) FS_WORD_ACCESS(kind, 6, 48) FS_WORD_ACCESS(kind, 7, 56) FS_WORD_ACCESS(kind, 8, 64)

FS_ACCESS(packet)
FS_ACCESS(stack)
FS_ACCESS(proven)

#define FS_VALUE_WORD_ACCESS(size, bits)                                                                           \
	FS_INLINE uint64_t fs_value_u##bits(struct fs_run *run, uint32_t map, uint64_t address)                    \
	{                                                                                                          \
		return fs_get(fs_value_at(run, map, address, size, false), size);                                  \
	}                                                                                                          \
	FS_INLINE void fs_value_set_u##bits(struct fs_run *run, uint32_t map, uint64_t address, uint64_t word)     \
	{                                                                                                          \
		fs_put(fs_value_at(run, map, address, size, true), word, size);                                    \
	}

FS_VALUE_WORD_ACCESS(1, 8)
FS_VALUE_WORD_ACCESS(2, 16)
FS_VALUE_WORD_ACCESS(3, 24)
FS_VALUE_WORD_ACCESS(4, 32)
FS_VALUE_WORD_ACCESS(5, 40)
FS_VALUE_WORD_ACCESS(6, 48)
FS_VALUE_WORD_ACCESS(7, 56)
FS_VALUE_WORD_ACCESS(8, 64)

/* A field of the context: the packet's positions are full addresses, as the kernel makes them. */
FS_API uint64_t fs_context_u32(struct fs_run *run, uint64_t offset)
{
	switch (offset) {
	case offsetof(struct fs_context, data):
		return run->data;
	case offsetof(struct fs_context, data_end):
		return run->end;
	case offsetof(struct fs_context, data_meta):
		return run->meta;
	case offsetof(struct fs_context, ingress_ifindex):
		return run->ifindex;
	case offsetof(struct fs_context, rx_queue_index):
		return run->queue;
	case offsetof(struct fs_context, egress_ifindex):
		return 0;
	default:
		fs_fail(run, "read of a context field that does not exist");
	}
}

/* A word at an address of which nothing is known; it may be a context field. */
FS_INLINE uint64_t fs_any_load(struct fs_run *run, uint64_t address, unsigned int size)
{
	uint64_t in_context = address - (uint64_t)(uintptr_t)&run->context;

	if (FS_UNLIKELY(size == 4 && in_context < sizeof(struct fs_context)))
		return fs_context_u32(run, in_context);
	return fs_get(fs_any_at(run, address, size, false), size);
}

#define FS_ANY_ACCESS(size, bits)                                                                                  \
	FS_INLINE uint64_t fs_any_u##bits(struct fs_run *run, uint64_t address)                                    \
	{                                                                                                          \
		return fs_any_load(run, address, size);                                                            \
	}                                                                                                          \
	FS_INLINE void fs_any_set_u##bits(struct fs_run *run, uint64_t address, uint64_t word)                     \
	{                                                                                                          \
		fs_put(fs_any_at(run, address, size, true), word, size);                                           \
	}

FS_ANY_ACCESS(1, 8)
FS_ANY_ACCESS(2, 16)
FS_ANY_ACCESS(4, 32)
FS_ANY_ACCESS(8, 64)

/* Atomics need their natural alignment, as in the kernel; the old value is returned. */
FS_INLINE void *fs_aligned(struct fs_run *run, uint8_t *at, unsigned int size)
{
	if (FS_UNLIKELY((uintptr_t)at % size))
		fs_violation(run, "unaligned atomic access", (uint64_t)(uintptr_t)at, size);
	return at;
}

#define FS_ATOMIC(op, builtin, bits)                                                                               \
	FS_INLINE uint64_t fs_atomic_##op##bits(struct fs_run *run, uint8_t *at, uint64_t word)                    \
	{                                                                                                          \
		return builtin((uint##bits##_t *)fs_aligned(run, at, bits / 8), (uint##bits##_t)word,              \
			       __ATOMIC_SEQ_CST);                                                                  \
	}

#define FS_ATOMICS(bits)                                                                                           \
	FS_ATOMIC(add, __atomic_fetch_add, bits)                                                                   \
	FS_ATOMIC(or, __atomic_fetch_or, bits)                                                                     \
	FS_ATOMIC(and, __atomic_fetch_and, bits)                                                                   \
	FS_ATOMIC(xor, __atomic_fetch_xor, bits)                                                                   \
	FS_ATOMIC(xchg, __atomic_exchange_n, bits)                                                                 \
	FS_INLINE uint64_t fs_atomic_cmpxchg##bits(struct fs_run *run, uint8_t *at, uint64_t expected, uint64_t word) \
	{                                                                                                          \
		uint##bits##_t old = (uint##bits##_t)expected;                                                     \
                                                                                                                   \
		__atomic_compare_exchange_n((uint##bits##_t *)fs_aligned(run, at, bits / 8), &old,                 \
					    (uint##bits##_t)word, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);      \
		return old;                                                                                        \
	}

FS_ATOMICS(32)
FS_ATOMICS(64)
