"""Program types by section name, as libbpf has them, and the default type of odd section names."""

from __future__ import annotations

# (prefix, program type). A prefix that ends in "/" or "+" matches what follows; the first match counts.
_SECTIONS: tuple[tuple[str, str], ...] = (
    ("socket", "socket_filter"),
    ("sk_reuseport/migrate", "sk_reuseport"),
    ("sk_reuseport", "sk_reuseport"),
    ("kprobe", "kprobe"),
    ("kretprobe", "kprobe"),
    ("uprobe", "kprobe"),
    ("uretprobe", "kprobe"),
    ("ksyscall", "kprobe"),
    ("kretsyscall", "kprobe"),
    ("usdt", "kprobe"),
    ("tcx/", "sched_cls"),
    ("tc", "sched_cls"),
    ("netkit/", "sched_cls"),
    ("classifier", "sched_cls"),
    ("action", "sched_act"),
    ("tracepoint", "tracepoint"),
    ("tp/", "tracepoint"),
    ("raw_tracepoint", "raw_tracepoint"),
    ("raw_tp", "raw_tracepoint"),
    ("tp_btf", "tracing"),
    ("fentry", "tracing"),
    ("fmod_ret", "tracing"),
    ("fexit", "tracing"),
    ("freplace", "ext"),
    ("lsm", "lsm"),
    ("iter", "tracing"),
    ("syscall", "syscall"),
    ("xdp", "xdp"),
    ("perf_event", "perf_event"),
    ("lwt_in", "lwt_in"),
    ("lwt_out", "lwt_out"),
    ("lwt_xmit", "lwt_xmit"),
    ("lwt_seg6local", "lwt_seg6local"),
    ("sockops", "sock_ops"),
    ("sk_skb", "sk_skb"),
    ("sk_msg", "sk_msg"),
    ("lirc_mode2", "lirc_mode2"),
    ("flow_dissector", "flow_dissector"),
    ("cgroup_skb", "cgroup_skb"),
    ("cgroup/skb", "cgroup_skb"),
    ("cgroup/sock_create", "cgroup_sock"),
    ("cgroup/sock_release", "cgroup_sock"),
    ("cgroup/sock", "cgroup_sock"),
    ("cgroup/post_bind", "cgroup_sock"),
    ("cgroup/bind", "cgroup_sock_addr"),
    ("cgroup/connect", "cgroup_sock_addr"),
    ("cgroup/sendmsg", "cgroup_sock_addr"),
    ("cgroup/recvmsg", "cgroup_sock_addr"),
    ("cgroup/getpeername", "cgroup_sock_addr"),
    ("cgroup/getsockname", "cgroup_sock_addr"),
    ("cgroup/sysctl", "cgroup_sysctl"),
    ("cgroup/getsockopt", "cgroup_sockopt"),
    ("cgroup/setsockopt", "cgroup_sockopt"),
    ("cgroup/dev", "cgroup_device"),
    ("struct_ops", "struct_ops"),
    ("sk_lookup", "sk_lookup"),
    ("netfilter", "netfilter"),
    ("from-netdev", "sched_cls"),
    ("from-container", "sched_cls"),
    ("to-", "sched_cls"),
    ("from-", "sched_cls"),
)

PROGRAM_TYPES = tuple(sorted({type_ for _, type_ in _SECTIONS}))
"""Names that a program's type may have: `enum bpf_prog_type` without its prefix."""

_NOT_PROGRAMS = (".text", ".init", ".fini")


def program_type(section: str, default: str | None = None) -> str | None:
    """The program type of a code section by its name, `default` for one that no loader knows, None for subprograms.

    `?name` (not loaded automatically) counts as `name`.
    """
    name = section.removeprefix("?")
    if name in _NOT_PROGRAMS or name.startswith(".text"):
        return None
    for prefix, type_ in _SECTIONS:
        if name.startswith(prefix):
            return type_
    return default
