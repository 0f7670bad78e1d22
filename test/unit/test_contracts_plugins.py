"""Third parties: a package or a file adds a dialect, passes and a target, as docs/driver.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FRAME = bytes(range(64)).hex()

# A dialect with one operation, a pass that replaces each verdict's constant by it, one that lowers it again, a target
# that lists the functions.
PACKAGE = '''
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntAttr, i64
from xdsl.ir import Dialect
from xdsl.irdl import IRDLOperation, irdl_op_definition, prop_def, result_def
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter
from xdsl.universe import Universe
from xdsl.utils.target import Target

from fsir.dialects.packet import VerdictOp
from fsir.driver.diagnostics import remark


@irdl_op_definition
class FixedOp(IRDLOperation):
    """A verdict that is always the same."""

    name = "shop.fixed"
    code = prop_def(IntAttr)
    res = result_def(i64)


@dataclass(frozen=True)
class ShopRaise(ModulePass):
    """Say shop.fixed where a verdict is a constant."""

    name = "shop-raise"
    loud: bool = False

    def apply(self, ctx, op):
        for verdict in [each for each in op.walk() if isinstance(each, VerdictOp)]:
            owner = verdict.value.owner
            if isinstance(owner, arith.ConstantOp):
                fixed = FixedOp.create(result_types=[i64], properties={"code": IntAttr(owner.value.value.data)})
                verdict.parent.insert_op_before(fixed, verdict)
                verdict.operands[0] = fixed.res
                if self.loud:
                    remark(verdict, "is fixed")


@dataclass(frozen=True)
class ShopLower(ModulePass):
    """Say arith.constant instead of shop.fixed."""

    name = "shop-lower"

    def apply(self, ctx, op):
        for fixed in [each for each in op.walk() if isinstance(each, FixedOp)]:
            Rewriter.replace_op(fixed, arith.ConstantOp.from_int_and_width(fixed.code.data, 64))


@dataclass(frozen=True)
class ShopTarget(Target):
    """The verdicts that are fixed."""

    name = "shop"
    separator: str = " "

    def emit(self, ctx, module, output):
        codes = [str(op.code.data) for op in module.walk() if isinstance(op, FixedOp)]
        output.write(self.separator.join(codes) + "\\n")


PLUGIN = Universe(
    all_dialects={"shop": lambda: Dialect("shop", [FixedOp])},
    all_passes={"shop-raise": lambda: ShopRaise, "shop-lower": lambda: ShopLower},
    all_targets={"shop": lambda: ShopTarget},
)
'''
PROGRAM = """
ebpf.func @p section "xdp" attributes {prog_type = "xdp"} {
^entry(%ctx: !packet.ctx):
  %v = arith.constant 3 : i64
  packet.verdict %v : i64
}
"""


@pytest.fixture(params=["entry point", "file", "module"])
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """The plugin made known in each way: arguments for the commands, and their environment."""
    (tmp_path / "shop_package.py").write_text(PACKAGE)
    environment = dict(os.environ)
    if request.param == "file":
        return ["--load-plugin", str(tmp_path / "shop_package.py")], environment
    environment["PYTHONPATH"] = str(tmp_path)
    if request.param == "module":
        return ["--load-plugin", "shop_package"], environment
    info = tmp_path / "shop_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[frankenstack.plugins]\nshop = shop_package:PLUGIN\n")
    return [], environment


def test_a_dialect_passes_and_a_target(plugin: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    arguments, environment = plugin
    source, raised = tmp_path / "in.mlir", tmp_path / "raised.mlir"
    source.write_text(PROGRAM)

    def run(tool: str, *more: str | Path) -> str:
        command = [sys.executable, "-m", f"fsir.tools.{tool}", *map(str, more), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    listed = run("fs_opt", "--list-passes")
    assert "Say shop.fixed where a verdict is a constant." in listed
    assert "The verdicts that are fixed." in run("fs_opt", "--list-targets")
    assert "loud  bool, default false" in run("fs_opt", "--help-pass", "shop-raise")
    assert "remark: is fixed" in run("fs_opt", source, "-p", "shop-raise{loud}", "-o", raised)
    assert '"shop.fixed"() <{code = #builtin.int<3>}>' in raised.read_text()
    # Text with the dialect reads back; the target takes options; the project's passes and targets go on working.
    assert run("fs_opt", raised, "-t", "shop{separator=x}") == "3\n"
    assert "shop.fixed" not in run("fs_opt", raised, "-p", "shop-lower,raise,optimize")
    assert "XDP_TX" in run("fs_run", raised, "-p", "shop-lower", "--hex", FRAME)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-t", "shop{speed=1}"], "target 'shop': "),
        (["-p", "shop-raise{speed=1}"], "pass 'shop-raise' has no option 'speed'; it has: loud"),
        (["-p", "shop-rise"], "unknown pass 'shop-rise', did you mean 'shop-raise'"),
        (["-t", "shp"], "unknown target 'shp', did you mean 'shop'"),
        (["-p", "needy"], "the pass 'needy' of {plugin} does not load here: No module named 'not_installed'"),
        (["-t", "needy"], "the target 'needy' of {plugin} does not load here: No module named 'not_installed'"),
    ],
)
def test_what_is_wrong_with_the_use_of_a_plugin(arguments: list[str], said: str, tmp_path: Path) -> None:
    source, plugin = tmp_path / "in.mlir", tmp_path / "shop_package.py"
    source.write_text(PROGRAM)
    needy = "\ndef needy():\n    import not_installed\n\n"
    more = "NEEDY = Universe(all_passes={'needy': needy}, all_targets={'needy': needy})\n"
    plugin.write_text(PACKAGE + needy + more)
    command = [sys.executable, "-m", "fsir.tools.fs_opt", str(source), "--load-plugin", str(plugin), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{source}: error: ") and said.format(plugin=plugin) in done.stderr
