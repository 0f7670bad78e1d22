/*
 * One packet through the program, with every way in which it can go wrong counted.
 *
 * A transport calls fs_run_packet() where run->escape is set: a packet that cannot go on ends with longjmp() there, and
 * is the transport's again with fs_abandon(). So one setjmp() serves for many packets.
 */

/* Carry out the verdict of a program that ended on the NIC. */
FS_API uint32_t fs_finish(struct fs_run *run)
{
	uint32_t how = run->resume;
	uint64_t interface = how == FS_FINISHED_REDIRECT ? fs_get(run->header + FS_HEADER, 4) : 0;

	fs_accept(run, how);
	if (how == FS_FINISHED_REDIRECT)
		return (uint32_t)fs_bpf_redirect(run, interface, 0);
	return how == FS_FINISHED_PASS ? XDP_VERDICT_PASS : XDP_VERDICT_ABORTED;
}

/* The verdict on the packet of which the first byte is at `data`, the last one before `end`. If the program looks at them
 * (FS_NEEDS_BOUNDS), `run` holds the packet's bounds, too. */
FS_INLINE uint32_t fs_run_packet(struct fs_run *run, uint64_t data, uint64_t end)
{
	uint32_t verdict;

	if (FS_NEEDS_RUN) {
		run->depth = 0;
		run->stack_top = 0;
		run->loops = 0;
		run->redirect.kind = FS_NOWHERE;
	}
	if (FS_UNLIKELY(!fs_arrive(run)))
		fs_refuse(run);
	if (FS_ARRIVAL_COUNT && run->header && FS_UNLIKELY(fs_is_finished(run->resume)))
		return fs_finish(run);
	verdict = (uint32_t)fs_program(run, data, end);
	if (FS_NEEDS_RUN)
		fs_values_end(run);
	return verdict;
}

/* After longjmp(): the packet is dropped, and counted by its reason, which run->message says in words. */
__attribute__((cold)) FS_API void fs_abandon(struct fs_run *run, int reason)
{
	fs_values_end(run);
	if (reason == FS_REFUSED)
		run->counters.handoff_errors++;
	else
		run->counters.violations++;
}
