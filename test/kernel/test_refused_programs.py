"""Programs that the verifier refuses, each for another reason, run all the same: split, on a real interface.

`test/programs/refused` has the sources, with nothing in them for that. The part for the kernel loads, and verdicts,
bytes and maps over a veth pair are those of the interpreter on the original. `FS_PACKETS` in the environment says how
many packets that is checked with.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import dpkt  # type: ignore[import-untyped]
import pytest
import traffic

from fsir.backends.af_xdp.inprocess import compiler
from fsir.driver.clang import compile_c
from fsir.driver.cli import main as fs_opt
from fsir.kernel.engine import KernelProgram
from fsir.kernel.errors import KernelError
from fsir.run.cli import main as fs_run

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")

TEST = Path(__file__).resolve().parents[1]
SOURCES = TEST / "programs" / "refused"
SCANNER = TEST.parent / "examples" / "scanner" / "scanner.o"
LIBRARY = SOURCES / "regex.c"
COUNT = int(os.environ.get("FS_PACKETS", "200"))
THOROUGH = "FS_PACKETS" in os.environ
SLOW = ("branches", "instructions")
"""What the verifier looks at for seconds."""
LOG = 1 << 16

REFUSALS = {
    "loop": "The sequence of 8193 jumps is too complex",
    "grows": "The sequence of 8193 jumps is too complex",
    "branches": "BPF program is too large",
    "instructions": "BPF program is too large",
    "library": "failed to find BTF for extern 'regex_match'",
    "helper": "program of this type cannot use helper bpf_probe_read",
}
REASONS = {
    "loop": "loop.c:16:26: a loop without a bound that the kernel's verifier accepts",
    "grows": "grows.c:27:46: a loop without a bound that the kernel's verifier accepts",
    "branches": "the kernel's verifier refuses it: BPF program is too large",
    "instructions": "instructions.c:22:18: a loop without a bound that the kernel's verifier accepts",
    "library": "library.c:18:14: calls 'regex_match', which the kernel does not have",
    "helper": "helper.c:19:6: bpf_probe_read (helper 4) is not allowed in XDP",
}
"""Why code is in user space, as the manifest has it."""


def frames(count: int) -> list[bytes]:
    """Frames of IPv4 and of others, of all lengths, some with text that the library finds."""
    rng = random.Random(7)
    made = []
    for _ in range(count):
        kind = rng.choice((b"\x08\x00", b"\x86\xdd", b"\x88\xb5", b"\x88\xb5"))
        body = rng.randbytes(rng.choice((46, 47, 50, 64, 200, 700)))
        if rng.random() < 0.3:
            body = b"0123 an evil host 4567"[rng.randrange(8) :] + body
        made.append(bytes.fromhex("020000000001 020000000002") + kind + body)
    return made


def write(path: Path, packets: list[bytes]) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for index, packet in enumerate(packets):
            writer.writepkt(packet, 1_700_000_000 + index * 0.0001)
    return path


@pytest.mark.parametrize("name", REFUSALS if THOROUGH else [name for name in REFUSALS if name not in SLOW])
def test_the_kernel_refuses_the_original(name: str) -> None:
    with pytest.raises(KernelError) as refused:
        KernelProgram(compile_c(SOURCES / f"{name}.c"), log_size=LOG)
    assert REFUSALS[name] in refused.value.log


@pytest.mark.parametrize(("name", "bound"), [*((name, 0) for name in REFUSALS), ("loop", 16), ("grows", 4)])
def test_split_it_does_what_the_interpreter_says(
    name: str, bound: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, bundle = SOURCES / f"{name}.c", tmp_path / "bundle"
    target = f"bundle{{library={LIBRARY}}}" if name == "library" else "bundle"
    passes = f"raise,optimize,decompose{{verify=true loop-bound={bound}}},share-maps,lower"
    assert fs_opt([str(source), "-p", passes, "-t", target, "-o", str(bundle), "--quiet"]) == 0
    manifest = json.loads((bundle / "manifest.json").read_text())
    reasons = {part["name"]: "\n".join(part["reasons"]) for part in manifest["parts"]}
    assert REASONS[name] in reasons["af_xdp"]

    packets = ["--pcap", str(write(tmp_path / "in.pcap", frames(COUNT))), "--budget", "10000000"]
    library = ["--library", str(LIBRARY)] if name == "library" else []
    compare = ["--compare", str(bundle), "--compare-engine", "live"]
    assert fs_run([str(source), *packets, *library, *compare]) == 0
    assert capsys.readouterr().out.startswith(f"equal: {COUNT} packets")


def test_the_scanner_with_the_kernels_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    passes = "raise,decompose{verify=true},share-maps,lower"
    assert fs_opt([str(SCANNER), "-p", passes, "-t", "bundle", "-o", str(bundle), "--quiet"]) == 0
    (tmp_path / "maps.json").write_text(json.dumps(traffic.maps("scanner")))
    pcap = write(tmp_path / "in.pcap", traffic.generate("scanner", COUNT, seed=4))
    world = ["--pcap", str(pcap), "--maps", str(tmp_path / "maps.json")]
    assert fs_run([str(SCANNER), *world, "--compare", str(bundle), "--compare-engine", "live"]) == 0
    assert capsys.readouterr().out.startswith(f"equal: {COUNT} packets")


def test_what_no_target_takes_is_refused_with_the_verifiers_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A packet address that is not checked, in a program whose map keeps all of it in the kernel."""
    source = """
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); }
        seen SEC(".maps");
    SEC("xdp") int prog(struct xdp_md *ctx) {
        __u8 *data = (void *)(long)ctx->data;
        __u32 key = data[20];
        bpf_perf_event_output(ctx, &seen, BPF_F_CURRENT_CPU, &key, 4);
        return XDP_PASS;
    }
    char _license[] SEC("license") = "GPL";
    """
    file = tmp_path / "prog.c"
    file.write_text(source)
    assert fs_opt([str(file), "-p", "raise,decompose{verify=true}", "-o", os.devnull]) == 1
    said = capsys.readouterr().err
    assert "the kernel's verifier refuses it: invalid access to packet" in said
    assert "bpf_perf_event_output (helper 25) cannot be called on AF_XDP" in said
