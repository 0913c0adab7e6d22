"""MBPP's rows in HumanEval's form: the function that the tests call becomes prompt and completion. Source: Austin et
al. 2021, "Program Synthesis with Large Language Models", arXiv 2108.07732, in its two versions, whose columns
differ."""

import ast
import io
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any

from weighted_mtp.labelling.mutants.source_code import SourceError, parse

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")


def is_mbpp(row: Mapping[str, Any]) -> bool:
    """Whether a row has MBPP's columns."""
    return "test_list" in row and "code" in row


def from_mbpp(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with HumanEval's columns.

    The function that the tests call first, of those at the top level of `code`, is the entry point. The prompt holds
    imports, classes, assignments and other functions of `code`, then the head of the function, with `text` (or
    `prompt`) as its docstring; the reference solution is its body. The test is `test_setup_code` (or `test_imports`),
    then `check`, which makes the assertions of `test_list`.

    Other statements of `code`, such as a call that prints, are left out. A SourceError says why a row cannot be put in
    this form.
    """
    text = _text(row, "text" if row.get("text") is not None else "prompt")
    code, tests = _text(row, "code"), _texts(row, "test_list")
    module = _parsed("code", code)
    function = _called(module, [_parsed("a test", test) for test in tests])
    head, body = _head_and_body(code, function)
    before = [_lines(code, node) for node in module.body if _is_context(node, function)]
    setup = [_text(row, "test_setup_code")] if row.get("test_setup_code") else _texts(row, "test_imports")
    return {
        "task_id": f"MBPP/{row.get('task_id')}",
        "prompt": "".join(f"{part}\n\n" for part in before) + head + _docstring(text, _indent(body)),
        "canonical_solution": body,
        "test": "\n".join([*setup, "", "def check(candidate):", *(textwrap.indent(t, "    ") for t in tests), ""]),
        "entry_point": function.name,
    }


def _text(row: Mapping[str, Any], name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str) or not text.strip():
        raise SourceError(f"no `{name}`, which must be text")
    return text.replace("\r\n", "\n")  # as MBPP's files have it


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    texts = row.get(name) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SourceError(f"`{name}` must be a list of texts")
    if name == "test_list" and not texts:
        raise SourceError("`test_list` is empty")
    return [text.replace("\r\n", "\n") for text in texts]


def _parsed(name: str, text: str) -> ast.Module:
    try:
        return parse(text)
    except SyntaxError as error:
        raise SourceError(f"{name} does not compile: {error.msg}, line {error.lineno}") from None


def _called(module: ast.Module, tests: Sequence[ast.Module]) -> ast.FunctionDef:
    """The function that the first test calls first, in reading order; where it is defined twice, the last holds."""
    defined = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    calls = [node.func for test in tests for node in ast.walk(test) if isinstance(node, ast.Call)]
    name = next((func.id for func in calls if isinstance(func, ast.Name) and func.id in defined), None)
    if name is None:
        raise SourceError("the tests call no top-level function of `code`")
    return defined[name]


def _is_context(node: ast.stmt, function: ast.FunctionDef) -> bool:
    other = not isinstance(node, ast.FunctionDef) or node.name != function.name
    return other and isinstance(node, _DEFINITIONS + _ASSIGNMENTS)


def _lines(code: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(code.split("\n")[first - 1 : node.end_lineno])


def _head_and_body(code: str, function: ast.FunctionDef) -> tuple[str, str]:
    """The function up to the colon of its head, decorators included, and what follows, as lines of their own."""
    text = _lines(code, function)
    row, column = _colon(text)
    lines = text.split("\n")
    head = "\n".join([*lines[: row - 1], lines[row - 1][:column]])
    rest = lines[row - 1][column:].strip()
    same_line = [f"    {rest}"] if rest and not rest.startswith("#") else []
    return f"{head}\n", "\n".join([*same_line, *lines[row:]]) + "\n"


def _colon(text: str) -> tuple[int, int]:
    """Line (from 1) and column after the colon that ends the head of a function: the first one outside brackets."""
    depth, in_head = 0, False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        in_head = in_head or token.string == "def"
        depth += (token.string in _OPENING) - (token.string in _CLOSING)
        if in_head and depth == 0 and token.string == ":":
            return token.end
    raise AssertionError(text)


def _indent(body: str) -> str:
    """The white space before its first statement."""
    lines = (line for line in body.split("\n") if line.strip() and not line.lstrip().startswith("#"))
    first = next(lines)
    return first[: len(first) - len(first.lstrip())]


def _docstring(text: str, indent: str) -> str:
    safe = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'{indent}"""{safe}\n{indent}"""\n'
