/* The packet as a whole: where the handoff header is, and the helpers that move its bounds. */

enum { FS_E2BIG = 7, FS_EACCES = 13, FS_EFAULT = 14, FS_EINVAL = 22 };
enum { FS_ETH_HLEN = 14, FS_META_MAX = 252 };

/* bpf_xdp_adjust_head: metadata moves along. */
FS_API uint64_t fs_adjust_head(struct fs_run *run, uint64_t by)
{
	uint64_t length = run->data - run->meta, data = run->data + (uint64_t)(int64_t)(int32_t)by;

	if (data < run->first + length || data > run->end - FS_ETH_HLEN)
		return (uint64_t)-FS_EINVAL;
	memmove((uint8_t *)(uintptr_t)(data - length), (const uint8_t *)(uintptr_t)run->meta, length);
	run->meta = data - length;
	run->data = data;
	return 0;
}

/* bpf_xdp_adjust_meta */
FS_API uint64_t fs_adjust_meta(struct fs_run *run, uint64_t by)
{
	uint64_t meta = run->meta + (uint64_t)(int64_t)(int32_t)by;

	if (meta < run->first || meta > run->data)
		return (uint64_t)-FS_EINVAL;
	if ((run->data - meta) % 4 || run->data - meta > FS_META_MAX)
		return (uint64_t)-FS_EACCES;
	run->meta = meta;
	return 0;
}

/* bpf_xdp_adjust_tail: added bytes are zero. */
FS_API uint64_t fs_adjust_tail(struct fs_run *run, uint64_t by)
{
	uint64_t end = run->end + (uint64_t)(int64_t)(int32_t)by;

	if ((end > run->end && end > run->first + run->room) || end < run->data + FS_ETH_HLEN)
		return (uint64_t)-FS_EINVAL;
	if (end > run->end)
		memset((uint8_t *)(uintptr_t)run->end, 0, end - run->end);
	run->end = end;
	return 0;
}

/* The handoff header (backends/handoff.py), field by field. */
enum { FS_HANDOFF_MAGIC = 0xf5ca, FS_HANDOFF_VERSION = 1, FS_HEADER = 8, FS_TRAILER = 4 };

/* Resume points of a program that has ended already, on a NIC that cannot carry out the verdict itself. */
enum { FS_FINISHED_PASS = 0xffff, FS_FINISHED_ABORTED = 0xfffe, FS_FINISHED_REDIRECT = 0xfffd };

FS_INLINE bool fs_is_finished(uint32_t resume)
{
	return resume >= FS_FINISHED_REDIRECT;
}

FS_INLINE uint64_t fs_carried(struct fs_run *run, uint32_t resume, uint32_t offset, uint32_t size)
{
	if (FS_UNLIKELY(!run->header || run->resume != resume))
		fs_fail(run, "a carried value was read at the wrong resume point");
	return fs_get(run->header + offset, size);
}

/* placement.accept: from here on the packet is what the sender had, also where it grows into the header's place. */
FS_API void fs_accept(struct fs_run *run, uint32_t resume)
{
	uint8_t *before = (uint8_t *)(uintptr_t)run->meta;

	if (FS_UNLIKELY(!run->header || run->resume != resume))
		fs_fail(run, "a handoff was accepted at the wrong resume point");
	if (run->in_frame) {
		memmove((uint8_t *)(uintptr_t)run->meta + run->header_size, (const uint8_t *)(uintptr_t)run->meta,
			run->data - run->meta);
		run->meta += run->header_size;
		run->data += run->header_size;
	} else {
		memmove((uint8_t *)(uintptr_t)run->data - run->own_meta,
			(const uint8_t *)(uintptr_t)run->header - run->own_meta, run->own_meta);
		run->meta = run->data - run->own_meta;
		before = (uint8_t *)(uintptr_t)run->header - run->own_meta;
	}
	memset(before, 0, run->meta - (uint64_t)(uintptr_t)before);
	run->header = NULL;
}

/* Whether a header of this size, travelling this way, is one of this part's resume points, or says that all is done. */
FS_API bool fs_is_known(struct fs_run *run, uint32_t resume, uint32_t size, bool in_frame)
{
	run->arrival = FS_ARRIVAL_COUNT;
	if (fs_is_finished(resume))
		return in_frame && size == FS_HEADER + (resume == FS_FINISHED_REDIRECT ? 4 : 0);
	for (const struct fs_arrival *known = fs_arrivals; known->size; known++) {
		if (known->resume == resume && known->size == size && known->in_frame == in_frame) {
			run->arrival = (uint32_t)(known - fs_arrivals);
			return true;
		}
	}
	return false;
}

/* Read the header at `bytes`, of which `room` are there: whether it is one that this part knows. */
FS_API bool fs_header(struct fs_run *run, const uint8_t *bytes, uint64_t room, bool in_frame)
{
	uint32_t size, resume;

	if (room < FS_HEADER || fs_get(bytes, 2) != FS_HANDOFF_MAGIC || bytes[2] != FS_HANDOFF_VERSION)
		return false;
	size = bytes[3];
	resume = (uint32_t)fs_get(bytes + 4, 2);
	if (size > room || !fs_is_known(run, resume, size, in_frame))
		return false;
	run->header = bytes;
	run->header_size = size + (in_frame ? 0 : FS_TRAILER);
	run->own_meta = (uint32_t)fs_get(bytes + 6, 2);
	run->resume = resume;
	run->in_frame = in_frame;
	return true;
}

/* Find the handoff header in front of the frame, or at its beginning. The trailer is wiped, so that the buffer's next
 * packet cannot be taken for one with a header. */
FS_API bool fs_arrive(struct fs_run *run)
{
	uint8_t *data = (uint8_t *)(uintptr_t)run->data;
	uint64_t size = 0, room = run->data - run->first;
	bool in_frame = true;

	if (!FS_ARRIVAL_COUNT)
		return true;
	run->header = NULL;
	run->resume = 0;
	if (room >= FS_TRAILER + FS_HEADER && fs_get(data - 2, 2) == FS_HANDOFF_MAGIC) {
		in_frame = false;
		size = fs_get(data - FS_TRAILER, 2);
		memset(data - FS_TRAILER, 0, FS_TRAILER);
		room -= FS_TRAILER;
		if (size > room || !fs_header(run, data - FS_TRAILER - size, size, false))
			return false;
		if (run->header_size != size + FS_TRAILER)
			return false;
		room -= size;
	} else if (!fs_header(run, data, run->end - run->data, true)) {
		return false;
	}
	if (run->own_meta % 4 || run->own_meta > room)
		return false;
	run->meta = (in_frame ? run->data : run->data - FS_TRAILER - size) - run->own_meta;
	run->resumed[run->arrival]++;
	if (FS_ORDERED && run->arrival != FS_ARRIVAL_COUNT && fs_arrivals[run->arrival].ticket)
		fs_take_ticket(run, run->header + fs_arrivals[run->arrival].ticket);
	return true;
}
