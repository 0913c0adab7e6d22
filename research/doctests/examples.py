"""The examples of a docstring as tests in HumanEval's form."""

import ast
import builtins
import doctest
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from research.doctests.context import is_standard
from research.doctests.modules import Unsuitable, bound_by, bound_names, global_names
from weighted_mtp.labelling.mutants.source_code import parse

UNREADABLE = "its examples are no Python"

Kind = Literal["statement", "value", "text", "printed", "raises"]

_SAME = """def _same(value, wanted):
    if type(value) is type(wanted) is float:
        return value == wanted or math.isclose(value, wanted, rel_tol=1e-9)
    return type(value) is type(wanted) and value == wanted
"""
_NEEDED = {
    "_same(": "import math",
    "doctest.OutputChecker(": "import doctest",
    "io.StringIO(": "import io",
    "contextlib.redirect_stdout(": "import contextlib",
}
_BLANK_LINE = re.compile(r"^<BLANKLINE>\s*?$", re.MULTILINE)
_FLAGS = {"ELLIPSIS": doctest.ELLIPSIS, "NORMALIZE_WHITESPACE": doctest.NORMALIZE_WHITESPACE}


@dataclass(frozen=True)
class Step:
    """One example, as a statement of a test."""

    kind: Kind
    """A statement is run; else the value, what is shown of it, what is printed or an exception is checked."""
    code: str
    """An expression where a value or what is shown of it is checked, statements elsewhere."""
    wanted: str
    """Python for the value or the text; the name of an exception."""
    flags: tuple[str, ...]
    """Names of doctest's flags that hold."""
    calls: bool
    """It names the function, or rests on a step that does."""
    before: tuple[int, ...]
    """The numbers of the steps it rests on, of all those of the docstring."""
    names: frozenset[str]
    """What it takes from neither the function nor the steps before."""


def read_steps(docstring: str, function: str, module: str) -> list[Step]:
    """The examples of a docstring that may be tests, in order.

    Left out: those marked `+SKIP`, those that print what only the function can have printed, those that want an
    exception which is not built in, and those that rest on one left out. Imports from outside Python's library are
    taken away: what they name must be among the names that the function's context defines. `package.function` becomes
    `function`, and a range that is passed to it a list, since only plain data reach a candidate.

    Args:
        docstring: of the function.
        function: its name.
        module: where it is defined.

    Raises:
        Unsuitable: the examples are not written as doctest wants them.
    """
    try:
        examples = doctest.DocTestParser().get_examples(docstring)
    except ValueError:
        raise Unsuitable(UNREADABLE) from None
    reader = _Reader(function, module)
    for example in examples:
        reader.read(example)
    return reader.steps


def checks(steps: Sequence[Step]) -> list[int]:
    """The numbers of the steps that say something about the function."""
    return [number for number, step in enumerate(steps) if step.calls and step.kind != "statement"]


def write_test(function: str, steps: Sequence[Step], chosen: Sequence[int], imports: Mapping[str, str]) -> str:
    """Some checks, with the steps that they rest on, as `check(candidate)`.

    Args:
        function: the name that the examples call it by.
        steps: all of a docstring.
        chosen: the numbers of the checks.
        imports: import lines by the name they bind, for names that the steps take from the module.

    Examples:
        >>> steps = read_steps(">>> double(2)\\nTraceback (most recent call last):\\nTypeError: a", "double", "made")
        >>> print(write_test("double", steps, [0], {}), end="")
        def check(candidate):
            double = candidate
            try:
                double(2)
            except TypeError:
                pass
            else:
                raise AssertionError("no TypeError")
    """
    numbers = sorted(set(chosen).union(*(steps[number].before for number in chosen)))
    lines = [line for number in numbers for line in _lines(steps[number])]
    body = "\n".join(f"    {line}" for line in [f"{function} = candidate", *lines])
    named = sorted({imports[name] for number in numbers for name in steps[number].names if name in imports})
    heads = sorted({*named, *(line for use, line in _NEEDED.items() if use in body)})
    parts = ["".join(f"{line}\n" for line in heads), _SAME if "_same(" in body else ""]
    return "\n\n".join([*filter(None, parts), f"def check(candidate):\n{body}\n"])


def _lines(step: Step) -> list[str]:
    code = step.code.split("\n")
    if step.kind == "value":
        return [f"assert _same({step.code}, {step.wanted})"]
    if step.kind == "text":
        return [_shows(f"repr({step.code})", step)]
    if step.kind == "raises":
        failure = f'raise AssertionError("no {step.wanted}")'
        tried = [f"    {line}" for line in code]
        return ["try:", *tried, f"except {step.wanted}:", "    pass", "else:", f"    {failure}"]
    if step.kind == "printed":
        opening = "with contextlib.redirect_stdout(io.StringIO()) as _printed:"
        return [opening, *(f"    {line}" for line in code), _shows("_printed.getvalue()", step)]
    return code


