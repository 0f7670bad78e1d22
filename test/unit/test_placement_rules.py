"""The judgements that placement rests on, as tables: loops, widths, accesses, sharing, targets, hints."""

from __future__ import annotations

import pytest
from bpf_clang import compile_c
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.parser import Parser

from fsir.analysis.dominance import DominatorTree
from fsir.backends.af_xdp.part import select_part
from fsir.backends.handoff import Layout
from fsir.bundle.manifest import manifest
from fsir.dialects.ebpf import CallOp, FuncOp, functions
from fsir.dialects.map import DeclOp
from fsir.dialects.placement import EdgeOp, PartOp
from fsir.driver.context import make_context
from fsir.driver.diagnostics import FailedAt
from fsir.driver.errors import PassFailure
from fsir.driver.pass_manager import run_pipeline
from fsir.object.importer import import_object
from fsir.placement import targets
from fsir.placement.access import Kind, MapAccesses
from fsir.placement.graph import FlowGraph
from fsir.placement.loops import Unbounded, work_of
from fsir.placement.scalars import Scalars
from fsir.placement.sharing import conflict, mechanisms

XDP, USER, NIC = (targets.load(name) for name in ("xdp", "af-xdp", "p4-v1model"))


def parse(text: str) -> ModuleOp:
    module = Parser(make_context(), text).parse_module()
    assert isinstance(module, ModuleOp)
    return module


def function(body: str, *maps: str) -> tuple[ModuleOp, FuncOp]:
    declared = "\n".join(
        f'map.decl @{m} "{t}" key 4 value 16 entries 8 flags 0' for m, t in (m.split(":") for m in maps)
    )
    module = parse(
        f"""{declared}
        ebpf.func @f section "xdp" attributes {{prog_type = "xdp"}} {{
        ^bb0(%ctx: !packet.ctx):
          %zero = arith.constant 0 : i64
          %one = arith.constant 1 : i64
          %data = packet.data %ctx : !packet.ctx -> !packet.ptr
          %end = packet.end %ctx : !packet.ctx -> !packet.end_ptr
          {body}
        }}"""
    )
    return module, functions(module)[0]


# Loops: the operations that a bounded one executes at most, or None.


def loop(step: str, test: str) -> str:
    return f"""cf.br ^h(%zero : i64)
    ^h(%i: i64):
      {step}
      {test}
    ^d:
      packet.verdict %i : i64"""


ADD = "%n = arith.addi %i, %one : i64"
BELOW = "%l = arith.constant 10 : i64\n %m = arith.cmpi ult, %n, %l : i64\n cf.cond_br %m, ^h(%n : i64), ^d"
DOUBLE = "%k2 = arith.addi %i, %i : i64\n %n = arith.addi %k2, %one : i64"
LOOK = "%p = packet.advance %data, %i : !packet.ptr, i64 -> !packet.ptr"
GUARDED = "%g = packet.guard %p[1], %end : !packet.ptr, !packet.end_ptr -> i1\n cf.cond_br %g, ^h(%n : i64), ^d"
LOOPS = {
    "counting up": (loop(ADD, BELOW), 10),
    "machine compare": (loop(ADD, "ebpf.jeqi %n, 16, ^d, ^h(%n : i64) : i64"), 16),
    "doubling": (loop(DOUBLE, "ebpf.jgti %n, 100, ^d, ^h(%n : i64) : i64"), 7),
    "never": (loop(ADD, "ebpf.jeqi %i, -5, ^d, ^h(%n : i64) : i64"), None),
    "standing still": (loop("", "ebpf.jeqi %i, 5, ^d, ^h(%i : i64) : i64"), None),
    "by the packet": (loop(f"{LOOK}\n{ADD}", GUARDED), None),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name: str) -> None:
    body, rounds = LOOPS[name]
    _, func = function(body)
    graph = FlowGraph(func, {})
    (piece,) = [piece for piece in graph.pieces if piece.is_loop]
    tree = DominatorTree(func.body)
    if rounds is None:
        with pytest.raises(Unbounded):
            work_of(piece.blocks, piece.entries, tree, 8192)
    else:
        per_round = sum(1 for block in piece.blocks for _ in block.ops)
        assert work_of(piece.blocks, piece.entries, tree, 8192) == rounds * per_round


# Widths of scalars, and addresses in disguise.

