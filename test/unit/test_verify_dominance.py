"""What the verifier accepts and refuses, as small programs."""

from __future__ import annotations

import pytest
from xdsl.context import Context
from xdsl.dialects import arith, builtin, cf, func, scf, test
from xdsl.dialects.builtin import ModuleOp, i32
from xdsl.ir import Block, Region
from xdsl.parser import Parser

from fsir.analysis.verify import verify_module
from fsir.analysis.verify_dominance import InvalidOperation


def parse(text: str) -> ModuleOp:
    ctx = Context()
    for dialect in (builtin.Builtin, arith.Arith, cf.Cf, func.Func, scf.Scf, test.Test):
        ctx.load_dialect(dialect)
    return Parser(ctx, text).parse_module()


ACCEPTED = {
    "definition in a dominating block": """
        func.func @f(%c : i1) -> i32 {
          %x = arith.constant 1 : i32
          cf.cond_br %c, ^a, ^b
        ^a: cf.br ^b
        ^b: func.return %x : i32
        }""",
    "layout order does not matter": """
        func.func @f() -> i32 {
          cf.br ^def
        ^use: func.return %x : i32
        ^def:
          %x = arith.constant 1 : i32
          cf.br ^use
        }""",
    "uses in unreachable blocks are not checked": """
        func.func @f() {
          func.return
        ^dead:
          %y = arith.addi %x, %x : i32
          %x = arith.constant 1 : i32
          func.return
        }""",
    "values of enclosing regions": """
        func.func @f(%c : i1) {
          %x = arith.constant 1 : i32
          cf.br ^next
        ^next:
          scf.if %c {
            %y = arith.addi %x, %x : i32
          }
          func.return
        }""",
    "the module is a graph": """
        %y = arith.addi %x, %x : i32
        %x = arith.constant 1 : i32""",
}

REFUSED = {
    "used before its definition": (
        """func.func @f() {
          %y = arith.addi %x, %x : i32
          %x = arith.constant 1 : i32
          func.return
        }""",
        "operand #0 .*used before its definition",
    ),
    "defined on one path only": (
        """func.func @f(%c : i1) -> i32 {
          cf.cond_br %c, ^a, ^b
        ^a:
          %x = arith.constant 1 : i32
          cf.br ^b
        ^b: func.return %x : i32
        }""",
        "'func.return' operand #0 .*a path from the entry avoids",
    ),
    "block argument of a sibling": (
        """func.func @f(%c : i1, %v : i32) -> i32 {
          cf.cond_br %c, ^a(%v : i32), ^b
        ^a(%x : i32): cf.br ^b
        ^b: func.return %x : i32
        }""",
        "block argument that does not dominate",
    ),
    "loop-carried without an argument": (
        """func.func @f(%c : i1) {
          cf.br ^head
        ^head:
          %y = arith.addi %x, %x : i32
          cf.br ^latch
        ^latch:
          %x = arith.constant 1 : i32
          cf.br ^head
        }""",
        "a path from the entry avoids",
    ),
    "a result used inside its own operation": (
        """func.func @f() {
          %x = "test.op"() ({
            %y = arith.addi %x, %x : i32
            "test.termop"() : () -> ()
          }) : () -> i32
          func.return
        }""",
        "inside of",
    ),
    "used in a region that precedes its definition": (
        """func.func @f() {
          "test.op"() ({
            %y = arith.addi %x, %x : i32
            "test.termop"() : () -> ()
          }) : () -> ()
          %x = arith.constant 1 : i32
          func.return
        }""",
        "operand #0",
    ),
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(text: str) -> None:
    verify_module(parse(text))


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidOperation, match=message):
        verify_module(parse(text))


def test_the_first_offender_in_program_order_is_named() -> None:
    module = parse("""
        func.func @f(%a : i32) {
          %p = arith.addi %x, %a : i32
          %q = arith.addi %a, %x : i32
          %x = arith.constant 1 : i32
          func.return
        }""")
    with pytest.raises(InvalidOperation) as caught:
        verify_module(module)
    assert caught.value.op.results[0].name_hint == "p"


def test_structure_is_checked() -> None:
    value = test.TestOp(result_types=[i32])
    region = Region([Block([value]), Block([test.TestTermOp()])])
    with pytest.raises(InvalidOperation, match="ends its block but is not a terminator"):
        verify_module(ModuleOp([test.TestOp(regions=[region])]))

    elsewhere = Block([test.TestTermOp()])
    Region([elsewhere])
    stray = test.TestOp(regions=[Region([Block([test.TestTermOp(successors=[elsewhere])])])])
    with pytest.raises(InvalidOperation, match="is not a block of the same region"):
        verify_module(ModuleOp([stray]))


def test_blocks_and_operations_know_where_they_are() -> None:
    def refused(module: ModuleOp, message: str) -> None:
        with pytest.raises(InvalidOperation, match=message):
            verify_module(module)

    def holding(*blocks: Block) -> ModuleOp:
        return ModuleOp([test.TestOp(regions=[Region(list(blocks))])])

    end = test.TestTermOp()
    module = holding(Block([end]))
    end.parent = Block()
    refused(module, "does not name the block that it is in as its parent")

    block = Block([test.TestTermOp()])
    module = holding(block)
    block.parent = Region()
    refused(module, "holds a block that does not name it as its parent")

    refused(holding(Block([test.TestTermOp()]), Block()), "holds an empty block: a block ends with a terminator")
    last = Block([test.TestTermOp()])
    refused(
        holding(Block([test.TestTermOp(successors=[last]), test.TestTermOp()]), last),
        "has successors but is not the last operation of its block",
    )
    module = ModuleOp([])
    module.body.add_block(Block())
    refused(module, "holds one block, not several or none")

    value = test.TestOp(result_types=[i32])
    module = ModuleOp([value, test.TestOp(operands=[value.res[0]])])
    module.body.block.erase_op(value, safe_erase=False)
    refused(module, "operand #0 is the result of an operation that was erased")


def test_custom_verifiers_run() -> None:
    with pytest.raises(InvalidOperation, match="does not verify"):
        verify_module(parse('func.func @f() -> i32 {\n  "func.return"() : () -> ()\n}'))
