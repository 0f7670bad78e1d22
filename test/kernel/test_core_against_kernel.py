"""CO-RE relocations: the interpreter finds in the kernel's types what libbpf finds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsir.interp.engine import ExecutionError, InterpProgram
from fsir.interp.kernel_types import kernel_types
from fsir.kernel.engine import KernelProgram
from fsir.object.importer import import_object

SOURCE = """
#include <bpf/bpf_core_read.h>
#define CORE __attribute__((preserve_access_index))
struct pair { int first; struct list_head *second; } CORE;
struct list_head { int absent_before; struct list_head *prev, *next; } CORE;
struct net_device___mine { int ifindex; unsigned mtu; char name[16]; int no_such_member; } CORE;
struct sk_buff___bits { unsigned char pkt_type:3, ip_summed:2, cloned:1; unsigned len; } CORE;
struct task_struct { int pid; long start_time; } CORE;
struct nothing_of_the_kind { int x; } CORE;
typedef struct { int counter; } atomic_t;
enum bpf_map_type___few { BPF_MAP_TYPE_HASH___few = 77, BPF_MAP_TYPE_LPM_TRIE___few = 78, NO_SUCH___few = 79 };
enum pid_type { PIDTYPE_PID = 9, PIDTYPE_MAX = 10 };
__u64 found[40];

SEC("xdp") int ask(struct xdp_md *ctx)
{
    struct list_head *l = 0;
    struct net_device___mine *d = 0;
    struct sk_buff___bits *s = 0;
    struct task_struct *t = 0;
    int n = 0;
    found[n++] = (__u64)__builtin_preserve_access_index(&l->next);
    found[n++] = (__u64)__builtin_preserve_access_index(&d->mtu);
    found[n++] = (__u64)__builtin_preserve_access_index(&d->name[3]);
    found[n++] = (__u64)__builtin_preserve_access_index(&t->start_time);
    found[n++] = bpf_core_field_exists(l->absent_before);
    found[n++] = bpf_core_field_exists(l->next);
    found[n++] = bpf_core_field_exists(d->no_such_member);
    found[n++] = bpf_core_field_size(d->name);
    found[n++] = bpf_core_field_size(t->start_time);
    found[n++] = __builtin_preserve_field_info(d->ifindex, BPF_FIELD_SIGNED);
    found[n++] = __builtin_preserve_field_info(s->pkt_type, BPF_FIELD_BYTE_OFFSET);
    found[n++] = __builtin_preserve_field_info(s->cloned, BPF_FIELD_LSHIFT_U64);
    found[n++] = __builtin_preserve_field_info(s->ip_summed, BPF_FIELD_RSHIFT_U64);
    found[n++] = __builtin_preserve_field_info(s->ip_summed, BPF_FIELD_BYTE_SIZE);
    found[n++] = bpf_core_type_exists(struct net_device___mine);
    found[n++] = bpf_core_type_exists(struct nothing_of_the_kind);
    found[n++] = bpf_core_type_exists(atomic_t);
    found[n++] = bpf_core_type_size(struct net_device___mine);
    found[n++] = bpf_core_type_size(struct task_struct);
    found[n++] = bpf_core_type_id_kernel(struct task_struct);
    found[n++] = bpf_core_type_id_kernel(atomic_t);
    found[n++] = bpf_core_enum_value_exists(enum bpf_map_type___few, BPF_MAP_TYPE_LPM_TRIE___few);
    found[n++] = bpf_core_enum_value_exists(enum bpf_map_type___few, NO_SUCH___few);
    found[n++] = bpf_core_enum_value(enum bpf_map_type___few, BPF_MAP_TYPE_LPM_TRIE___few);
    found[n++] = bpf_core_enum_value(enum pid_type, PIDTYPE_MAX);
    if (bpf_core_field_exists(d->no_such_member))
        found[n++] = (__u64)__builtin_preserve_access_index(&d->no_such_member);
    return ctx->data_end - ctx->data;
}

SEC("xdp") int fail(struct xdp_md *ctx)
{
    struct net_device___mine *d = 0;
    found[0] = (__u64)__builtin_preserve_access_index(&d->no_such_member);
    return 2;
}
"""


def test_every_kind_of_relocation(compile_c: Callable[..., bytes]) -> None:
    elf, packet = compile_c(SOURCE), bytes(64)
    module = import_object(elf, "t.o")
    with (
        KernelProgram(elf, "ask") as kernel,
        InterpProgram(module, "ask", kernel_types=kernel_types()) as resolved,
        InterpProgram(module, "ask") as compiled,
    ):
        answers = []
        for program in (kernel, resolved, compiled):
            assert program.run(packet).verdict == 64
            answers.append(program.dump_maps()[".bss"][0]["value"])
    assert answers[1] == answers[0]
    assert answers[2] != answers[0]


def test_what_cannot_be_resolved_fails_when_it_is_reached(compile_c: Callable[..., bytes]) -> None:
    with (
        InterpProgram(import_object(compile_c(SOURCE), "t.o"), "fail", kernel_types=kernel_types()) as program,
        pytest.raises(ExecutionError, match="the kernel has no such field, type or enumerator"),
    ):
        program.run(bytes(64))