BYTE = "%b = packet.load %data[0] : !packet.ptr -> i8\n"
WORD = "%b = packet.load %data[0] : !packet.ptr -> i64\n"
WIDTHS = {
    "%x = arith.constant 300 : i64": (9, False),
    f"{BYTE} %x = arith.extui %b : i8 to i64": (8, False),
    f"{WORD} %c = arith.constant 60 : i64\n %x = arith.andi %b, %c : i64": (6, False),
    f"{WORD} %x = ebpf.be16 %b : i64 -> i64": (16, False),
    f"{WORD} %c = arith.constant 48 : i64\n %x = arith.shrui %b, %c : i64": (16, False),
    "%x = packet.advance %data, %one : !packet.ptr, i64 -> !packet.ptr": (2, False),
    "%x = packet.offset %data[-4] : !packet.ptr -> !packet.ptr": (64, False),
    "%x = ebpf.sub %end, %data : !packet.end_ptr, !packet.ptr -> i64": (64, False),
    "%a = ebpf.cast %data : !packet.ptr -> i64\n %x = arith.addi %a, %one : i64": (64, True),
}


@pytest.mark.parametrize("code", WIDTHS)
def test_scalars(code: str) -> None:
    _, func = function(f"{code}\n packet.verdict %one : i64")
    value = next(r for op in func.entry.ops for r in op.results if r.name_hint == "x")
    scalars = Scalars(func)
    assert (scalars.bits(value), scalars.is_address(value)) == WIDTHS[code]


# Accesses to maps.

LOOKUP = "%k = arith.constant 1 : i32\n %v = map.lookup @m(%k) : i32 -> !map.value<@m>\n"
STORE = "map.store %v[0], %n : !map.value<@m>, i64\n"
READ = "%o = map.load %v[0] : !map.value<@m> -> i64\n"
PLUS_ONE = f"{READ} %n = arith.addi %o, %one : i64\n {STORE}"
ACCESSES = {
    "nothing": ("hash", "", set()),
    "a key": ("hash", "", {Kind.LOOKUP}),
    "an array's element": ("array", "", set()),
    "read": ("array", READ, {Kind.READ}),
    "count": ("array", PLUS_ONE, {Kind.ADD}),
    "count in one of two words": (
        "array",
        "%b = map.hit %v : !map.value<@m> -> i1\n"
        "%far = ebpf.addi %v, 8 : !map.value<@m> -> !map.value<@m>\n"
        "cf.cond_br %b, ^to(%v : !map.value<@m>), ^to(%far : !map.value<@m>)\n"
        f"^to(%w : !map.value<@m>):\n{PLUS_ONE.replace('%v', '%w')}",
        {Kind.ADD},
    ),
    "count across words": (
        "array",
        f"%w = ebpf.addi %v, 4 : !map.value<@m> -> !map.value<@m>\n{PLUS_ONE.replace('%v', '%w')}",
        {Kind.READ, Kind.WRITE},
    ),
    "count, and look": ("array", f"{PLUS_ONE} packet.verdict %o : i64", {Kind.READ, Kind.WRITE}),
    "write": ("array", f"%n = arith.constant 3 : i64\n {STORE}", {Kind.WRITE}),
    "atomic": ("array", 'map.atomic "add" %v[0], %one : !map.value<@m>, i64\n', {Kind.ADD}),
    "atomic or": ("array", 'map.atomic "or" %v[0], %one : !map.value<@m>, i64\n', {Kind.READ, Kind.WRITE}),
    "count around a write to what may be the same value": (
        "array",
        f"{READ} %w = ebpf.cast %v : !map.value<@m> -> !map.value<@m, @z>\n"
        "map.store %w[0], %one : !map.value<@m, @z>, i64\n"
        f"%n = arith.addi %o, %one : i64\n {STORE}",
        {Kind.READ, Kind.WRITE},
    ),
    "count around a machine write": (
        "array",
        f"{READ} %fp = ebpf.frame -> !ebpf.fp\n ebpf.st64 %fp[-8], 1 : !ebpf.fp\n"
        f"%n = arith.addi %o, %one : i64\n {STORE}",
        {Kind.READ, Kind.WRITE},
    ),
    "escape": ("array", "%n = ebpf.cast %v : !map.value<@m> -> i64\n", {Kind.OPAQUE}),
    "delete": ("hash", "%e = map.delete @m(%k) : i32 -> i64\n", {Kind.LOOKUP, Kind.DELETE}),
}


