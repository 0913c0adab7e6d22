"""A completion as program text: where the nodes of its syntax tree stand, in characters."""

import ast
import re
import warnings
from collections.abc import Iterator

_COMMENT = re.compile(r"#[^\n]*")
_OPERATOR = re.compile(r"not\s+in|is\s+not|[^\s()\\]+")
_ANNOTATIONS = ("annotation", "returns", "type_params")


class SourceError(ValueError):
    """Text that is not the program it should be."""


class SourceCode:
    """Prompt, which is never changed, and completion, parsed as one module; a SourceError where they do not compile."""

    def __init__(self, prompt: str, completion: str) -> None:
        self.text, self.border = prompt + completion, len(prompt)
        if re.search(r"\r(?!\n)", self.text):
            raise SourceError("a carriage return ends a line, which editors and Python count differently")
        try:
            self.tree = parse(self.text)
        except SyntaxError as error:
            raise SourceError(f"it does not compile: {error.msg}, line {error.lineno}") from None
        self._lines = self.text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def start(self, node: ast.AST) -> int:
        """The character a node starts with; a decorated function starts with its `def`."""
        return self._offset(node.lineno, node.col_offset)  # pyright: ignore[reportAttributeAccessIssue]

    def end(self, node: ast.AST) -> int:
        """The character after a node."""
        return self._offset(node.end_lineno, node.end_col_offset)  # pyright: ignore[reportAttributeAccessIssue]

    def of(self, node: ast.AST) -> str:
        """The text of a node, without parentheses around it."""
        return self.text[self.start(node) : self.end(node)]

    def operator(self, left: ast.AST, right: ast.AST) -> tuple[int, int]:
        """Start and end of the operator between two operands.

        Examples:
            >>> code = SourceCode("", "(a)  not in b")
            >>> code.operator(code.tree.body[0].value.left, code.tree.body[0].value.comparators[0])
            (5, 11)
        """
        start = self.end(left)
        gap = _COMMENT.sub(lambda comment: " " * len(comment[0]), self.text[start : self.start(right)])
        found = _OPERATOR.search(gap)
        assert found is not None, gap
        return start + found.start(), start + found.end()

    def _offset(self, line: int, column: int) -> int:
        """Lines count from 1; columns, as in `ast`, are bytes of UTF-8."""
        text = self._lines[line - 1]
        characters = column if text.isascii() else len(text.encode()[:column].decode())
        return self._starts[line - 1] + characters


def parse(text: str) -> ast.Module:
    """The syntax tree of a program that compiles, else a SyntaxError: a `break` outside a loop parses, but does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of `x is 1`, which a mutant may well say
        try:
            tree = ast.parse(text)
            compile(tree, "<completion>", "exec")
        except (ValueError, RecursionError, MemoryError) as error:  # a null byte; nesting without end
            raise SyntaxError(str(error)) from None
    return tree


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The children that may be changed: no annotations, no docstrings, no f-strings, whose positions 3.11 gets
    wrong."""
    for name, value in ast.iter_fields(node):
        if name in _ANNOTATIONS:
            continue
        for child in value if isinstance(value, list) else [value]:
            docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not docstring and not isinstance(child, ast.JoinedStr):
                yield child


def descendants(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all that may be changed below it, from the outside inwards."""
    yield node
    for child in children(node):
        yield from descendants(child)
