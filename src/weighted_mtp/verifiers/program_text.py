"""The program in a completion: what a chat model writes around its code is no part of it."""

import ast
import builtins
import functools
import importlib
import keyword
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_BARE_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*$", re.MULTILINE)
_PROSE = re.compile(r"([^\W\d_][\w'’-]*)(?:[,:]?[ \t]+\S|[:.!]?\s*$)")
_PARAGRAPHS = 20  # that are tried as the first one in words
_MODULES = ("collections", "typing", "math", "heapq", "bisect", "itertools", "functools")
_FUTURE = re.compile(r"^from __future__ import .*\n", re.MULTILINE)  # nothing may stand before these
_NAMED = ast.Name, ast.Attribute, ast.Call, ast.Subscript
_DEFINITIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
_PYTHON = re.compile(r"\{?\.?(?:python3?|py3?|ipython3?)?\}?", re.IGNORECASE)

_ONE_AT_A_TIME = threading.Lock()
"""CPython counts the depth of a tree in the interpreter: ast.parse in two threads ends in a SystemError now and then
(github.com/python/cpython/issues/106905)."""


def program_of(prompt: str, completion: str, entry_point: str) -> str:
    """The text of the program that a completion gives, or makes of its prompt.

    Without a fence (three or more of ` or ~ on a line of their own) it is `prompt + completion`, without a paragraph of
    words and all behind it where that is no program. Of fenced blocks in Python, or in no named language, the last one
    that defines the entry point (a function, or a method, dotted or of an instance: `Solution().add`) counts, or else
    the last one (in Python, where one says so); one that nothing closes goes on to the end. A block that defines the
    entry point is the program, behind the prompt's other functions and classes, and those of its complete statements
    whose names these use; a method without its class takes the place of the one that the prompt begins. Any other block
    goes on where the prompt stops, indented as that needs.

    Examples:
        >>> program_of("def one():", "So:\\n```python\\nreturn 1\\n```\\nIt returns 1.", "one")
        'def one():\\n    return 1\\n'
    """
    warnings.filterwarnings("ignore", module="<completion>")  # of escapes that are none
    outer, method = _outer(entry_point), entry_point.rpartition(".")[2].partition("(")[0].strip()
    shown, opened = _blocks(prompt)
    given = shown[-1][1] if shown else prompt
    completion = _without_prose(given, completion)
    begun = completion[: bare.start()] if (bare := _BARE_FENCE.search(completion)) else ""
    if (
        begun.strip()
        and not _blocks(begun)[1]
        and (begun.lstrip("\r\n")[:1] in " \t" or outer in _bound(begun))
        and _compiles(given + begun)
    ):
        return given + begun  # a base model went on with the prompt, and closed a fence that nothing opened
    fenced, _ = _blocks(completion, opened)
    if not fenced and (_compiles(prompt + completion) or outer not in _bound(completion) | _methods(completion)):
        return prompt + completion
    blocks = [code for _, code in fenced] or [completion]
    named = [code for language, code in fenced if language]
    whole = [block for block in blocks if outer in _bound(block)] or [b for b in blocks if outer in _methods(b)]
    methods = [block for block in blocks if method in _bound(textwrap.dedent(block))]
    code = (whole or methods or named or blocks)[-1]
    head = re.search(rf"^([ \t]*)(?:async[ \t]+)?def[ \t]+{re.escape(method)}\b", given, re.M)
    if whole and not (head and head[1] and re.search(rf"^def {re.escape(outer)}\(self\b", code, re.M)):
        program = _needed(given, code, outer) + code
        return "".join(_FUTURE.findall(program)) + _FUTURE.sub("", program)
    if methods and head:
        return given[: head.start()] + textwrap.indent(textwrap.dedent(code), head[1])
    return next(filter(_compiles, _continued(given, code)), given + code)


def _without_prose(prompt: str, completion: str) -> str:
    """Code that no fence ends up to the blank line behind which words begin, if it is a program only so."""
    lines = completion.splitlines(keepends=True)
    fenced = any(_FENCE.match(line.rstrip("\r\n")) for line in lines)
    if fenced or _compiles(prompt + completion) or _compiles(completion):
        return completion
    said = [i for i, line in enumerate(lines) if i and not lines[i - 1].strip() and _is_prose(line)]
    heads = ("".join(lines[:i]) for i in said[:_PARAGRAPHS])
    return next((head for head in heads if head.strip() and _compiles(prompt + head)), completion)


def _is_prose(line: str) -> bool:
    found = _PROSE.match(line)
    return found is not None and not keyword.iskeyword(found[1]) and not _compiles(line)


