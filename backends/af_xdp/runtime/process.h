/* One packet through the program: the verdict, with every way in which it can go wrong counted. */

/* Whether the program ran to its end, with `verdict`. */
FS_API bool fs_execute(struct fs_run *run, uint32_t *verdict)
{
	if (setjmp(run->escape))
		return false;
	*verdict = (uint32_t)fs_program(run);
	return true;
}

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
	run->counters.received++;
	if (!fs_arrive(run)) {
		snprintf(run->message, sizeof(run->message), "no handoff header that this part knows");
		run->counters.handoff_errors++;
		return XDP_VERDICT_DROP;
	}
	if (run->header && fs_is_finished(run->resume))
		return fs_finish(run);
	completed = fs_execute(run, &verdict);
	fs_values_end(run);
	if (!completed) {
		run->counters.violations++;
		return XDP_VERDICT_DROP;
	}
	return verdict;
}
