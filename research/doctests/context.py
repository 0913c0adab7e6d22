"""What a function needs of its package, gathered from the source: imports, helpers, classes and constants."""

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from research.doctests.modules import Module, Statement, Unsuitable, bound_by, bound_names

BUILTINS = {*vars(builtins), "__name__"}
THIRD_PARTY = "it needs another package"
UNKNOWN_NAME = "it needs what its package does not define by name"
TWO_MEANINGS = "what it needs has one name in two modules"
TOO_LONG = "its prompt is too long"
BY_CHANCE = "it draws at random"
_CHANCE = ("random", "secrets", "uuid")

_Import = tuple[str, str | None, str | None]
"""Module, name in it and name here, as an import statement says them; the name in it is None for `import module`."""


class Library:
    """The modules of one package by their names, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, Module | None] = {}

    def name_of(self, path: Path) -> str:
        """The name by which one imports a file."""
        parts = path.relative_to(self._root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def module(self, name: str) -> Module | None:
        """A module; None where there is no file of it that this Python can read."""
        if name not in self._read:
            self._read[name] = self._find(name)
        return self._read[name]

    def _find(self, name: str) -> Module | None:
        place = self._root.joinpath(*name.split("."))
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                try:
                    return Module(name, path)
                except (SyntaxError, ValueError, RecursionError):
                    return None
        return None


class Context:
    """The definitions that a function needs, of its own module and of others of its package, in their turn too.

    Args:
        library: the modules of the package.
        module: where the function is.
        function: its definition.
        limit: characters at most.

    Raises:
        Unsuitable: it needs what cannot be shown in one text of Python's library alone.
    """

    def __init__(self, library: Library, module: Module, function: Statement, limit: int) -> None:
        self._library, self._left = library, limit
        self._top = module.name.partition(".")[0]
        self._owners = dict.fromkeys(bound_names(function.node), module.name)
        self._seen = {(module.name, name) for name in self._owners}
        self._imports = set[_Import]()
        self._taken = set[tuple[str, int]]()
        self._statements: list[tuple[str, Statement]] = []
        self._postponed = module.postponed
        _check_imports(function)
        for name in sorted(function.needs):
            self._need(module, name)

    @property
    def names(self) -> set[str]:
        """What the context and the function define."""
        return set(self._owners)

    def text(self) -> str:
        """Imports first, then definitions: those of other modules, those of the function's own, each in order."""
        future = ["from __future__ import annotations"] if self._postponed else []
        imports = "\n".join([*future, *_import_lines(self._imports)])
        ranks = {name: rank for rank, name in enumerate(dict.fromkeys(name for name, _ in self._statements))}
        order = sorted(self._statements, key=lambda entry: (ranks[entry[0]], entry[1].node.lineno))
        parts = [*([imports] if imports else []), *(statement.text for _, statement in order)]
        return "".join(f"{part}\n\n\n" for part in parts)

    def _need(self, module: Module, name: str) -> None:
        if (module.name, name) in self._seen:
            return
        self._seen.add((module.name, name))
        statements = module.by_name.get(name)
        if statements is None:
            self._need_elsewhere(module, name)
            return
        for statement in statements:
            if isinstance(statement.node, ast.Import | ast.ImportFrom):
                self._need_import(module, statement.node, name)
            else:
                self._add(module, statement)

    def _need_elsewhere(self, module: Module, name: str) -> None:
        """A builtin, or what `from .other import *` brings."""
        for origin in self._stars(module):
            if name in origin.by_name:
                self._need(origin, name)
                return
        if name not in BUILTINS:
            raise Unsuitable(UNKNOWN_NAME)

    def _stars(self, module: Module) -> Iterator[Module]:
        for statement in module.by_name.get("*", []):
            node = statement.node
            origin = self._library.module(module.origin(node)) if isinstance(node, ast.ImportFrom) else None
            if origin is not None:
                yield origin

    def _need_import(self, module: Module, node: ast.Import | ast.ImportFrom, name: str) -> None:
        alias = next(alias for alias in node.names if bound_by(alias) == name)
        origin = module.origin(node) if isinstance(node, ast.ImportFrom) else alias.name
        if origin in _CHANCE:
            raise Unsuitable(BY_CHANCE)
        if is_standard(origin):
            inner = alias.name if isinstance(node, ast.ImportFrom) else None
            self._own(name, f"import {origin if inner or alias.asname else name} {inner}")
            self._imports.add((origin, inner, alias.asname))
            return
        if origin.partition(".")[0] != self._top:
            raise Unsuitable(THIRD_PARTY)
        defining = self._library.module(origin)
        if defining is None or not isinstance(node, ast.ImportFrom) or alias.asname not in (None, alias.name):
            raise Unsuitable(UNKNOWN_NAME)
        self._need(defining, name)

    def _add(self, module: Module, statement: Statement) -> None:
        if (module.name, statement.node.lineno) in self._taken:
            return
        self._taken.add((module.name, statement.node.lineno))
        self._left -= len(statement.text)
        if self._left < 0:
            raise Unsuitable(TOO_LONG)
        _check_imports(statement)
        for bound in bound_names(statement.node):
            self._own(bound, module.name)
        self._postponed = self._postponed or module.postponed
        for name in sorted(statement.needs):
            self._need(module, name)
        self._statements.append((module.name, statement))

    def _own(self, name: str, owner: str) -> None:
        if self._owners.setdefault(name, owner) != owner:
            raise Unsuitable(TWO_MEANINGS)


def is_standard(module: str) -> bool:
    """Whether a module is of Python's library."""
    return module.partition(".")[0] in sys.stdlib_module_names


def _check_imports(statement: Statement) -> None:
    """What a function imports when it runs must be there; at the top of a module, `try` or `if` sees to that."""
    if isinstance(statement.node, ast.If | ast.Try):
        return
    for node in ast.walk(statement.node):
        if isinstance(node, ast.ImportFrom) and (node.level or not is_standard(node.module or "")):
            raise Unsuitable(THIRD_PARTY)
        if isinstance(node, ast.Import) and not all(is_standard(alias.name) for alias in node.names):
            raise Unsuitable(THIRD_PARTY)


def _import_lines(imports: Iterable[_Import]) -> list[str]:
    """`import` before `from`, one line for each module."""
    whole, parts = set[str](), dict[str, set[str]]()
    for module, inner, here in imports:
        renamed = f" as {here}" if here else ""
        if inner is None:
            whole.add(f"import {module}{renamed}")
        else:
            parts.setdefault(module, set()).add(inner + renamed)
    froms = [f"from {module} import {', '.join(sorted(parts[module]))}" for module in sorted(parts)]
    return [*sorted(whole), *froms]
