/*
 * The order of packets. The kernel part counts those that it hands over, and waits with others whose handling conflicts
 * until they are done with: an element of its map fs_order for each queue and slot, which is mapped into this process.
 * Packets come in the order in which they were counted, so that a number stands for all before it, lost ones too.
 */

enum { FS_SLOTS = 256 };

struct fs_order {
	uint32_t sent; /* written by the kernel part: packets handed over */
	uint32_t done; /* written here: the number of the last one that is done with */
	uint32_t cpu;  /* where the last one was handed over */
	uint32_t unused;
};

/* Remember a packet's number. What it does to values per CPU, it does to those of the CPU that it came by. */
FS_INLINE void fs_take_ticket(struct fs_run *run, const uint8_t *bytes)
{
	struct fs_ticket *ticket = &run->tickets[run->ticket_count++];
	uint32_t cpu;

	memcpy(&ticket->number, bytes, sizeof(ticket->number));
	ticket->slot = bytes[sizeof(ticket->number)];
	cpu = __atomic_load_n(&run->order[ticket->slot].cpu, __ATOMIC_RELAXED);
	if (cpu < run->cpus)
		run->cpu = cpu;
}

/* The packets whose numbers were remembered are done with. */
FS_INLINE void fs_publish(struct fs_run *run)
{
	for (uint32_t i = 0; i < run->ticket_count; i++)
		__atomic_store_n(&run->order[run->tickets[i].slot].done, run->tickets[i].number, __ATOMIC_RELEASE);
	run->ticket_count = 0;
}
