"""Programs and maps in the running kernel: the engine that every other meaning is compared with.

`engine.KernelProgram` loads an object and runs packets through it (`BPF_PROG_TEST_RUN`), `interfaces` makes
private network namespaces, `live` sends and captures frames on real interfaces, `reentry` puts frames back
into the kernel. `docs/kernel-notes.md` says what was measured about the kernel's side of these.

Nothing here parses or changes programs; see `fsir.object` for that. Everything here needs root (CAP_BPF and
CAP_NET_ADMIN) and raises `errors.KernelUnavailable` with the reason where the machine cannot do it.
"""
