"""Wrong variables: which other variables of a function could have been read at each place."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weighted_mtp.labelling.mutants.source_code import SourceCode, children, descendants

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_NOT_VARIABLES = ("self", "cls", "_")


def misread_variables(function: _Function, code: SourceCode) -> Iterator[tuple[ast.Name, str]]:
    """For each place where the function reads a variable, the variables that could be read there by mistake.

    Such a variable is bound above that place, and one role is common to both somewhere in the function, as being
    indexed, an index, an operand: nobody writes a list for its index. What a nested function or class reads is its own;
    a name that is called is no variable; a variable of a comprehension or lambda can be read inside it only."""
    bound, reads = _bound(function, code), list(_reads(function, frozenset()))
    roles = _roles(function, reads)
    for read in reads:
        name, start = read.node.id, code.start(read.node)
        names = dict.fromkeys([*(n for n, place in bound.items() if place <= start), *sorted(read.inner)])
        for other in names if name in names else ():
            if other != name and other not in _NOT_VARIABLES and roles[name] & roles[other]:
                yield read.node, other


@dataclass(frozen=True)
class _Read:
    """A place where a variable is read."""

    node: ast.Name
    inner: frozenset[str]
    """Variables of the comprehensions and lambdas around it."""
    role: str


def _roles(function: _Function, reads: Sequence[_Read]) -> dict[str, set[str]]:
    """What each variable is used as; a parameter's annotation is a role too."""
    roles: dict[str, set[str]] = defaultdict(set)
    for read in reads:
        roles[read.node.id].add(read.role)
    for node in _own(function):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            roles[node.target.id].add("operand")
    for parameter in _parameters(function.args):
        if parameter.annotation is not None:
            roles[parameter.arg].add(ast.unparse(parameter.annotation))
    return roles


def _role(parent: ast.AST, name: ast.Name) -> str:
    match parent:
        case ast.Call():
            return f"argument of {ast.unparse(parent.func)}"
        case ast.Attribute():
            return f"owner of {parent.attr}"
        case ast.Subscript():
            return "indexed" if name is parent.value else "index"
        case ast.Slice():
            return "index"
        case ast.For() | ast.comprehension():
            return "iterated"
        case ast.Compare(ops=[*_, ast.In() | ast.NotIn()]) if name is parent.comparators[-1]:
            return "container"
        case ast.BinOp() | ast.AugAssign() | ast.Compare() | ast.UnaryOp():
            return "operand"
    return type(parent).__name__


def _bound(function: _Function, code: SourceCode) -> dict[str, int]:
    """Each variable of the function, and the character from which on it has a value."""
    bound = {parameter.arg: code.start(function) for parameter in _parameters(function.args)}
    for node in _own(function):
        if isinstance(node, ast.Assign):
            targets, place = node.targets, code.end(node)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            targets, place = [node.target], code.end(node)
        elif isinstance(node, ast.For | ast.AsyncFor):
            targets, place = [node.target], code.end(node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, place = [node.optional_vars], code.end(node.optional_vars)
        else:
            continue
        for name in (name for target in targets for name in _stored(target)):
            bound[name] = min(place, bound.get(name, place))
    return bound


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What lies in a function itself, not in functions and classes within it."""
    for child in children(node):
        yield child
        if not isinstance(child, _Function | ast.ClassDef | ast.Lambda):
            yield from _own(child)


def _reads(node: ast.AST, inner: frozenset[str]) -> Iterator[_Read]:
    for child in children(node):
        names = inner
        called = isinstance(node, ast.Call) and child is node.func and isinstance(child, ast.Name)
        if called or isinstance(child, _Function | ast.ClassDef):
            continue
        if isinstance(child, _COMPREHENSIONS):
            names |= {name for generator in child.generators for name in _stored(generator.target)}
        if isinstance(child, ast.Lambda):
            names |= {parameter.arg for parameter in _parameters(child.args)}
        if isinstance(node, ast.comprehension) and child is node.iter:
            names -= set(_stored(node.target))
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
            yield _Read(child, names, _role(node, child))
        yield from _reads(child, names)


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*every, *(argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None)]


def _stored(target: ast.AST) -> list[str]:
    return [node.id for node in descendants(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
