"""The mutation operators: for a node of the syntax tree, the small edits that would be plausible bugs there. A new one
is a function and a line in `OPERATORS`. Source: DeMillo, Lipton, Sayward 1978, "Hints on Test Data Selection"; those of
mutmut and Cosmic Ray that a programmer would write, and wrong variables, bounds off by one and forgotten parts."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from weighted_mtp.labelling.mutants.source_code import SourceCode, descendants
from weighted_mtp.labelling.mutants.wrong_variables import misread_variables

# What is easily written for what: a new entry here is a new mutation.
# fmt: off
ARITHMETIC = {
    "+": ["-"], "-": ["+"], "*": ["+", "**"], "/": ["//", "*"], "//": ["/", "%"], "%": ["//"], "**": ["*"],
    "&": ["|"], "|": ["&"], "^": ["|"], "<<": [">>"], ">>": ["<<"], "+=": ["-=", "="], "-=": ["+="], "*=": ["+="],
    "/=": ["//="], "//=": ["/=", "%="], "%=": ["//="],
}
COMPARISONS = {
    "<": ["<=", ">"], "<=": ["<", ">="], ">": [">=", "<"], ">=": [">", "<="], "==": ["!="], "!=": ["=="],
    "in": ["not in"], "not in": ["in"], "is": ["is not"], "is not": ["is"],
}
BOOLEANS = {"and": ["or"], "or": ["and"]}
CALLS = {
    "min": ["max"], "max": ["min"], "any": ["all"], "all": ["any"], "ceil": ["floor"], "floor": ["ceil"],
    "round": ["int"], "append": ["extend"], "extend": ["append"], "appendleft": ["append"], "popleft": ["pop"],
    "upper": ["lower"], "lower": ["upper"], "isupper": ["islower"], "islower": ["isupper"], "isdigit": ["isalpha"],
    "isalpha": ["isalnum"], "isalnum": ["isalpha"], "startswith": ["endswith"], "endswith": ["startswith"],
    "strip": ["lstrip", "rstrip"], "lstrip": ["rstrip"], "rstrip": ["lstrip"], "find": ["rfind"], "rfind": ["find"],
    "index": ["rindex"], "keys": ["values"], "values": ["keys"], "items": ["keys"], "union": ["intersection"],
    "intersection": ["union"],
}
# fmt: on
FORGETTABLE = ("abs", "float", "int", "list", "reversed", "round", "set", "sorted", "str", "tuple")
"""Functions of one argument that code often runs without."""


@dataclass(frozen=True)
class Edit:
    """Characters `start` to `end` of the code are replaced by `new`; an insertion replaces nothing."""

    start: int
    end: int
    new: str


_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant)
_COLLECTIONS = (ast.JoinedStr, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp)
_SUMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_LEAVES = (ast.Return, ast.Continue, ast.Break, ast.Raise)
_PLAIN_STRING = re.compile(r"""(['"])((?:(?!\1)[^\\\n])*)\1""")
_NUMBER = re.compile(r"\d+(\.\d+)?")


def arithmetic(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """Another arithmetic operator, also in `x += 1`; not where text or lists are joined."""
    if isinstance(node, ast.BinOp) and not any(map(_is_collection, (node.left, node.right))):
        yield from _exchanged(code, node.left, node.right, ARITHMETIC)
    if isinstance(node, ast.AugAssign) and not _is_collection(node.value):
        yield from _exchanged(code, node.target, node.value, ARITHMETIC)


def comparison(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """Another comparison."""
    if isinstance(node, ast.Compare):
        for left, right in pairwise([node.left, *node.comparators]):
            yield from _exchanged(code, left, right, COMPARISONS)


def boolean(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """`and` for `or`, and the other way round."""
    if isinstance(node, ast.BoolOp):
        for left, right in pairwise(node.values):
            yield from _exchanged(code, left, right, BOOLEANS)


def forgotten_condition(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """One part of `a and b` or `a or b` is missing: the last, or one that another follows."""
    if isinstance(node, ast.BoolOp):
        for part, following in pairwise(node.values):
            yield Edit(code.start(part), code.start(following), "")
        yield Edit(code.end(node.values[-2]), code.end(node.values[-1]), "")


def negation(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A `not` is missing, or stands where it should not, in front of a condition without operators."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        start = code.start(node)
        after = re.match(r"not\s*", code.text[start:])
        yield Edit(start, start + len(after[0]) if after else start, "")
    tests: Sequence[ast.AST] = ()
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        tests = [node.test]
    if isinstance(node, ast.comprehension):
        tests = node.ifs
    for test in tests:
        if isinstance(test, _ATOMS) and not isinstance(test, ast.Constant):
            start = code.start(test)
            after_space = code.text[start - 1] == " "  # which tokenizers count to the word that follows it
            yield Edit(start - 1, start - 1, " not") if after_space else Edit(start, start, "not ")


def number(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A number is one more or one less; 0 becomes 1 only."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        text = code.of(node)
        if _NUMBER.fullmatch(text):
            yield Edit(code.start(node), code.end(node), str(Decimal(text) + 1))
            if Decimal(text) >= 1:
                yield Edit(code.start(node), code.end(node), str(Decimal(text) - 1))


def true_false(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """`True` for `False`, and the other way round."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield Edit(code.start(node), code.end(node), str(not node.value))


def string(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A string is empty, in other case, or another string of the program; only those without escapes."""
    found = _PLAIN_STRING.fullmatch(code.of(node)) if _is_string(node) else None
    if found is None:
        return
    quote, content = found.groups()
    others = [code.of(other) for other in descendants(code.tree) if _is_string(other)]
    swapped = content.lower() if content.lower() != content else content.upper()
    for text in dict.fromkeys([quote * 2, quote + swapped + quote, *filter(_PLAIN_STRING.fullmatch, others)]):
        yield Edit(code.start(node), code.end(node), text)


def off_by_one(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A computed index, a bound of a slice or of a `range` is one off; `± 1` that stood there is missing."""
    for bound in _bounds(node):
        if isinstance(bound, ast.BinOp) and isinstance(bound.right, ast.Constant) and bound.right.value == 1:
            if isinstance(bound.op, ast.Add | ast.Sub):
                yield Edit(code.end(bound.left), code.end(bound), "")
        elif _is_count(bound):
            yield Edit(code.end(bound), code.end(bound), " + 1")
            yield Edit(code.end(bound), code.end(bound), " - 1")


def jump(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """`break` for `continue`, and the other way round."""
    if isinstance(node, ast.Break | ast.Continue):
        yield Edit(code.start(node), code.end(node), "continue" if isinstance(node, ast.Break) else "break")


def variable(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """Another variable of the function that is used alike and has a value there."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for read, name in misread_variables(node, code):
            yield Edit(code.start(read), code.end(read), name)


def argument_order(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """Two neighbouring arguments of a call are exchanged."""
    if isinstance(node, ast.Call):
        for left, right in pairwise(node.args):
            if not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                yield _swapped(code, left, right)


def operand_order(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """The operands of `-`, `/`, `//`, `%` or `**` are exchanged."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, _ORDERED) and not _is_collection(node.left):
        atoms = isinstance(node.left, _ATOMS) and isinstance(node.right, _ATOMS)
        yield from [_swapped(code, node.left, node.right)] if atoms else []


def function(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A kindred function or method is called."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        end = code.end(node.func)
        for other in CALLS.get(name, ()):
            yield Edit(end - len(name), end, other)


def forgotten_call(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """`abs(x)` is `x`, `sorted(x)` is `x`."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FORGETTABLE:
            if isinstance(argument, _ATOMS):
                yield Edit(code.start(node), code.end(node), code.of(argument))
            else:  # its parentheses stay
                yield Edit(code.start(node.func), code.end(node.func), "")


def forgotten_keyword(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A keyword argument that another argument precedes is missing, as `key` or `reverse`."""
    if isinstance(node, ast.Call):
        for before, argument in pairwise([*node.args, *node.keywords]):
            if isinstance(argument, ast.keyword) and argument.arg is not None:
                yield Edit(code.end(before), code.end(argument), "")


def forgotten_statement(node: ast.AST, code: SourceCode) -> Iterator[Edit]:
    """A statement is missing: a call, `x += 1`, or an `if` that leaves early; another statement follows it."""
    for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
        for statement, following in pairwise(block if isinstance(block, list) else []):
            between = code.text[code.end(statement) : code.start(following)]
            if _is_forgettable(statement) and not between.strip():
                yield Edit(code.start(statement), code.start(following), "")


OPERATORS: dict[str, Callable[[ast.AST, SourceCode], Iterator[Edit]]] = {
    "arithmetic": arithmetic,
    "comparison": comparison,
    "boolean": boolean,
    "forgotten_condition": forgotten_condition,
    "negation": negation,
    "number": number,
    "true_false": true_false,
    "string": string,
    "off_by_one": off_by_one,
    "jump": jump,
    "variable": variable,
    "argument_order": argument_order,
    "operand_order": operand_order,
    "function": function,
    "forgotten_call": forgotten_call,
    "forgotten_keyword": forgotten_keyword,
    "forgotten_statement": forgotten_statement,
}
"""Every operator by its name, which rows carry."""


def _exchanged(code: SourceCode, left: ast.AST, right: ast.AST, table: dict[str, list[str]]) -> Iterator[Edit]:
    """The operator between two operands, replaced by each of its neighbours in the table."""
    start, end = code.operator(left, right)
    for other in table.get(" ".join(code.text[start:end].split()), ()):
        yield Edit(start, end, other)


def _swapped(code: SourceCode, left: ast.AST, right: ast.AST) -> Edit:
    between = code.text[code.end(left) : code.start(right)]
    return Edit(code.start(left), code.end(right), code.of(right) + between + code.of(left))


def _bounds(node: ast.AST) -> list[ast.expr]:
    """Expressions that count positions: an index, the bounds of a slice, the first two arguments of `range`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return node.args[:2]
    if isinstance(node, ast.Slice):
        return [bound for bound in (node.lower, node.upper) if bound is not None]
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.BinOp):
        return [node.slice]
    return []


def _is_count(node: ast.AST) -> bool:
    """An expression that ` + 1` can follow, other than a number."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, _SUMS)
    return isinstance(node, _ATOMS) and not isinstance(node, ast.Constant)


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_collection(node: ast.AST) -> bool:
    """Text, lists and the like, as far as the code itself says so."""
    if isinstance(node, ast.BinOp):
        return _is_collection(node.left) or _is_collection(node.right)
    return _is_string(node) or isinstance(node, _COLLECTIONS)


def _is_forgettable(statement: ast.AST) -> bool:
    if isinstance(statement, ast.If):
        return not statement.orelse and isinstance(statement.body[-1], _LEAVES)
    call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    return call or isinstance(statement, ast.AugAssign)
