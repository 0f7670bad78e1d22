"""Tables: keys, actions with their bound arguments, default action, constant entries, properties."""

from __future__ import annotations

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.arith import wrap
from fsir.backends.p4.interp.check_stmt import StmtChecker, matchable
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.symbols import ActionSym, Callee, InstanceSym, TableSym
from fsir.backends.p4.interp.types import ApplyResult, BitType, ExternType, Type, is_number, representation

# Match kinds that need a number, and the set expressions an entry may use with each.
ENTRY_SETS: dict[str, tuple[str, ...]] = {
    "exact": (),
    "lpm": ("&&&", "_"),
    "ternary": ("&&&", "_"),
    "range": ("..", "_"),
    "optional": ("_",),
}
NUMERIC_KINDS = ("lpm", "range")
DIRECT_PROPERTIES = {"counters": "direct_counter", "meters": "direct_meter"}


class TableChecker(StmtChecker):
    """Adds tables."""

    match_kinds: set[str]

    def table(self, decl: tree.TableDecl) -> None:
        for key in decl.keys:
            self.key(key)
        if not decl.actions:
            raise P4Error(decl.loc, f"table '{decl.name}' has no actions")
        seen: set[str] = set()
        for ref in decl.actions:
            if ref.name in seen:
                raise P4Error(ref.loc, f"table '{decl.name}' lists action '{ref.name}' twice")
            seen.add(ref.name)
            self.listed_action(ref)
        if decl.default is not None:
            self.chosen_action(decl, decl.default)
        prefixes = [key for key in decl.keys if key.kind == "lpm"]
        if len(prefixes) > 1:
            raise P4Error(prefixes[1].loc, f"table '{decl.name}' has more than one lpm key, which BMv2 does not take")
        types = [key.expr.type for key in decl.keys]
        shown: set[tuple[object, ...]] = set()
        for entry in decl.entries:
            self.entry(decl, entry, types)
            self.require_new(decl, entry, shown)
        if decl.size is not None:
            size = self.constant_int(decl.size, "the size of a table")
            if size <= 0:
                raise P4Error(decl.size.loc, f"the size of a table must be positive, not {size}")
            decl.size = self.constant(decl.size.loc, size, BitType(32))
        for name, value in decl.properties.items():
            self.property(decl, name, value)
        callee = Callee("table", decl.name, [], [], [], ApplyResult(decl.name), decl)
        symbol = TableSym(decl, callee)
        decl.sym = symbol
        self.scopes.add(decl.name, symbol, decl.loc)

    def key(self, key: tree.KeyElement) -> None:
        if key.kind not in self.match_kinds:
            raise P4Error(key.loc, f"match kind '{key.kind}' is not declared")
        if key.kind not in ENTRY_SETS:
            raise P4Error(key.loc, f"match kind '{key.kind}' is not supported")
        key.expr = self.check(key.expr)
        type_ = key.expr.type
        if not matchable(type_):
            raise P4Error(key.expr.loc, f"{type_} cannot be a table key")
        if key.kind in NUMERIC_KINDS and not is_number(representation(type_)):
            raise P4Error(key.loc, f"match kind '{key.kind}' needs a number, not {type_}")

    def action_symbol(self, ref: tree.ActionRef) -> ActionSym:
        symbol = self.scopes.find(ref.name)
        if not isinstance(symbol, ActionSym):
            raise P4Error(ref.loc, f"action '{ref.name}' is not declared")
        return symbol

    def listed_action(self, ref: tree.ActionRef) -> None:
        """In `actions`: arguments for exactly the parameters with a direction."""
        symbol = ref.sym = self.action_symbol(ref)
        callee = symbol.callee
        bound = [param for param in callee.params if param.direction]
        if len(ref.args) != len(bound):
            raise P4Error(ref.loc, f"action '{ref.name}' needs {len(bound)} arguments here: those with a direction")
        for arg, param in zip(ref.args, bound, strict=True):
            require_position(arg, param.name)
            ref.bound.append(self.argument(self.check(arg.value), param, {}, callee))

    def chosen_action(self, decl: tree.TableDecl, ref: tree.ActionRef) -> None:
        """In an entry or as default: constants for the parameters without direction."""
        listed = next((other for other in decl.actions if other.name == ref.name), None)
        if listed is None:
            raise P4Error(ref.loc, f"'{ref.name}' is not among the actions of table '{decl.name}'")
        symbol = ref.sym = listed.sym
        data = [param for param in symbol.callee.params if not param.direction]
        if len(ref.args) != len(data):
            raise P4Error(
                ref.loc,
                f"action '{ref.name}' takes {len(data)} arguments from the control plane, {len(ref.args)} given",
            )
        for arg, param in zip(ref.args, data, strict=True):
            require_position(arg, param.name)
            value = self.coerce(self.check(arg.value), param.type, f"argument '{param.name}' of '{ref.name}'")
            if not isinstance(value, tree.Const):
                raise P4Error(arg.loc, f"argument '{param.name}' must be known at compile time")
            ref.bound.append(value)

    def entry(self, decl: tree.TableDecl, entry: tree.Entry, types: list[Type]) -> None:
        items = self.keyset(entry.keyset, types)
        for item, key in zip(items, decl.keys, strict=True):
            kind = item.text if isinstance(item, tree.AnySet) else getattr(item, "op", "")
            if kind and kind.replace("default", "_") not in ENTRY_SETS[key.kind]:
                raise P4Error(item.loc, f"'{kind}' cannot be used for the {key.kind} key '{key.name}'")
            if key.kind == "lpm" and isinstance(item, tree.Binary):
                self.require_prefix(item)
        entry.keyset = tree.ListExpr(entry.loc, items)
        self.chosen_action(decl, entry.action)
        if entry.priority is not None:
            priority = self.constant_int(entry.priority, "a priority")
            entry.priority = self.constant(entry.loc, priority, BitType(32))

    def require_new(self, decl: tree.TableDecl, entry: tree.Entry, shown: set[tuple[object, ...]]) -> None:
        """In a table without priorities, an entry may not repeat the key of another."""
        if any(key.kind not in ("exact", "lpm") for key in decl.keys):
            return
        assert isinstance(entry.keyset, tree.ListExpr)
        sets = tuple(canonical(item) for item in entry.keyset.items)
        if sets in shown:
            raise P4Error(entry.loc, f"table '{decl.name}' has two entries for this key")
        shown.add(sets)

    def require_prefix(self, item: tree.Binary) -> None:
        assert isinstance(item.right, tree.Const)
        low = representation(item.left.type)
        width = getattr(low, "width", 0)
        mask = int(item.right.value) & ((1 << width) - 1)
        host = mask ^ ((1 << width) - 1)
        if host & (host + 1):
            raise P4Error(item.right.loc, f"{wrap(mask, BitType(width)):#x} is not the mask of a prefix")

    def property(self, decl: tree.TableDecl, name: str, value: tree.Expr) -> None:
        if name not in DIRECT_PROPERTIES:
            raise P4Error(value.loc, f"table property '{name}' is not supported")
        symbol = self.scopes.find(value.name) if isinstance(value, tree.Name) else None
        wanted = DIRECT_PROPERTIES[name]
        type_ = symbol.type if isinstance(symbol, InstanceSym) else None
        if not isinstance(type_, ExternType) or type_.name != wanted:
            raise P4Error(value.loc, f"'{name}' of table '{decl.name}' must be a {wanted}")
        assert isinstance(value, tree.Name)
        value.sym = symbol


def require_position(arg: tree.Arg, name: str) -> None:
    if arg.name not in (None, name):
        raise P4Error(arg.loc, f"arguments of a table's action stand in order: '{name}' is expected here")


def canonical(item: tree.Expr) -> object:
    """A set of an exact or lpm key, equal for equal sets."""
    typed = item.left if isinstance(item, tree.Binary) else item
    width = getattr(representation(typed.type), "width", 0)
    full = (1 << width) - 1
    match item:
        case tree.Binary(left=tree.Const(value=value), right=tree.Const(value=mask)):
            return int(value) & int(mask), int(mask) & full
        case tree.Const(value=value):
            return int(value), full
    return 0, 0
