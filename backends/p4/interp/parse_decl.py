"""Recursive descent over tokens: declarations; `parse` reads a whole text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fsir.backends.p4.interp import tree
from fsir.backends.p4.interp.errors import P4Error
from fsir.backends.p4.interp.lexer import Token
from fsir.backends.p4.interp.parse_stmt import Annotations, StmtParser
from fsir.backends.p4.interp.prelude import refusal

Item = TypeVar("Item")


class DeclParser(StmtParser):
    """Top-level declarations and what stands inside parsers, controls and tables."""

    def program(self) -> list[tree.Decl]:
        found: list[tree.Decl] = []
        while self.token.kind != "end":
            if self.accept(";"):
                continue
            found.append(self.declaration())
        return found

    def declaration(self) -> tree.Decl:
        notes = self.annotations()
        parse = {
            "const": self.variable,
            "typedef": self.typedef,
            "type": self.typedef,
            "enum": self.enum,
            "struct": self.struct,
            "header": self.struct,
            "header_union": self.struct,
            "extern": self.extern,
            "action": self.action,
            "parser": self.parser,
            "control": self.control,
            "package": self.package,
            "match_kind": self.names,
        }.get(self.token.text if self.token.kind == "keyword" else "")
        if parse is not None:
            return parse(notes)
        if self.at("error") and self.peek().text == "{":
            return self.names(notes)
        if self.at_type():
            return self.typed_declaration(notes)
        if self.token.kind == "name":
            raise P4Error(self.loc, f"unknown type '{self.token.text}'{refusal(self.token.text)}")
        raise P4Error(self.loc, f"expected a declaration but found {self.found()}")

    def typed_declaration(self, notes: Annotations) -> tree.Decl:
        """Begins with a type: an instantiation or a function."""
        where, ref = self.loc, self.type_ref()
        if self.at("("):
            return self.instantiation(notes, ref)
        name = self.name()
        if not self.at("(", "<"):
            raise P4Error(where, "a variable cannot be declared at top level: use const")
        return self.function(notes, name, ref)

    def function(self, notes: Annotations, name: Token, result: tree.TypeRef) -> tree.FuncDecl:
        type_params = self.type_parameters()
        with self.type_scope(type_params):
            params = self.parameters()
            return tree.FuncDecl(name.loc, name.text, notes, type_params, result, params, self.block())

    def instantiation(self, notes: Annotations, ref: tree.TypeRef) -> tree.Instantiation:
        args = self.arguments()
        name = self.name("the instance's name")
        self.expect(";")
        return tree.Instantiation(name.loc, name.text, notes, ref, args)

    def typedef(self, notes: Annotations) -> tree.Decl:
        new = self.advance().text == "type"
        ref = self.type_ref()
        name = self.type_name()
        self.expect(";")
        return tree.Typedef(name.loc, name.text, notes, ref, new)

    def type_name(self) -> Token:
        name = self.name("a type name")
        self.type_names.add(name.text)
        return name

    def enum(self, notes: Annotations) -> tree.Decl:
        self.expect("enum")
        ref = None
        if self.at_type() and (self.token.kind == "keyword" or self.is_name(self.peek())):
            ref = self.type_ref()
        name = self.type_name()
        self.expect("{")
        members = []
        while not self.at("}"):
            member = self.name("a member name")
            members.append((member.text, self.expression() if self.accept("=") else None, member.loc))
            if not self.accept(","):
                break
        self.expect("}")
        return tree.EnumDecl(name.loc, name.text, notes, ref, members)

    def names(self, notes: Annotations) -> tree.Decl:
        keyword = self.advance()
        self.expect("{")
        members = []
        while not self.at("}"):
            member = self.name("a member name")
            members.append((member.text, member.loc))
            if not self.accept(","):
                break
        self.expect("}")
        return tree.NamesDecl(keyword.loc, keyword.text, notes, members)

    def struct(self, notes: Annotations) -> tree.Decl:
        kind = self.advance().text
        name = self.type_name()
        type_params = self.type_parameters()
        fields = []
        with self.type_scope(type_params):
            self.expect("{")
            while not self.accept("}"):
                self.annotations()
                ref = self.type_ref()
                member = self.name("a field name")
                self.expect(";")
                fields.append(tree.FieldDecl(member.loc, member.text, ref))
        return tree.StructDecl(name.loc, name.text, notes, kind, type_params, fields)

    def extern(self, notes: Annotations) -> tree.Decl:
        self.expect("extern")
        if self.is_name(self.token) and self.peek().text in ("<", "{") and self.token.text not in self.type_names:
            return self.extern_object(notes)
        where = self.loc
        # The result type of a generic function may be its own type parameter: look ahead for them.
        with self.type_scope(self.function_type_parameters()):
            ref = self.type_ref()
            name = self.name()
            type_params = self.type_parameters()
            params = self.parameters()
        self.expect(";")
        return tree.FuncDecl(where, name.text, notes, type_params, ref, params, None)

    def function_type_parameters(self) -> list[str]:
        """The type parameters of the prototype that begins here, without progress."""
        ahead = 0
        while self.peek(ahead).text not in ("(", ";") and self.peek(ahead).kind != "end":
            ahead += 1
        if self.peek(ahead - 1).text != ">":
            return []
        names = []
        ahead -= 2
        while ahead > 0 and self.peek(ahead).text != "<":
            if self.peek(ahead).kind == "name":
                names.append(self.peek(ahead).text)
            ahead -= 1
        return names

    def extern_object(self, notes: Annotations) -> tree.Decl:
        name = self.type_name()
        type_params = self.type_parameters()
        methods = []
        with self.type_scope(type_params):
            self.expect("{")
            while not self.accept("}"):
                methods.append(self.method(name.text))
        return tree.ExternDecl(name.loc, name.text, notes, type_params, methods)

    def method(self, owner: str) -> tree.FuncDecl:
        notes = self.annotations()
        if self.token.text == owner and self.peek().text == "(":
            name = self.advance()
            ctor = tree.FuncDecl(name.loc, owner, notes, [], None, self.parameters(), None)
            self.expect(";")
            return ctor
        with self.type_scope(self.function_type_parameters()):
            result = self.type_ref()
            name = self.name("a method name")
            type_params = self.type_parameters()
            params = self.parameters()
        self.expect(";")
        return tree.FuncDecl(name.loc, name.text, notes, type_params, result, params, None)

    def action(self, notes: Annotations) -> tree.Decl:
        self.expect("action")
        name = self.name("an action name")
        params = self.parameters()
        return tree.ActionDecl(name.loc, name.text, notes, params, self.block())

    def package(self, notes: Annotations) -> tree.Decl:
        self.expect("package")
        name = self.type_name()
        type_params = self.type_parameters()
        with self.type_scope(type_params):
            params = self.parameters()
        self.expect(";")
        return tree.PackageDecl(name.loc, name.text, notes, type_params, params)

    # -- parsers ---------------------------------------------------------------------------------------------

    def parser(self, notes: Annotations) -> tree.Decl:
        self.expect("parser")
        name = self.type_name()
        type_params = self.type_parameters()
        with self.type_scope(type_params):
            params = self.parameters()
            if self.accept(";"):
                return tree.ParserDecl(name.loc, name.text, notes, type_params, params, [], [], None)
            ctor = self.parameters() if self.at("(") else []
            self.expect("{")
            locals_: list[tree.Decl] = []
            states: list[tree.StateDecl] = []
            while not self.accept("}"):
                inner = self.annotations()
                if self.at("state"):
                    states.append(self.state(inner))
                elif states:
                    raise P4Error(self.loc, f"declarations of a parser come before its states, not {self.found()}")
                else:
                    locals_.append(self.local(inner))
        return tree.ParserDecl(name.loc, name.text, notes, type_params, params, ctor, locals_, states)

    def local(self, notes: Annotations) -> tree.Decl:
        """A declaration inside a parser or control."""
        if self.at("action"):
            return self.action(notes)
        if self.at("table"):
            return self.table(notes)
        if self.at("value_set"):
            raise P4Error(self.loc, "value_set is not supported")
        if self.at("const"):
            return self.variable(notes)
        if not self.at_type():
            if self.token.kind == "name":
                raise P4Error(self.loc, f"unknown type '{self.token.text}'{refusal(self.token.text)}")
            raise P4Error(self.loc, f"expected a declaration but found {self.found()}")
        start = self.pos
        ref = self.type_ref()
        if self.at("("):
            return self.instantiation(notes, ref)
        self.pos = start
        return self.variable(notes)

    def state(self, notes: Annotations) -> tree.StateDecl:
        self.expect("state")
        name = self.name("a state name")
        self.expect("{")
        body: list[tree.Stmt] = []
        while not self.at("transition", "}"):
            body.append(self.statement())
        transition = tree.Transition(self.loc, "reject", [], [])
        if self.at("transition"):
            transition = self.transition()
        self.expect("}")
        return tree.StateDecl(name.loc, name.text, notes, body, transition)

    def transition(self) -> tree.Transition:
        where = self.expect("transition").loc
        if not self.at("select"):
            target = self.name("a state")
            self.expect(";")
            return tree.Transition(target.loc, target.text, [], [])
        self.expect("select")
        self.expect("(")
        subject = [self.expression()]
        while self.accept(","):
            subject.append(self.expression())
        self.expect(")")
        self.expect("{")
        cases = []
        while not self.accept("}"):
            keyset = self.keyset()
            self.expect(":")
            target = self.name("a state")
            self.expect(";")
            cases.append(tree.SelectCase(target.loc, keyset, target.text))
        return tree.Transition(where, "", subject, cases)

    # -- controls and tables ---------------------------------------------------------------------------------

    def control(self, notes: Annotations) -> tree.Decl:
        self.expect("control")
        name = self.type_name()
        type_params = self.type_parameters()
        with self.type_scope(type_params):
            params = self.parameters()
            if self.accept(";"):
                return tree.ControlDecl(name.loc, name.text, notes, type_params, params, [], [], None)
            ctor = self.parameters() if self.at("(") else []
            self.expect("{")
            locals_: list[tree.Decl] = []
            while not self.at("apply"):
                if self.at("}") or self.token.kind == "end":
                    raise P4Error(name.loc, f"control '{name.text}' has no apply block")
                locals_.append(self.local(self.annotations()))
            self.expect("apply")
            body = self.block()
            self.expect("}")
        return tree.ControlDecl(name.loc, name.text, notes, type_params, params, ctor, locals_, body)

    def table(self, notes: Annotations) -> tree.Decl:
        self.expect("table")
        name = self.name("a table name")
        table = tree.TableDecl(name.loc, name.text, notes, [], [], [], False, None, False, None, {})
        self.expect("{")
        seen: set[str] = set()
        while not self.accept("}"):
            self.annotations()
            const = self.accept("const")
            prop = self.token
            if not self.is_name(prop):
                raise P4Error(prop.loc, f"expected a table property but found {self.found()}")
            self.advance()
            if prop.text in seen:
                raise P4Error(prop.loc, f"table '{name.text}' has '{prop.text}' twice")
            seen.add(prop.text)
            self.expect("=")
            self.table_property(table, prop, const)
        return table

    def table_property(self, table: tree.TableDecl, prop: Token, const: bool) -> None:
        if prop.text == "key":
            table.keys = self.braced(self.key_element)
        elif prop.text == "actions":
            table.actions = self.braced(self.listed_action)
        elif prop.text == "entries":
            table.entries, table.const_entries = self.braced(self.entry), const
        elif prop.text == "default_action":
            table.default, table.const_default = self.action_ref([]), const
            self.expect(";")
        else:
            value = self.expression()
            self.expect(";")
            if prop.text == "size":
                table.size = value
            else:
                table.properties[prop.text] = value

    def braced(self, item: Callable[[], Item]) -> list[Item]:
        self.expect("{")
        found = []
        while not self.accept("}"):
            found.append(item())
        return found

    def key_element(self) -> tree.KeyElement:
        start = self.pos
        expr = self.expression()
        text = "".join(token.text for token in self.tokens[start : self.pos])
        self.expect(":")
        kind = self.name("a match kind")
        for note in self.annotations():
            if note.name == "name" and note.tokens:
                text = note.tokens[0].strip('"')
        self.expect(";")
        return tree.KeyElement(kind.loc, expr, kind.text, text)

    def listed_action(self) -> tree.ActionRef:
        found = self.action_ref(self.annotations())
        self.expect(";")
        return found

    def action_ref(self, notes: Annotations) -> tree.ActionRef:
        self.accept(".")
        name = self.name("an action")
        return tree.ActionRef(name.loc, name.text, self.arguments() if self.at("(") else [], notes)

    def entry(self) -> tree.Entry:
        self.accept("const")
        priority = None
        if self.token.text == "priority" and self.peek().text == "=":
            self.pos += 2
            priority = self.prefix()
            self.expect(":")
        where = self.loc
        keyset = self.keyset()
        self.expect(":")
        action = self.action_ref([])
        self.annotations()
        self.expect(";")
        return tree.Entry(where, keyset, action, priority)


def parse(tokens: list[Token], type_names: set[str]) -> list[tree.Decl]:
    """The declarations of a text; adds the types it declares to `type_names`."""
    return DeclParser(tokens, type_names).program()
