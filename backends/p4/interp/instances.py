"""Elaboration: from the package's arguments to a tree of instances with names for everything at run time."""

from __future__ import annotations

from dataclasses import dataclass, field

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.arith import Value
from fsir.backends.p4.interp.symbols import ActionSym, Callee, InstanceSym, TableSym, Var
from fsir.backends.p4.interp.types import ExternType, Type


@dataclass(slots=True)
class ExternInfo:
    """An extern object: its control-plane name, its type and the values of its constructor arguments."""

    variable: str
    name: str
    type: ExternType
    args: list[Value]


@dataclass(slots=True)
class ActionInfo:
    """An action of a table; `params` are those the control plane gives."""

    name: str
    qualified: str
    params: list[tuple[str, Type]]
    default_only: bool
    table_only: bool


@dataclass(slots=True)
class TableInfo:
    """A table as the control plane sees it. Entries are (key sets, action number, arguments, priority)."""

    variable: str
    name: str
    keys: list[tree.KeyElement]
    actions: list[ActionInfo]
    default: tuple[int, list[Value]]
    const_default: bool
    entries: list[tuple[list[tree.Expr], int, list[Value], int | None]]
    const_entries: bool
    size: int | None
    counter: str | None


@dataclass(slots=True)
class World:
    """Everything that all instances share."""

    externs: list[ExternInfo] = field(default_factory=list)
    tables: list[TableInfo] = field(default_factory=list)
    globals: dict[InstanceSym, str] = field(default_factory=dict)
    routines: dict[tree.Decl, str] = field(default_factory=dict)
    numbers: int = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers


class Instance:
    """One instance of a parser or control (or the top level), with the names of what it contains."""

    def __init__(self, world: World, path: str, constants: dict[Var, Value]) -> None:
        self.world = world
        self.path = path
        self.constants = constants
        self.externs: dict[InstanceSym, str] = {}
        self.blocks: dict[InstanceSym, str] = {}

    def qualified(self, decl_name: str, annotations: list[tree.Annotation]) -> str:
        """The control-plane name, which `@name` can change; one that begins with a dot is absolute."""
        for note in annotations:
            if note.name == "name" and note.tokens:
                decl_name = note.tokens[0].strip('"')
                if decl_name.startswith("."):
                    return decl_name[1:]
        return f"{self.path}.{decl_name}" if self.path else decl_name

    def extern_name(self, symbol: InstanceSym) -> str:
        return self.externs.get(symbol) or self.world.globals[symbol]

    def block_name(self, symbol: InstanceSym) -> str:
        return self.blocks[symbol]

    def table_function(self, symbol: TableSym) -> str:
        return f"apply_{symbol.decl.name}"

    def function_name(self, callee: Callee) -> str:
        """Functions and actions, one name per declaration: an inner one must not hide an outer one too early."""
        assert callee.decl is not None
        routines = self.world.routines
        return routines.setdefault(callee.decl, f"{callee.kind}_{len(routines)}_{callee.name}")


def action_info(instance: Instance, ref: tree.ActionRef) -> ActionInfo:
    symbol = ref.sym
    assert isinstance(symbol, ActionSym)
    owner = instance if symbol.in_control else Instance(instance.world, "", {})
    notes = {note.name for note in ref.annotations} | {note.name for note in symbol.decl.annotations}
    return ActionInfo(
        symbol.decl.name,
        owner.qualified(symbol.decl.name, symbol.decl.annotations),
        [(param.name, param.type) for param in symbol.callee.params if not param.direction],
        "defaultonly" in notes,
        "tableonly" in notes,
    )


def const_values(exprs: list[tree.Expr | None]) -> list[Value]:
    found = []
    for expr in exprs:
        assert isinstance(expr, tree.Const)
        found.append(expr.value)
    return found


def table_info(instance: Instance, decl: tree.TableDecl) -> TableInfo:
    """The control plane's view of a table of `instance`."""
    names = [ref.name for ref in decl.actions]
    actions = [action_info(instance, ref) for ref in decl.actions]
    if decl.default is None:
        if "NoAction" not in names:
            names.append("NoAction")
            actions.append(ActionInfo("NoAction", "NoAction", [], True, False))
        default: tuple[int, list[Value]] = (names.index("NoAction"), [])
    else:
        default = (names.index(decl.default.name), const_values(decl.default.bound))
    entries = []
    for entry in decl.entries:
        assert isinstance(entry.keyset, tree.ListExpr)
        priority = int(entry.priority.value) if isinstance(entry.priority, tree.Const) else None
        args = const_values(entry.action.bound)
        entries.append((entry.keyset.items, names.index(entry.action.name), args, priority))
    counter = decl.properties.get("counters")
    size = decl.size
    return TableInfo(
        f"tab_{instance.world.number()}_{decl.name}",
        instance.qualified(decl.name, decl.annotations),
        decl.keys,
        actions,
        default,
        decl.const_default,
        entries,
        decl.const_entries,
        int(size.value) if isinstance(size, tree.Const) else None,
        instance.extern_name(counter.sym) if isinstance(counter, tree.Name) else None,
    )