def _shows(text: str, step: Step) -> str:
    """The assertion that a text is what an example wants, without the end of its last line."""
    if not step.flags:
        return f"assert {text} == {step.wanted}"
    flags = " | ".join(f"doctest.{flag}" for flag in step.flags)
    return f"assert doctest.OutputChecker().check_output({step.wanted}, {text}, {flags})"


class _Reader:
    """Goes through examples in order and knows which step gave a name its value."""

    def __init__(self, function: str, module: str) -> None:
        self._function = function
        self._plainer = _Plainer(function, {module.partition(".")[0]})
        self.steps: list[Step] = []
        self._givers: dict[str, list[int]] = {}
        self._lost: set[str] = set()
        """Names whose value comes from an example that was left out."""

    def read(self, example: doctest.Example) -> None:
        try:
            tree = parse(example.source)
        except (SyntaxError, ValueError):
            raise Unsuitable(UNREADABLE) from None
        tree.body = [node for node in tree.body if not self._is_left_out_import(node)]
        tree = self._plainer.visit(tree)
        if not tree.body:
            return
        needs = global_names(ast.unparse(tree))
        binds = set[str]().union(*map(bound_names, tree.body))
        found = None if needs & self._lost else self._judge(example, tree)
        if found is None or self._function in binds:
            self._lost |= binds - {self._function}
            return
        givers = {number for name in needs for number in self._givers.get(name, [])}
        before = tuple(sorted(givers.union(*(self.steps[number].before for number in givers))))
        calls = self._function in needs or any(self.steps[number].calls for number in before)
        names = frozenset(needs - set(self._givers) - {self._function} - set(vars(builtins)) - binds)
        kind, wanted, flags = found
        expression = isinstance(tree.body[0], ast.Expr) and kind in ("value", "text")
        code = ast.unparse(tree.body[0].value if expression else tree)  # pyright: ignore[reportAttributeAccessIssue]
        self._lost -= binds
        for name in binds:
            self._givers.setdefault(name, []).append(len(self.steps))
        self.steps.append(Step(kind, code, wanted, flags, calls, before, names))

    def _is_left_out_import(self, node: ast.stmt) -> bool:
        """Of another package, of everything, or of the very function."""
        if not isinstance(node, ast.Import | ast.ImportFrom):
            return False
        names = {bound_by(alias) for alias in node.names}
        modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        left_out = bool(names & {"*", self._function}) or not all(map(is_standard, modules))
        if left_out:
            self._plainer.packages |= names
        return left_out

    def _judge(self, example: doctest.Example, tree: ast.Module) -> tuple[Kind, str, tuple[str, ...]] | None:
        """What is checked, against what and by which flags; None: nothing that can be."""
        options = {flag for flag, on in example.options.items() if on}
        if doctest.SKIP in options:
            return None
        if example.exc_msg is not None:
            name = example.exc_msg.partition(":")[0].strip()
            kind = getattr(builtins, name, None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            return ("raises", name, ()) if known else None
        flags = tuple(name for name, flag in _FLAGS.items() if flag in options)
        only = tree.body[0] if len(tree.body) == 1 else None
        if not example.want:
            returns_none = isinstance(only, ast.Expr) and _calls(only.value, self._function)
            return ("value", "None", ()) if returns_none else ("statement", "", ())
        if "..." in example.want and "ELLIPSIS" not in flags:  # packages switch it on for all their doctests
            flags = ("ELLIPSIS", *flags)
        wanted = example.want if flags else _BLANK_LINE.sub("", example.want)
        if any(_calls(node, "print", "pprint") for node in ast.walk(tree)):
            shown = isinstance(only, ast.Expr) and not _calls(only.value, "print", "pprint")
            return None if shown else ("printed", repr(wanted), flags)
        if not isinstance(only, ast.Expr):
            return None
        value = _literal(example.want)
        return ("text", repr(wanted.removesuffix("\n")), flags) if value is None else ("value", value, ())


class _Plainer(ast.NodeTransformer):
    """Calls the function by its own name, and with lists for ranges."""

    def __init__(self, function: str, packages: set[str]) -> None:
        self._function, self.packages = function, packages

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`package.module.function` is `function`."""
        root = ast.unparse(node.value).partition(".")[0]
        if node.attr == self._function and root in self.packages:
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`function(range(3))` is `function(list(range(3)))`."""
        self.generic_visit(node)
        if _calls(node, self._function):
            node.args = [_listed(each) if _calls(each, "range") else each for each in node.args]
        return node


def _listed(node: ast.expr) -> ast.expr:
    return ast.Call(ast.Name("list", ast.Load()), [node], [])


def _calls(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _literal(text: str) -> str | None:
    """The text of a literal, in one line; None: it is none, or holds `...`."""
    try:
        ast.literal_eval(text.strip())
        tree = ast.parse(text.strip(), mode="eval")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(tree)):
        return None
    return ast.unparse(tree)
