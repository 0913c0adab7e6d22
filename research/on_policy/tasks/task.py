"""What a text task is: prompts, and at every place the one right token behind what was written so far."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

END = ""
"""The right token where a completion is to end."""


@dataclass(frozen=True)
class Task:
    """A task of one-character tokens whose every token is right or wrong given the prompt and the tokens before it."""

    name: str
    alphabet: str
    """Every character of prompts and completions."""
    problem: Callable[[random.Random], str]
    """Draws a prompt."""
    right_next: Callable[[str, str], str | None]
    """Prompt and fewer than `length` characters behind it -> the right one there; None where what is written is no such
    text, so that nothing behind it is right."""
    length: int
    """Characters of every solution."""
    answer: Callable[[str], str]
    """What of a completion the program judges."""

    def solution(self, prompt: str) -> str:
        """The completion without a wrong token."""
        written = ""
        while following := self._following(prompt, written):
            written += following
        return written

    def _following(self, prompt: str, written: str) -> str | None:
        if len(written) < self.length:
            return self.right_next(prompt, written)
        return END if len(written) == self.length else None

    def verify(self, prompt: str, completion: str) -> bool:
        """Whether the answer is right; a wrong step that a later one heals does not count."""
        return len(completion) == self.length and self.answer(completion) == self.answer(self.solution(prompt))

    def wrong_tokens(self, prompt: str, completion: str) -> list[bool]:
        """Which tokens are wrong given the ones before them, as the writer wrote them; the last is the end.

        The first True is where the completion leaves the solution. Steps that go on rightly from a wrong one are right.
        """
        places = range(len(completion) + 1)
        return [self._following(prompt, completion[:i]) != (completion[i:] or [END])[0] for i in places]

    def prompts(self, rng: random.Random, n: int, but: Collection[str] = ()) -> list[str]:
        """That many different prompts, none of those given."""
        found: dict[str, None] = {}
        while len(found) < n:
            prompt = self.problem(rng)
            if prompt not in but:
                found[prompt] = None
        return list(found)
