"""The texts of all errors that the code can raise, read from its syntax tree; what varies in them is an ellipsis."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dbops import errors
from dbops.settings import ROOT

ANY = "…"
CLASSES = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.DbopsError)
}
# Functions and exceptions whose text becomes a part of an error's text, with the position of that argument.
CARRIERS = {"Condition": 2, "judged": 2, "Required": 1, "InvalidFileError": 0, "ValueError": 0}


@dataclass(frozen=True, slots=True)
class Text:
    """One text, and where it is written."""

    text: str
    where: str


@dataclass(slots=True)
class Module:
    """A module's syntax tree, with the function that each node is in."""

    path: Path
    tree: ast.Module
    functions: dict[ast.AST, ast.FunctionDef] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Module:
        """Return a module of this repository."""
        module = cls(path, ast.parse(path.read_text(encoding="utf-8")))
        for function in ast.walk(module.tree):
            if isinstance(function, ast.FunctionDef):
                # Inner functions come after outer ones, and so replace them.
                module.functions.update(dict.fromkeys(ast.walk(function), function))
        return module

    def calls(self, names: set[str]) -> Iterator[ast.Call]:
        """Yield the calls of functions of these names."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and _name(node.func) in names:
                yield node

    def templates(self, node: ast.expr, depth: int = 0) -> set[str]:
        """Return the texts that an expression may have."""
        if isinstance(node, ast.Constant):
            return {str(node.value)}
        if isinstance(node, ast.IfExp):
            return self.templates(node.body, depth) | self.templates(node.orelse, depth)
        if isinstance(node, ast.BoolOp):
            return set().union(*(self.templates(value, depth) for value in node.values))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return _joined([self.templates(node.left, depth), self.templates(node.right, depth)])
        if isinstance(node, ast.JoinedStr):
            return _joined([self._part(value, depth) for value in node.values])
        if isinstance(node, ast.Call) and _name(node.func) == "redact":
            return self.templates(node.args[0], depth)
        if isinstance(node, ast.Call) and depth < 4:
            return self._returned(_name(node.func), depth + 1) or {ANY}
        if isinstance(node, ast.ListComp):
            return self.templates(node.elt, depth)
        if isinstance(node, ast.Subscript):
            return self._assigned(self.tree, _name(node.value), depth + 1) or {ANY}
        if isinstance(node, ast.Name) and depth < 4:
            return self._named(node, depth + 1) or {ANY}
        return {ANY}

    def _part(self, node: ast.expr, depth: int) -> set[str]:
        """Return the texts of a part of an f-string: a choice between constants is both, all else varies."""
        if isinstance(node, ast.FormattedValue):
            chosen = isinstance(node.value, ast.IfExp) and isinstance(node.value.orelse, ast.Constant)
            return self.templates(node.value, depth) if chosen else {ANY}
        return self.templates(node, depth)

    def _named(self, name: ast.Name, depth: int) -> set[str]:
        """Return the texts of a variable, from its assignments, or of a parameter, from the function's callers."""
        function = self.functions.get(name)
        found = self._assigned(function or self.tree, name.id, depth)
        if found or function is None:
            return found
        parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
        if name.id in parameters:
            position = parameters.index(name.id)
            # A public function may be called from another module.
            public = not function.name.startswith("_") and len(parameters) == len(function.args.args)
            for module in modules() if public else [self]:
                for call in module.calls({function.name}):
                    given = [keyword.value for keyword in call.keywords if keyword.arg == name.id]
                    for value in given or call.args[position : position + 1]:
                        found |= module.templates(value, depth)
        return found

    def _assigned(self, inside: ast.AST, name: str, depth: int) -> set[str]:
        """Return the texts that are assigned to a variable."""
        found: set[str] = set()
        for node in ast.walk(inside):
            if isinstance(node, ast.Assign) and any(_is(target, name) for target in node.targets):
                found |= self.templates(node.value, depth)
        return found

    def _returned(self, name: str, depth: int) -> set[str]:
        """Return the texts that a function of this module returns."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            function = self.functions.get(node)
            if isinstance(node, ast.Return) and node.value and function and function.name == name:
                found |= self.templates(node.value, depth)
        return found


@cache
def modules() -> list[Module]:
    """Return the tasks and the modules of the package, apart from lint, which nox runs."""
    paths = [path for path in sorted((ROOT / "dbops").rglob("*.py")) if path.parent.name != "lint"]
    return [Module.read(path) for path in [*paths, ROOT / "tasks.py"]]


@cache
def texts() -> tuple[Text, ...]:
    """Return the texts of all errors."""
    found = []
    for module in modules():
        for call in module.calls(CLASSES | set(CARRIERS)):
            position = CARRIERS.get(_name(call.func), 0)
            not_needed = any(_is(argument, "NONE") for argument in call.args[:1])
            if _name(call.func) == "Condition":
                not_needed = len(call.args) > 1 and getattr(call.args[1], "value", None) is True
            if len(call.args) > position and not not_needed:
                where = f"{module.path.relative_to(ROOT)}:{call.lineno}"
                found += [Text(text, where) for text in sorted(module.templates(call.args[position]))]
    return tuple(found)


def _joined(parts: list[set[str]]) -> set[str]:
    """Return each combination of the parts of a text."""
    return {"".join(words) for words in itertools.product(*parts)}


def _name(node: ast.expr) -> str:
    """Return the last part of a name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name