@pytest.mark.parametrize("name", ACCESSES)
def test_accesses(name: str) -> None:
    kind, code, expected = ACCESSES[name]
    text = (LOOKUP if name != "nothing" else "") + code
    text += "" if "verdict" in code else "packet.verdict %one : i64"
    module, func = function(text, f"m:{kind}", "z:array")
    assert {kind for _, kind, _ in MapAccesses(module, [func]).of_function(func)} == expected


# Sharing. Rows: map type, kernel's access, user space's, whether they can be apart.

R, A, W, U, D, L = Kind.READ, Kind.ADD, Kind.WRITE, Kind.UPDATE, Kind.DELETE, Kind.LOOKUP
SHARING = [
    ("hash", R, R, True), ("hash", W, R, True), ("hash", U, R, True), ("hash", R, U, True), ("hash", L, D, True),
    ("hash", A, U, False), ("hash", W, D, False), ("hash", R, A, True), ("hash", A, A, True), ("hash", L, W, False),
    ("array", A, A, True), ("array", W, W, True), ("array", R, A, True), ("array", R, Kind.OPAQUE, False),
    ("lru_hash", R, R, True), ("lru_hash", L, U, True), ("lru_hash", A, U, False),
    ("percpu_array", R, R, False), ("percpu_array", R, A, False), ("percpu_array", A, A, True),
    ("percpu_hash", A, A, True), ("percpu_hash", L, A, True), ("percpu_hash", A, D, False),
    ("lpm_trie", R, R, True), ("devmap", Kind.REDIRECT, Kind.REDIRECT, True),
]  # fmt: skip


def declaration(kind: str, flags: int = 0, extra: str = "") -> DeclOp:
    module = parse(f'map.decl @m "{kind}" key 4 value 8 entries 8 flags {flags} {extra}')
    (found,) = [op for op in module.body.block.ops if isinstance(op, DeclOp)]
    return found


@pytest.mark.parametrize(("kind", "kernel", "user", "legal"), SHARING)
def test_sharing_between_kernel_and_user_space(kind: str, kernel: Kind, user: Kind, legal: bool) -> None:
    assert (conflict(declaration(kind), (XDP, kernel), (USER, user)) is None) == legal
    assert (conflict(declaration(kind), (USER, user), (XDP, kernel)) is None) == legal
    assert conflict(declaration(kind), (XDP, kernel), (XDP, user)) is None


NIC_SHARING = [(R, R, True), (L, R, True), (R, U, False), (L, D, False), (R, A, False), (A, A, True), (A, R, False),
               (A, W, False), (A, U, False), (W, R, False)]  # fmt: skip


@pytest.mark.parametrize(("nic", "other", "legal"), NIC_SHARING)
def test_sharing_with_the_nic(nic: Kind, other: Kind, legal: bool) -> None:
    for target in (XDP, USER, NIC):
        if target is not NIC or other not in (U, D, W):
            assert (conflict(declaration("array"), (NIC, nic), (target, other)) is None) == legal


def test_an_array_pinned_by_name_keeps_its_flags() -> None:
    """What is pinned already was made by someone else, perhaps without BPF_F_MMAPABLE."""
    pinned = declaration("array", extra="{pinning = #builtin.int<1>}")
    assert conflict(pinned, (XDP, R), (USER, W)) is not None
    assert conflict(declaration("array", 1 << 10, "{pinning = #builtin.int<1>}"), (XDP, R), (USER, W)) is None


def test_values_per_cpu_that_others_may_count_in_are_left_to_the_kernel() -> None:
    """Programs of other objects that add to what is pinned need not do so atomically: nobody else is on their CPU."""
    pinned = declaration("percpu_array", extra="{pinning = #builtin.int<1>}")
    assert conflict(pinned, (XDP, A), (USER, A)) is not None
    assert conflict(declaration("percpu_array"), (XDP, A), (USER, A)) is None


