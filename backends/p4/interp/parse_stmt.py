"""Recursive descent over tokens: statements, and what they share with declarations."""

from __future__ import annotations

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.parse_expr import ExprParser

Annotations = list[tree.Annotation]


class StmtParser(ExprParser):
    """Statements, and the declarations that may stand among them."""

    def annotations(self) -> Annotations:
        found: Annotations = []
        while self.at("@"):
            where = self.advance().loc
            name = self.member_name()
            closing = {"(": ")", "[": "]"}.get(self.token.text)
            tokens: list[str] = []
            if closing is not None:
                opening = self.advance().text
                depth = 1
                while depth:
                    token = self.advance()
                    if token.kind == "end":
                        raise P4Error(where, f"annotation @{name} is never closed")
                    depth += (token.text == opening) - (token.text == closing)
                    if depth:
                        tokens.append(token.text)
            found.append(tree.Annotation(where, name, tokens))
        return found

    def block(self) -> tree.Block:
        where = self.expect("{").loc
        body: list[tree.Stmt] = []
        while not self.at("}"):
            if self.token.kind == "end":
                raise P4Error(where, "this '{' is never closed")
            body.append(self.statement())
        self.expect("}")
        return tree.Block(where, body)

    def statement(self) -> tree.Stmt:
        with self.nested():
            notes = self.annotations()
            parse = {
                "{": self.block,
                "if": self.if_statement,
                "switch": self.switch_statement,
                "return": self.return_statement,
                "exit": self.exit_statement,
                ";": self.empty_statement,
            }.get(self.token.text if self.token.kind in ("op", "keyword") else "")
            if parse is not None:
                return parse()
            if self.at("const") or self.at_declaration():
                return self.variable(notes)
            return self.assignment_or_call()

    def at_declaration(self) -> bool:
        """Whether a type followed by a name (and not a call on a type) begins here."""
        if not self.at_type():
            return False
        if self.token.kind == "keyword":
            return not (self.token.text == "error" and self.peek().text == ".")
        return self.peek().text in ("<", "[") or self.is_name(self.peek())

    def empty_statement(self) -> tree.Stmt:
        return tree.Block(self.expect(";").loc, [])

    def if_statement(self) -> tree.Stmt:
        first = here = tree.If(self.expect("if").loc, *self.condition_and_then(), None)
        while self.accept("else"):  # a loop, so that a long else-if chain does not nest
            if not self.at("if"):
                here.other = self.statement()
                break
            here.other = tree.If(self.expect("if").loc, *self.condition_and_then(), None)
            here = here.other
        return first

    def condition_and_then(self) -> tuple[tree.Expr, tree.Stmt]:
        self.expect("(")
        cond = self.expression()
        self.expect(")")
        return cond, self.statement()

    def switch_statement(self) -> tree.Stmt:
        where = self.expect("switch").loc
        self.expect("(")
        subject = self.expression()
        self.expect(")")
        self.expect("{")
        cases: list[tree.Case] = []
        while not self.accept("}"):
            label = self.keyset()
            self.expect(":")
            labels = label.items if isinstance(label, tree.ListExpr) else [label]
            cases.append(tree.Case(label.loc, labels, self.block() if self.at("{") else None))
        return tree.Switch(where, subject, cases)

    def return_statement(self) -> tree.Stmt:
        where = self.expect("return").loc
        value = None if self.at(";") else self.expression()
        self.expect(";")
        return tree.Return(where, value)

    def exit_statement(self) -> tree.Stmt:
        where = self.expect("exit").loc
        self.expect(";")
        return tree.Exit(where)

    def assignment_or_call(self) -> tree.Stmt:
        where = self.loc
        left = self.postfix(self.primary())
        if self.at("="):
            where = self.advance().loc
            right = self.expression()
            self.expect(";")
            return tree.Assign(where, left, right)
        if not isinstance(left, tree.Call):
            raise P4Error(where, "expected a statement: this is neither an assignment nor a call")
        self.expect(";")
        return tree.CallStmt(where, left)

    def variable(self, notes: Annotations) -> tree.VarDecl:
        const = self.accept("const")
        where, ref = self.loc, self.type_ref()
        name = self.name()
        init = None
        if self.accept("="):
            init = self.expression()
        elif const:
            raise P4Error(where, f"constant '{name.text}' needs a value")
        self.expect(";")
        return tree.VarDecl(name.loc, name.text, notes, ref, init, const)

    def parameters(self) -> list[tree.ParamDecl]:
        self.expect("(")
        found: list[tree.ParamDecl] = []
        while not self.at(")"):
            self.annotations()
            direction = self.advance().text if self.at("in", "out", "inout") else ""
            ref = self.type_ref()
            name = self.name("a parameter name")
            default = self.expression() if self.accept("=") else None
            found.append(tree.ParamDecl(name.loc, name.text, direction, ref, default))
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def type_parameters(self) -> list[str]:
        if not self.accept("<"):
            return []
        names = [self.name("a type parameter").text]
        while self.accept(","):
            names.append(self.name("a type parameter").text)
        self.expect(">")
        return names
