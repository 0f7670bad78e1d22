/* One packet through the program: the verdict, with every way in which it can go wrong counted. */

/* Whether the program ran to its end, with `verdict`. */
FS_API bool fs_execute(struct fs_run *run, uint32_t *verdict)
{
	if (setjmp(run->escape))
		return false;
	*verdict = (uint32_t)fs_program(run);
	return true;
}

/* `run` holds the packet's bounds. A violation or a missing handoff header drops the packet. */
FS_API uint32_t fs_run_packet(struct fs_run *run)
{
	uint32_t verdict = XDP_VERDICT_DROP;
	bool completed;

	run->redirect.kind = FS_NOWHERE;
	run->loops = 0;
	run->depth = 0;
	run->stack_top = 0;
	run->message[0] = 0;
	fs_counters.received++;
	if (!fs_arrive(run)) {
		snprintf(run->message, sizeof(run->message), "no handoff header that this part knows");
		fs_counters.handoff_errors++;
		return XDP_VERDICT_DROP;
	}
	completed = fs_execute(run, &verdict);
	fs_values_end(run);
	if (!completed) {
		fs_counters.violations++;
		return XDP_VERDICT_DROP;
	}
	return verdict;
}
