"""A module as the statements at its top level: which names each of them binds, and which it needs."""

import ast
import symtable
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from weighted_mtp.labelling.mutants.source_code import parse

Function = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_POSTPONED = "from __future__ import annotations\n"


class Unsuitable(Exception):
    """A function that can be no problem; the message is the reason, one for all functions of the kind."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top level of a module."""

    node: ast.stmt
    text: str
    """Its lines, decorators included."""
    postponed: bool
    """Annotations are not evaluated, so that what they name is not needed."""

    @cached_property
    def needs(self) -> set[str]:
        """The names of the module, or builtins, that running it or calling it looks up."""
        return global_names((_POSTPONED if self.postponed else "") + self.text)


class Module:
    """A module that is read, never run.

    Args:
        name: as one imports it.
        path: its file.

    Raises:
        SyntaxError: it is not written for this version of Python.
        ValueError: it is no text.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        with tokenize.open(path) as file:
            text = file.read()
        tree = parse(text)
        self._lines = text.split("\n")
        self.postponed = any(_is_postponing(node) for node in tree.body)
        self.statements = [
            Statement(node, self.lines(first_line(node), node.end_lineno), self.postponed)
            for node in tree.body
            if not _is_overload(node)
        ]
        self.by_name: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for bound in bound_names(statement.node):
                self.by_name.setdefault(bound, []).append(statement)

    def lines(self, first: int, last: int | None) -> str:
        """Lines by number, from 1, both included."""
        return "\n".join(self._lines[first - 1 : last])

    def origin(self, node: ast.ImportFrom) -> str:
        """The full name of the module that names are imported from."""
        if not node.level:
            return node.module or ""
        folder = self.name.split(".") + ["__init__"] * (self.path.stem == "__init__")
        return ".".join([*folder[: -node.level], *([node.module] if node.module else [])])


def first_line(node: ast.stmt) -> int:
    """The line a statement starts on, decorators included."""
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


def global_names(text: str) -> set[str]:
    """The names that a program looks up at its top level or, from within functions and classes, there or in builtins.

    Examples:
        >>> sorted(global_names("def f(x, y=Z): return [len(i) + x for i in g(y)]"))
        ['Z', 'g', 'len']
    """
    names, waiting = set[str](), [symtable.symtable(text, "<text>", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        at_top = table.get_type() == "module"
        names |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (at_top or s.is_global())}
    return names


def bound_names(node: ast.AST) -> set[str]:
    """The names that a statement gives a value or, by an item, an attribute or a method, changes.

    Examples:
        >>> sorted(bound_names(ast.parse("a = b[1] = [i for i in c]; import d.e; f.append(g); h.i = 1")))
        ['a', 'b', 'd', 'f', 'h']
    """
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {bound_by(alias) for alias in node.names}
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _base(node.value.func) if isinstance(node.value.func, ast.Attribute) else set()
    if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store):
        return set()
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        return _base(node)
    return set[str]().union(*map(bound_names, ast.iter_child_nodes(node)))


def bound_by(alias: ast.alias) -> str:
    """The name that an import binds."""
    return alias.asname or alias.name.partition(".")[0]


def _base(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _is_postponing(node: ast.stmt) -> bool:
    if not isinstance(node, ast.ImportFrom) or node.module != "__future__":
        return False
    return any(alias.name == "annotations" for alias in node.names)


def _is_overload(node: ast.stmt) -> bool:
    """One of several signatures that only type checkers read."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(each).rpartition(".")[2] == "overload" for each in decorators)
