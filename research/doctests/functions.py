"""A function with doctests, with all it needs, as a problem whose tests nobody has run yet."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from research.doctests.context import BUILTINS, TOO_LONG, Context, Library, is_standard
from research.doctests.examples import Step, checks, read_steps, write_test
from research.doctests.modules import Function, Module, Statement, Unsuitable, bound_by, first_line
from research.doctests.packages import Package

DECORATED = "it is decorated"
ITERATES = "it is a generator or a coroutine"
NO_BODY = "its body is empty, or on the line of its docstring"
FEW_EXAMPLES = "too few examples call it, pass plain data and agree with it"
_CACHES = ("cache", "lru_cache")


@dataclass(frozen=True)
class Draft:
    """A problem but for its tests."""

    task_id: str
    """module.function"""
    prompt: str
    canonical_solution: str
    entry_point: str
    source: str
    """Release, file and line."""
    licence: str | None
    package: str
    steps: tuple[Step, ...]
    """The examples of its docstring."""
    usable: tuple[int, ...]
    """The numbers of those that say something about it."""
    imports: Mapping[str, str]
    """Import lines for the examples, by the name that they bind."""
    likeness: str
    """The same for a function that was copied, whatever its docstring."""

    def test(self, chosen: list[int]) -> str:
        """Some of the examples as `check(candidate)`."""
        return write_test(self.entry_point, self.steps, chosen, self.imports)


def functions_with_doctests(module: Module) -> Iterator[Statement]:
    """Those at the top level of a module."""
    for statement in module.statements:
        node = statement.node
        if isinstance(node, Function) and ">>>" in (ast.get_docstring(node, clean=False) or ""):
            yield statement


def draft(package: Package, library: Library, module: Module, statement: Statement, limit: int, least: int) -> Draft:
    """A function as a problem.

    The prompt is what the function needs, then the function up to its docstring's end; the solution is the rest.

    Args:
        package: where it is from.
        library: the modules of the package.
        module: the one that defines it.
        statement: its definition.
        limit: characters of the prompt at most.
        least: examples that it must have.

    Raises:
        Unsuitable: it can be no problem.
    """
    node = statement.node
    assert isinstance(node, Function)
    _check_kind(node)
    steps = tuple(read_steps(ast.get_docstring(node, clean=False) or "", node.name, module.name))
    context = Context(library, module, statement, limit)
    imports = _imports(module)
    known = context.names | BUILTINS | set(imports)
    usable = tuple(i for i in checks(steps) if all(steps[j].names <= known for j in (i, *steps[i].before)))
    if len(usable) < least:
        raise Unsuitable(FEW_EXAMPLES)
    line, end = first_line(node), node.body[0].end_lineno
    assert end is not None
    prompt = context.text() + module.lines(line, end) + "\n"
    solution = module.lines(end + 1, node.end_lineno) + "\n"
    if len(prompt) > limit:
        raise Unsuitable(TOO_LONG)
    place = f"{package.release}: {module.path.relative_to(package.root).as_posix()}:{line}"
    return Draft(
        task_id=f"{module.name}.{node.name}",
        prompt=prompt,
        canonical_solution=solution,
        entry_point=node.name,
        source=place,
        licence=package.licence,
        package=package.name,
        steps=steps,
        usable=usable,
        imports=imports,
        likeness=_likeness(node),
    )


def _check_kind(node: Function) -> None:
    if not all(_is_cache(decorator) for decorator in node.decorator_list):
        raise Unsuitable(DECORATED)
    if isinstance(node, ast.AsyncFunctionDef) or any(map(_yields, node.body)):
        raise Unsuitable(ITERATES)
    if len(node.body) < 2 or node.body[0].end_lineno == node.body[1].lineno:
        raise Unsuitable(NO_BODY)
    if node.lineno == node.body[0].lineno:
        raise Unsuitable(NO_BODY)


def _is_cache(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(named).rpartition(".")[2] in _CACHES


def _yields(node: ast.AST) -> bool:
    """Whether a statement of a function yields, not one of a function within."""
    if isinstance(node, ast.Yield | ast.YieldFrom):
        return True
    inner = isinstance(node, Function | ast.ClassDef | ast.Lambda)
    return not inner and any(map(_yields, ast.iter_child_nodes(node)))


def _imports(module: Module) -> dict[str, str]:
    """What the module has from Python's library, as import lines by the name that they bind."""
    lines: dict[str, str] = {}
    for statement in module.statements:
        node = statement.node
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            for alias in node.names:
                origin = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
                if is_standard(origin) and origin != "__future__" and alias.name != "*":
                    where = f"from {origin} " if isinstance(node, ast.ImportFrom) else ""
                    lines[bound_by(alias)] = where + ast.unparse(ast.Import([alias]))
    return lines


def _likeness(node: Function) -> str:
    return "\n".join([ast.unparse(node.args), *(ast.dump(statement) for statement in node.body[1:])])