def test_mechanisms() -> None:
    def chosen(kind: str, **touching: Kind) -> list[str]:
        by_name = {"nic": NIC, "kernel": XDP, "user": USER}
        by_target = {by_name[name]: frozenset({k}) for name, k in touching.items()}
        return [sharing.mechanism for sharing, _ in mechanisms(declaration(kind), by_target)]

    assert chosen("hash", kernel=W) == ["private"]
    assert chosen("hash", kernel=R, user=R) == ["pinned"]
    assert chosen("array", kernel=A, user=A) == ["mmap"]
    assert chosen("percpu_array", kernel=A, user=A) == ["counted"]
    assert chosen("hash", kernel=R, user=A) == ["counted"]
    assert chosen("hash", nic=R) == ["mirror"]
    assert chosen("array", nic=A, kernel=A, user=A) == ["split", "mmap"]


# Targets.


def test_every_target_is_whole() -> None:
    for name in targets.names():
        target = targets.load(name)
        assert target.name == name and target.summary and target.part
        assert set(target.costs) >= {"alu", "branch", "guard", "packet", "memory", "helper", "verdict"}


def test_a_target_extends_another() -> None:
    old, new = targets.load("xdp-5-15"), targets.load("xdp")
    assert (old.kernel, old.limits["metadata"]) == ((5, 15), 32)
    assert old.limits["instructions"] == new.limits["instructions"]
    assert old.map_costs == new.map_costs


@pytest.mark.parametrize(("names", "message"), [
    (("xdp", "p4-v1model"), "cannot travel"), (("xdp", "xdp-5-15"), "cannot travel"), (("xpd",), "there are: af-xdp"),
])  # fmt: skip
def test_target_lists_that_make_no_way(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(targets.TargetError, match=message):
        targets.load_all(names)


# Whole programs, in C.

C = """
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } stats SEC(".maps");
%s
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 20 > end) return 1;
    if (data[12] == 8) return 2;
    u32 key = 1; u64 *value = lookup(&stats, &key);
    if (value) __sync_fetch_and_add(value, 1);
    %s
}
"""
TAGGED = C % (
    '__attribute__((noinline, btf_decl_tag("fsir:place=user"))) static int slow(u32 x) { return x * 7 + x % 5; }',
    "return slow(data[14]) > 100 ? 3 : 2;",
)
EXTERN = C % ("extern int regex_match(u32 x);", "return regex_match(data[14]) > 3 ? 3 : 2;")


def placed(source: str, options: str = "") -> ModuleOp:
    module = import_object(compile_c(source, "-g"), "program.o")
    run_pipeline(make_context(), module, f"raise,decompose{options},share-maps")
    return module


@pytest.mark.parametrize(("source", "reason"), [
    (TAGGED, "calls 'slow', which is tagged fsir:place=user"),
    (EXTERN, "calls 'regex_match', which the kernel does not have"),
])  # fmt: skip
def test_calls_that_belong_to_user_space(source: str, reason: str) -> None:
    module = placed(source)
    parts = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, PartOp)}
    assert list(parts) == ["xdp", "af_xdp"]
    (why,) = list(parts["af_xdp"].reasons or ())
    assert why.data.endswith(reason) and "program.c:" in why.data
    # What comes before the call stays in the kernel, the counter with it.
    described = manifest(module, {}, {})
    assert described["maps"][0]["sharing"][0]["parts"] == ["xdp"]


LOCKED = """
struct bpf_spin_lock { u32 val; };
struct value { u64 count; struct bpf_spin_lock lock; };
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, struct value); } table SEC(".maps");
extern int regex_match(u32 x);
SEC("xdp") int prog(struct xdp_md *ctx) {
    u32 key = 1; struct value *value = lookup(&table, &key);
    if (!value) return 1;
    int found = regex_match(ctx->queue);
    value->count += found;
    return 2;
}
"""


def test_values_with_a_lock_stay_in_the_kernel() -> None:
    with pytest.raises(PassFailure) as failure:
        placed(LOCKED)
    assert "values of map 'table' hold a bpf_spin_lock" in str(failure.value.__cause__)


CALLED = """
struct { __uint(type, 14); __uint(max_entries, 4); __type(key, u32); __type(value, u32); } ports SEC(".maps");
static long (*redirect_map)(void *, u64, u64) = (void *)51;
static long (*adjust_head)(struct xdp_md *, int) = (void *)44;
__attribute__((noinline)) static int callee(struct xdp_md *ctx, u32 x) { %s }
extern int regex_match(u32 x);
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 20 > end) return 1;
    int verdict = callee(ctx, %s);
    if (regex_match(verdict)) return 2;
    return %s;
}
"""


