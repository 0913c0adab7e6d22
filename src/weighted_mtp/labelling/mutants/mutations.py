"""Mutations of a completion: one small edit each, in the text itself, so that its place is known to the character."""

import ast
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from weighted_mtp.labelling.mutants.operators import OPERATORS, Edit
from weighted_mtp.labelling.mutants.source_code import SourceCode, descendants, parse


@dataclass(frozen=True)
class Mutation:
    """A completion with one edit. The span of a deletion is empty and lies where the text goes on."""

    operator: str
    """A name in OPERATORS."""
    completion: str
    """The completion after the edit: formatting and comments are as they were."""
    span: tuple[int, int]
    """Start and end of the new text, in characters of `completion`."""
    replaced: str
    """What stood there before; empty for an insertion."""

    @property
    def replacement(self) -> str:
        """The new text; empty for a deletion."""
        return self.completion[slice(*self.span)]

    def describe(self) -> str:
        """One line: the operator, and what became what, in shortened form.

        Examples:
            >>> Mutation("comparison", "    return a <= b", (13, 15), "<").describe()
            'comparison: < -> <='
        """
        return f"{self.operator}: {_short(self.replaced)} -> {_short(self.replacement)}".rstrip()


def mutations(prompt: str, completion: str) -> list[Mutation]:
    """Every mutation of a completion, by place; prompt and completion together are a Python program.

    Each compiles, and its syntax tree is neither that of the completion nor that of another mutation. The prompt,
    docstrings, annotations and f-strings are left alone.

    Examples:
        >>> for found in mutations("def f(a, b):\\n", "    return a - b\\n"):
        ...     print(found.operator, repr(found.replaced), repr(found.replacement), found.span)
        variable 'a' 'b' (11, 12)
        operand_order 'a - b' 'b - a' (11, 16)
        arithmetic '-' '+' (13, 14)
        variable 'b' 'a' (15, 16)
    """
    code = SourceCode(prompt, completion)
    found = _Distinct(code)
    taken = [found.take(name, edit) for name, edits in _edits(code).items() for edit in edits]
    return _by_place(taken)


def sample_mutations(prompt: str, completion: str, count: int, seed: str) -> list[Mutation]:
    """At most `count` mutations, spread over operators and places, the same for the same seed (which should hold the
    task's name); by place. Operators take turns, each at a place that was changed least often; only what is chosen is
    compiled. More of them include the fewer. SourceError as `mutations`."""
    code, generator = SourceCode(prompt, completion), random.Random(seed)
    queues = {name: edits for name, edits in _edits(code).items() if edits}
    names = generator.sample(list(queues), len(queues))
    for name in names:
        generator.shuffle(queues[name])
    found, used = _Distinct(code), Counter[int]()
    chosen: list[Mutation] = []
    while queues and len(chosen) < count:
        for name in [name for name in names if name in queues]:
            mutation = _next(name, queues, found, used)
            if mutation and len(chosen) < count:
                chosen.append(mutation)
    return _by_place(chosen)


def _by_place(found: Iterable[Mutation | None]) -> list[Mutation]:
    return sorted(filter(None, found), key=lambda mutation: (mutation.span, mutation.operator))


def _next(name: str, queues: dict[str, list[Edit]], found: "_Distinct", used: Counter[int]) -> Mutation | None:
    """An operator's next mutation; an operator that has none left loses its queue."""
    edits = queues[name]
    while edits:
        edit = min(edits, key=lambda edit: used[edit.start])
        edits.remove(edit)
        mutation = found.take(name, edit)
        if mutation:
            used[edit.start] += 1
            return mutation
    del queues[name]
    return None


def _edits(code: SourceCode) -> dict[str, list[Edit]]:
    """All edits within the completion by operator, each in the order of the code."""
    nodes = list(descendants(code.tree))
    return {
        name: [edit for node in nodes for edit in operator(node, code) if edit.start >= code.border]
        for name, operator in OPERATORS.items()
    }


class _Distinct:
    """Edits to mutations, as far as they compile and their syntax trees are new."""

    def __init__(self, code: SourceCode) -> None:
        self.code, self.seen = code, {ast.dump(code.tree)}

    def take(self, operator: str, edit: Edit) -> Mutation | None:
        text, border = self.code.text, self.code.border
        mutated = text[: edit.start] + edit.new + text[edit.end :]
        try:
            tree = ast.dump(parse(mutated))
        except SyntaxError:
            return None
        if tree in self.seen:
            return None
        self.seen.add(tree)
        start = edit.start - border
        return Mutation(operator, mutated[border:], (start, start + len(edit.new)), text[edit.start : edit.end])


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 40 else f"{words[:37]}..."
