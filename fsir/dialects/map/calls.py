"""Operations on maps that a handle names, and what else helpers do with maps and what is in values.

Each is a call of one helper, its operands the helper's arguments in order, and is an `ebpf.call` to whatever does not
ask for more: keys and values are at addresses.  `CALLS` has the class of each by its name, `CALL_OF` by helper.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, cast

from xdsl.utils.exceptions import VerifyException

from fsir import isa
from fsir.dialects.ebpf.base import int_attr
from fsir.dialects.ebpf.insn import CallOp
from fsir.dialects.map.types import HandleType
from fsir.interp.helpers import HELPERS, ArgKind

ROWS = (
    ("lookup_via", 1, "%[%]", "As `map.lookup_at`, in the map of a handle."),
    ("update_via", 2, "%[%], % flags %", "As `map.update_at`, in the map of a handle."),
    ("delete_via", 3, "%[%]", "As `map.delete_at`, in the map of a handle."),
    ("redirect_via", 51, "%[%] flags %", "As `map.redirect`, by the map of a handle."),
    ("lookup_percpu", 195, "%[%] cpu %", "The address of another CPU's value under a key, or null."),
    ("push", 87, "%, % flags %", "Add the value at an address to a queue, a stack or a bloom filter."),
    ("pop", 88, "%, %", "Take the next value of a queue or a stack, to an address."),
    (
        "peek",
        89,
        "%, %",
        "Copy the next value of a queue or a stack to an address; ask a bloom filter for the one there.",
    ),
    ("for_each", 164, "% do % with % flags %", "Call a function with every element: map, key, value, and an address."),
    ("output", 25, "% to % flags % from % size %", "Send bytes to user space by a perf event array."),
    ("output_raw", 111, "% to % flags % from % size %", "As `map.output`, with the packet of a kernel socket buffer."),
    ("output_frame", 121, "% to % flags % from % size %", "As `map.output`, with the packet of a kernel XDP buffer."),
    ("read_counter", 22, "% flags %", "A performance counter's value."),
    ("read_counter_to", 55, "% flags % to % size %", "A performance counter's value and times, to an address."),
    ("stack_id", 27, "% in % flags %", "The number of the call stack, kept in a map."),
    ("ring_output", 130, "% from % size % flags %", "Send bytes to user space by a ring buffer."),
    ("ring_reserve", 131, "% size % flags %", "The address of a new record in a ring buffer, or null."),
    ("ring_submit", 132, "% flags %", "Send a record."),
    ("ring_discard", 133, "% flags %", "Give a record up."),
    ("ring_query", 134, "% flags %", "What is in a ring buffer, or how large it is."),
    ("ring_reserve_dynptr", 198, "% size % flags % to %", "A new record in a ring buffer, as a dynptr at an address."),
    ("ring_submit_dynptr", 199, "% flags %", "Send the record of a dynptr."),
    ("ring_discard_dynptr", 200, "% flags %", "Give the record of a dynptr up."),
    ("ring_drain", 209, "% do % with % flags %", "Call a function with every record that user space sent."),
    ("local_storage", 81, "% flags %", "The address of the value that belongs to the program's control group."),
    ("sk_storage_get", 107, "% of % initial % flags %", "The address of a socket's value, made if the flags say so."),
    ("sk_storage_delete", 108, "% of %", "Remove a socket's value."),
    (
        "inode_storage_get",
        145,
        "% of % initial % flags %",
        "The address of an inode's value, made if the flags say so.",
    ),
    ("inode_storage_delete", 146, "% of %", "Remove an inode's value."),
    ("task_storage_get", 156, "% of % initial % flags %", "The address of a task's value, made if the flags say so."),
    ("task_storage_delete", 157, "% of %", "Remove a task's value."),
    ("cgroup_storage_get", 210, "% of % initial % flags %", "The address of a control group's value, made if need be."),
    ("cgroup_storage_delete", 211, "% of %", "Remove a control group's value."),
    ("sk_redirect", 52, "% to %[%] flags %", "Send a socket buffer to the socket at an index: the verdict."),
    ("sk_redirect_at", 72, "% to %[%] flags %", "Send a socket buffer to the socket under a key: the verdict."),
    ("msg_redirect", 60, "% to %[%] flags %", "Send a message to the socket at an index: the verdict."),
    ("msg_redirect_at", 71, "% to %[%] flags %", "Send a message to the socket under a key: the verdict."),
    ("sock_update", 53, "% in %[%] flags %", "Put the socket of an event into a socket map."),
    ("sock_update_at", 70, "% in %[%] flags %", "Put the socket of an event into a socket hash."),
    ("select_reuseport", 82, "% from %[%] flags %", "Choose the socket under a key for a packet."),
    ("skb_under_cgroup", 33, "% in %[%]", "Whether a packet is of a control group below one of a map's."),
    ("task_under_cgroup", 37, "%[%]", "Whether the task is in a control group below one of a map's."),
    ("spin_lock", 93, "%", "Take the lock in a value."),
    ("spin_unlock", 94, "%", "Let go of the lock in a value."),
    ("timer_init", 169, "% in % flags %", "Make a timer of the bytes in a value of a map."),
    ("timer_set_callback", 170, "% do %", "Say what a timer calls."),
    ("timer_start", 171, "% after % flags %", "Start a timer."),
    ("timer_cancel", 172, "%", "Stop a timer."),
    ("exchange_kptr", 194, "%, %", "Put a kernel object into a value: what was there, or null."),
)
"""Name, helper, operands in the order of the helper's arguments, and meaning."""


class MapCallOp(CallOp):
    """Base of the operations that are calls of one helper each."""

    ROW: ClassVar[isa.Opcode] = isa.BY_NAME["call"]
    HELPER: ClassVar[int]

    def verify_(self) -> None:
        super().verify_()
        helper = HELPERS[self.HELPER]
        if self.helper.data != self.HELPER:
            raise VerifyException(f"{self.name} calls helper {self.HELPER} (bpf_{helper.name}), not {self.helper.data}")
        if len(self.operands) != len(helper.args):
            raise VerifyException(f"bpf_{helper.name} takes {len(helper.args)} arguments, not {len(self.operands)}")
        for arg, operand in zip(helper.args, self.operands, strict=True):
            if arg.kind is ArgKind.MAP and not isinstance(operand.type, HandleType):
                raise VerifyException(f"bpf_{helper.name} takes a map, a !map.handle, not {operand.type}")


def _call_class(name: str, helper: int, operands: str, meaning: str) -> type[MapCallOp]:
    fields = {
        "name": f"map.{name}",
        "HELPER": helper,
        "FORMAT": tuple(re.findall(r"%|, | \w+ |[\[\]]", operands)),
        "FIXED": {"helper": int_attr(helper)},
        "__doc__": f"{meaning} (bpf_{HELPERS[helper].name})",
        "__module__": __name__,
    }
    title = name.title().replace("_", "")
    return cast(type[MapCallOp], type(f"{title}Op", (MapCallOp,), fields))


CALLS: Mapping[str, type[MapCallOp]] = {row[0]: _call_class(*row) for row in ROWS}
CALL_OF: Mapping[int, type[MapCallOp]] = {cls.HELPER: cls for cls in CALLS.values()}