def test_a_redirect_in_a_called_function_is_seen() -> None:
    """A cut between the redirect and the call that only user space can make would lose the packet's way out."""
    module = placed(CALLED % ("return redirect_map(&ports, x & 3, 0);", "data[3]", "verdict"))
    callers = [part.sym_name.data for part in module.body.block.ops if isinstance(part, PartOp)
               for func in part.body.block.ops if isinstance(func, FuncOp) and func.symbol == "callee"]  # fmt: skip
    assert callers == ["af_xdp"]


CALLED_BACK = """
struct { __uint(type, 1); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } table SEC(".maps");
static long (*delete)(void *, const void *) = (void *)3;
static long (*loop)(u32, void *, void *, u64) = (void *)181;
extern int regex_match(u32 x);
static long work(u32 index, void *unused) { u32 key = 1; %s; return 0; }
SEC("xdp") int prog(struct xdp_md *ctx) {
    u32 key = 1; u64 *value = lookup(&table, &key);
    if (!value) return 1;
    loop(1, work, 0, 0);
    u32 found = regex_match(ctx->queue);
    return *(volatile u64 *)value + found > 3 ? 3 : 2;
}
"""


@pytest.mark.parametrize(("work", "part"), [("lookup(&table, &key)", "xdp"), ("delete(&table, &key)", "af_xdp")])
def test_what_callbacks_do_to_maps_counts_at_the_call(work: str, part: str) -> None:
    """Behind a callback that deletes it, an element cannot be looked up again: it all runs in user space."""
    module = placed(CALLED_BACK % work)
    callers = [op.sym_name.data for op in module.body.block.ops if isinstance(op, PartOp)
               for inner in op.walk() if isinstance(inner, CallOp) and inner.helper.data == 181]  # fmt: skip
    assert callers == [part]


def test_packet_addresses_live_across_a_call_that_leaves_the_packet_alone() -> None:
    placed(CALLED % ("return x * 3 + ctx->queue;", "data[3]", "data[4] & 3"))


def test_a_copy_of_a_called_function_goes_with_the_part_that_calls_it() -> None:
    module = placed(TAGGED)
    names = {op.sym_name.data: [f.symbol for f in op.body.block.ops if isinstance(f, FuncOp)]
             for op in module.body.block.ops if isinstance(op, PartOp)}  # fmt: skip
    assert names == {"xdp": ["prog"], "af_xdp": ["prog", "slow"]}
    assert not [op for op in module.body.block.ops if isinstance(op, FuncOp)]


VALUES = """
struct value { u64 count, limit; };
struct { __uint(type, 1); __uint(max_entries, 4); __type(key, u32); __type(value, struct value); } table SEC(".maps");
extern int regex_match(const void *text, u32 size);
extern int decide(const struct value *value, u32 x);
extern void fill(struct value *value);
__attribute__((noinline)) static u64 over(const struct value *value, u32 x) { return value->limit * x + value->count; }
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 20 > end) return 1;
    u32 key = data[14] & 3;
    %s
    if (regex_match(data + 4, 12)) return 2;
    return 3;
}
"""
LATER = """struct value *value = lookup(&table, &key); if (!value) return 1;
    if (regex_match(data, 20)) return 2; if (%s) return 1;"""
PASSED_ON = {
    "over(value, key) > 9": {Kind.LOOKUP, Kind.READ},
    "decide(value, key)": {Kind.LOOKUP, Kind.READ},
    "(fill(value), key)": {Kind.LOOKUP, Kind.READ, Kind.WRITE},
}


@pytest.mark.parametrize("code", PASSED_ON)
def test_addresses_of_map_values_that_functions_take(code: str) -> None:
    """What a function does with them counts, or what its prototype allows a library."""
    module = import_object(compile_c(VALUES % (LATER % code), "-g"), "program.o")
    run_pipeline(make_context(), module, "raise")
    accesses = MapAccesses(module, functions(module))
    (program,) = (func for func in functions(module) if func.type_name == "xdp")
    assert {kind for name, kind, _ in accesses.of_function(program) if name == "table"} == PASSED_ON[code]
    run_pipeline(make_context(), module, "decompose,share-maps")