def with_provided(program: str, entry_point: str) -> str:
    """The program behind the imports that LeetCode provides to a `Solution`, of names that it uses and lacks."""
    tree = _parsed(program) if _outer(entry_point) == "Solution" else None
    if tree is None:
        return program
    lines = sorted({_provided()[name] for name in _used(tree) - _bound(program) if name in _provided()})
    future = "".join(_FUTURE.findall(program))
    return f"{future}{'; '.join(lines)}\n{_FUTURE.sub('', program)}" if lines else program


@functools.cache
def _provided() -> dict[str, str]:
    """Names that are there on LeetCode, and how each is imported."""
    found = {module: f"import {module}" for module in (*_MODULES, "operator", "random", "re", "string")}
    for module in _MODULES:
        there = importlib.import_module(module)
        for name in getattr(there, "__all__", dir(there)):
            if not name.startswith("_") and not hasattr(builtins, name):
                found.setdefault(name, f"from {module} import {name}")
    return found


def is_defined(program: str, entry_point: str) -> bool:
    """Whether a program defines what an entry point begins with, or a method of that name."""
    return _outer(entry_point) in _bound(program) | _methods(program)


def names_something(entry_point: str) -> bool:
    """Whether it is a name, or something of it: `f`, `Solution.f`, `Solution().f`."""
    body = getattr(_parsed(entry_point.strip()), "body", ())
    return [type(getattr(node, "value", node)) for node in body] in [[kind] for kind in _NAMED]


def _outer(entry_point: str) -> str:
    return re.split(r"[.(]", entry_point)[0].strip()


def _blocks(text: str, fence: str = "") -> tuple[list[tuple[str, str]], str]:
    """Language and code of each fenced block in Python or in none, and the fence open at the end; `fence`: before."""
    language, lines, blocks = "", [], []
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line.rstrip("\r\n"))
        if not found or (fence and (found[2].strip() or not found[1].startswith(fence))):
            lines.append(line)
            continue
        if fence:
            blocks.append((language, "".join(lines)))
        fence, language, lines = "" if fence else found[1], found[2].strip(), []
    if fence:
        blocks.append((language, "".join(lines)))
    python = [(named, code) for named, code in blocks if _PYTHON.fullmatch(named.split(" ")[0]) and code.strip()]
    return python, fence


def _parsed(code: str) -> ast.Module | None:
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError), _ONE_AT_A_TIME:
        return ast.parse(code, "<completion>")
    return None


def _compiles(code: str) -> bool:
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return bool(compile(code, "<completion>", "exec", dont_inherit=True))
    return False


def _bound(code: str) -> set[str]:
    """What the statements of a program define, import or assign; nothing where it is no program."""
    tree = _parsed(code)
    return {name for statement in tree.body for name in _names_of(statement)} if tree else set()


def _methods(code: str) -> set[str]:
    classes = [node for node in getattr(_parsed(code), "body", ()) if isinstance(node, ast.ClassDef)]
    return {name for node in classes for statement in node.body for name in _names_of(statement)}


def _names_of(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _needed(prompt: str, code: str, outer: str) -> str:
    """Of the prompt's complete part what the code, or one of these, uses and lacks; all functions and classes too."""
    lines = prompt.splitlines(keepends=True)
    trees = (_parsed("".join(lines[:count])) for count in range(len(lines), 0, -1))
    head = next((tree for tree in trees if tree), ast.Module([], []))
    taken = _bound(code) | {outer}
    missing = _used(_parsed(code)) - taken
    kept = []
    for statement in reversed(head.body):
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        crosses = isinstance(statement, _DEFINITIONS) and statement.name not in taken
        if future or crosses or not {*missing, "*"}.isdisjoint(_names_of(statement)):
            kept.append(statement)
            missing |= _used(statement)
    return "".join(f"{ast.unparse(statement)}\n" for statement in reversed(kept))


def _used(tree: ast.AST | None) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if tree else set()


def _continued(prompt: str, code: str) -> Iterator[str]:
    """The prompt with the code behind it, indented as the body of its last function, and as it is."""
    as_it_is = (prompt if prompt.endswith("\n") or not prompt else prompt + "\n") + code
    if code.lstrip("\r\n")[:1] in " \t":
        yield as_it_is
    heads = re.findall(r"^([ \t]*)(?:async[ \t]+)?def\b", prompt, re.MULTILINE)
    last = re.match(r"[ \t]*", (prompt.rstrip().splitlines() or [""])[-1])
    for indent in [last[0] if last and len(last[0]) > len(head) else head + "    " for head in heads[-1:]]:
        yield f"{prompt.rstrip()}\n{textwrap.indent(textwrap.dedent(code), indent)}"
        yield f"{prompt.rstrip()}\n{indent}{code.lstrip()}"
    yield as_it_is
