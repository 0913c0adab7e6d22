"""Candidate tasks in the order in which the rule takes them: prompts, solutions in steps, a verdict, wrong tokens.

Problems are those of reasoning-gym, with solutions in steps that are ours, and one kind of word problem like GSM8K's.
"""

import operator
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

END = ""
"""The right step where a completion is to end."""
Step = Callable[[str, Sequence[str]], str | None]
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclass(frozen=True)
class Task:
    """A task whose solutions are lines, each of which follows from the prompt and the lines before it."""

    name: str
    about: str
    problems: Callable[[random.Random], Iterator[str]]
    """Prompts, as many as are asked for, some of them twice."""
    step: Step
    """Prompt and the lines written so far -> the right next one; `END`, or None where those cannot be gone on from."""

    def prompts(self, rng: random.Random, n: int) -> list[str]:
        """That many different prompts."""
        found: dict[str, None] = {}
        for prompt in self.problems(rng):
            found[f"{prompt}\n"] = None
            if len(found) == n:
                break
        return list(found)

    def solution(self, prompt: str) -> str:
        """The completion without a wrong token."""
        lines: list[str] = []
        while line := self.step(prompt, lines):
            lines.append(line)
        return "\n".join(lines)

    def verify(self, prompt: str, completion: str) -> bool:
        """Whether the answer is right; a wrong step that a later one heals does not count."""
        return answer(completion) == answer(self.solution(prompt))

    def wrong_characters(self, prompt: str, completion: str) -> list[bool]:
        """Which characters are wrong given the lines before them, as the writer wrote them; the last is the end.

        A line is held against the right one character by character; lines that go on rightly from it are right.
        """
        lines, wrong = completion.split("\n"), list[bool]()
        for i, line in enumerate(lines):
            right = self.step(prompt, lines[:i]) or ""
            more = bool(right and self.step(prompt, [*lines[:i], right]))
            wrong += [line[k] != right[k : k + 1] for k in range(len(line))]
            wrong.append(len(line) < len(right) or more == (i == len(lines) - 1))
        return wrong


def answer(completion: str) -> str:
    """What of a completion the program judges: what its last line says, behind the = where there is one."""
    return completion.split("\n")[-1].split("=")[-1].strip()


def of_reasoning_gym(name: str, **settings: Any) -> Callable[[random.Random], Iterator[str]]:
    """Questions of a task of reasoning-gym."""

    def problems(rng: random.Random) -> Iterator[str]:
        from reasoning_gym import create_dataset

        made: Any = create_dataset(name, seed=rng.randrange(2**31), size=100_000, **settings)
        for i in range(100_000):
            yield made[i]["question"]

    return problems


def _result(line: str) -> int | None:
    """What a step came to, as it is written."""
    found = re.search(r"=(-?\d{1,9})$", line)
    return int(found[1]) if found else None


def _chain(terms: Callable[[str], tuple[int, list[tuple[str, int]]]]) -> Step:
    """Operations one after the other, each on what the one before came to."""

    def step(prompt: str, lines: Sequence[str]) -> str | None:
        first, operations = terms(prompt)
        if len(lines) >= len(operations):
            return END if len(lines) == len(operations) else None
        before = _result(lines[-1]) if lines else first
        sign, number = operations[len(lines)]
        return None if before is None else f"{before}{sign}{number}={OPERATIONS[sign](before, number)}"

    return step


_NAMES = ("Tom", "Ann", "Ben", "Mia", "Sam", "Eva", "Leo", "Zoe")
_THINGS = ("apples", "books", "coins", "cards", "shells", "stamps", "pens", "balls")
_EVENTS: dict[str, Sequence[str]] = {
    "+": ("buys {}", "finds {}", "gets {}", "wins {}"),
    "-": ("loses {}", "sells {}", "gives away {}", "uses {}"),
    "*": ("then has {} times as many",),
}
_SIGNS = {re.compile(event.format(r"(\d+)")): sign for sign, events in _EVENTS.items() for event in events}


def _words(rng: random.Random) -> Iterator[str]:
    while True:
        has = rng.randrange(20, 100)
        told = [f"{rng.choice(_NAMES)} has {has} {rng.choice(_THINGS)}"]
        for sign in rng.choices("+-*", (3, 3, 1), k=2):
            number = rng.randrange(2, 10 if sign == "*" else 50)
            told.append(rng.choice(_EVENTS[sign]).format(number))
            has = OPERATIONS[sign](has, number)
            if has < 0:
                break
        else:
            yield f"{', '.join(told)}. How many now?"


def _words_terms(prompt: str) -> tuple[int, list[tuple[str, int]]]:
    first, *events = prompt.split(", ")
    found = [(sign, m[1]) for event in events for told, sign in _SIGNS.items() if (m := told.match(event))]
    return int(re.findall(r"\d+", first)[0]), [(sign, int(number)) for sign, number in found]


def _sum_terms(prompt: str) -> tuple[int, list[tuple[str, int]]]:
    first, *rest = re.findall(r"[+-]|\d+", prompt)
    return int(first), [(sign, int(number)) for sign, number in zip(rest[::2], rest[1::2], strict=True)]


def _product(prompt: str, lines: Sequence[str]) -> str | None:
    """Tens and ones of the second factor, and their sum."""
    a, b = map(int, re.findall(r"\d+", prompt))
    if len(lines) < 2:
        factor = b % 10 if lines else b - b % 10
        return f"{a}*{factor}={a * factor}"
    tens, ones = map(_result, lines[:2])
    if len(lines) > 2 or tens is None or ones is None:
        return END if len(lines) == 3 else None
    return f"{tens}+{ones}={tens + ones}"


def _divisor(prompt: str, lines: Sequence[str]) -> str | None:
    """Euclid's remainders, and the last that is not 0."""
    if not lines:
        a, b = map(int, re.findall(r"\d+", prompt))
        return f"{a}%{b}={a % b}"
    found = re.fullmatch(r"(\d{1,9})%(\d{1,9})=(\d{1,9})", lines[-1])
    if not found:
        return END if lines[-1].isdigit() else None
    b, remainder = int(found[2]), int(found[3])
    return f"{b}%{remainder}={b % remainder}" if remainder else str(b)


def _backward(prompt: str, lines: Sequence[str]) -> str | None:
    """The letters, the letters backward, and the word of them."""
    if not lines:
        return " ".join(prompt.split()[-1])
    letters = lines[-1].split(" ")
    return (" ".join(letters[::-1]), "".join(letters), END, None)[min(len(lines), 4) - 1]


CANDIDATES = (
    Task("words", "two events of a word problem, like GSM8K's", _words, _chain(_words_terms)),
    Task(
        "chain_sum",
        "reasoning-gym's `chain_sum`, three terms of three digits",
        of_reasoning_gym("chain_sum", min_terms=3, max_terms=3, min_digits=3, max_digits=3),
        _chain(_sum_terms),
    ),
    Task(
        "products",
        "reasoning-gym's `products`, two factors of two digits",
        of_reasoning_gym("products", min_digits=2, max_digits=2),
        _product,
    ),
    Task("gcd", "reasoning-gym's `gcd`, two numbers up to 60", of_reasoning_gym("gcd", max_value=60), _divisor),
    Task(
        "spell_backward",
        "reasoning-gym's `spell_backward`, words of 5 to 7 letters",
        of_reasoning_gym("spell_backward", min_word_len=5, max_word_len=7),
        _backward,
    ),
)
TASKS = {task.name: task for task in CANDIDATES}