def test_a_key_that_was_stored_on_the_stack_travels_as_a_number() -> None:
    code = "key = key * 3 + data[5]; " + LATER % "value->limit > key"
    (edge,) = [op for op in placed(VALUES % code).body.block.ops if isinstance(op, EdgeOp)]
    assert {entry.data["kind"] for entry in edge.fields} <= {StringAttr("scalar"), StringAttr("stack")}


BIG = """
__attribute__((noinline, btf_decl_tag("fsir:place=user"))) static u64 slow(u64 x) { return x * 7 + x %% 5; }
SEC("xdp") int prog(struct xdp_md *ctx) {
    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 64 > end) return 1;
    %s
    data[0] = data[9] = data[17] = data[25] = data[33] = data[41] = 0;
    u64 s = slow(v0);
    s = (s ^ v0) %% 3 + (s ^ v1) %% 5 + (s ^ v2) %% 7 + (s ^ v3) %% 9 + (s ^ v4) %% 11 + (s ^ v5) %% 13;
    return s & 1 ? 2 : 3;
}"""
READS = "".join(f"u64 v{i} = *(u64 *)(data + {8 * i});" for i in range(6))


def test_headers_fit_the_metadata_of_the_kernel() -> None:
    """Six words live at the call: too much for 32 bytes of metadata, so there the cut is made before they are read."""
    carried = {}
    for kernel, limit in (("xdp", 216), ("xdp-5-15", 32)):
        module = placed(BIG % READS, f"{{targets={kernel},af-xdp}}")
        (edge,) = [op for op in module.body.block.ops if isinstance(op, EdgeOp)]
        widths = tuple(entry.data["width"].data for entry in edge.fields)  # type: ignore[attr-defined]
        assert Layout(1, widths).metadata_size <= limit
        carried[kernel] = sum(widths)
    assert carried == {"xdp": 6 * 64, "xdp-5-15": 0}


WRONG_OPTIONS = {
    "objective=fun": "there are throughput, cpu, latency",
    "cut-at=here": "a source line, or",
    "cut-at=99999": "there is no such line or block",
    "on-failure=hope": "there are aborted, drop, pass",
    "targets=af-xdp,xdp": "a packet cannot travel from af-xdp to xdp",
}


@pytest.mark.parametrize("option", WRONG_OPTIONS)
def test_options_are_checked(option: str) -> None:
    with pytest.raises(PassFailure) as failure:
        placed(TAGGED, f"{{{option}}}")
    assert isinstance(failure.value.__cause__, FailedAt)
    assert WRONG_OPTIONS[option] in str(failure.value.__cause__)


TWO_PROGRAMS = """
struct { __uint(type, 1); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } table SEC(".maps");
extern int regex_match(u32 x);
SEC("xdp") int first(struct xdp_md *ctx) {
    u32 key = ctx->queue; u64 value = 1;
    if (regex_match(key)) ((long (*)(void *, void *, void *, u64))2)(&table, &key, &value, 0);
    return 2;
}
SEC("xdp") int second(struct xdp_md *ctx) {
    u32 key = ctx->queue; u64 *value = lookup(&table, &key);
    if (value) __sync_fetch_and_add(value, 1);
    return 2;
}
"""


def test_programs_that_are_not_placed_touch_maps_too() -> None:
    """The one that stays in the kernel counts in elements which the other, in user space, would replace."""
    with pytest.raises(PassFailure) as failure:
        placed(TWO_PROGRAMS, "{program=first}")
    assert "elements of map 'table' are replaced from user space while the kernel changes" in str(
        failure.value.__cause__
    )


def test_user_space_runs_one_program() -> None:
    source = "extern int regex_match(u32 x);\n" + "".join(
        f'SEC("xdp") int {name}(struct xdp_md *ctx) {{ return regex_match(ctx->queue) ? 1 : 2; }}\n'
        for name in ("first", "second")
    )
    with pytest.raises(FailedAt, match=r"there are first, second; choose one with decompose\{program=NAME\}"):
        select_part(placed(source))


def test_a_nic_runs_one_program() -> None:
    with pytest.raises(PassFailure) as failure:
        placed(TWO_PROGRAMS, "{targets=p4-v1model,xdp}")
    assert "a NIC runs one program, and there are first, second; choose one with program=NAME" in str(
        failure.value.__cause__
    )
    module = placed(TWO_PROGRAMS, "{targets=p4-v1model,xdp program=second}")
    assert [op.symbol for op in module.body.block.ops if isinstance(op, FuncOp)] == ["first"]
