"""The share of a test's statements that hold, while the verdict stays that of running it as it stands.

A unit is a statement of `check` (of the module where there is none), in loops and branches too, that is an assertion,
or an expression, `try` or `with` that calls the candidate. One that raises is noted, and the test goes on; run as it
stands the test would have ended there, so that the first of them decides the verdict. Whatever else raises ends it.
"""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NAME = "_unit_of_the_test"
LONGEST = 500_000
"""Characters of a test that is taken apart, which takes three times as long as compiling it; a longer one is a unit."""


class Units:
    """Counts what passes. `calls`: of the candidate so far; `suppressed`: what a unit may raise; `note`: is told."""

    def __init__(
        self,
        calls: Callable[[], int],
        suppressed: tuple[type[BaseException], ...],
        note: Callable[[BaseException], object],
    ) -> None:
        self._calls, self._suppressed, self._note = calls, suppressed, note
        self.count, self.passed, self.run, self.reached = 0, 0, 0, set[int]()

    def compiled(self, test: str) -> Any:
        """The test's code, in which each unit reports here; a SyntaxError and its like where it is no program."""
        if len(test) > LONGEST:
            return compile(test, "<tests>", "exec", dont_inherit=True)
        tree = ast.parse(test, "<tests>")
        checks = [node for node in tree.body if getattr(node, "name", None) == "check" and hasattr(node, "body")]
        owner: Any = checks[-1] if checks else tree
        owner.body = self._watched(owner.body)
        return compile(ast.fix_missing_locations(tree), "<tests>", "exec", dont_inherit=True)

    def _watched(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [self._one(node) for node in body]

    def _one(self, node: ast.stmt) -> ast.stmt:
        if isinstance(node, ast.For | ast.While | ast.If):
            node.body, node.orelse = self._watched(node.body), self._watched(node.orelse)
            return node
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or not isinstance(node, ast.Assert | ast.Expr | ast.Try | ast.With):
            return node
        given: list[ast.expr] = [ast.Constant(self.count), ast.Constant(isinstance(node, ast.Assert))]
        self.count += 1
        watch = ast.withitem(ast.Call(ast.Name(NAME, ast.Load()), given, []))
        return ast.copy_location(ast.With([watch], [node]), node)

    def __call__(self, number: int, counts: bool) -> Units:
        """What the rewritten test calls around a unit; `counts`: whether or not it calls the candidate."""
        self._now = number, counts, self._calls()
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        number, counts, calls = self._now
        if kind is not None and not issubclass(kind, self._suppressed):
            return False
        if kind is not None or counts or self._calls() > calls:
            self.reached.add(number)
            self.run += 1
            self.passed += kind is None
        if error is not None:
            self._note(error)
        return kind is not None

    def share(self, ended: bool) -> float | None:
        """Of the units that ran; where the test ended early, those that it never came to count as not passed."""
        count = self.run if ended else max(self.run + 1, self.run + self.count - len(self.reached))
        return self.passed / count if count else None
