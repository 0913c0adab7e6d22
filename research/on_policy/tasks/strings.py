"""Strings: a word of six letters, reversed, rotated, its ends swapped, its letters moved on, one after the other.

An error is a letter of the wrong place or a wrong successor, and is carried along to the end.
"""

import random

from research.on_policy.tasks.task import Task

LETTERS = "abcdefghij"
SIZE, STEPS = 6, 3
WIDTH = SIZE + 1
OPERATIONS = {
    "r": lambda word: word[::-1],
    "<": lambda word: word[1:] + word[:1],
    "x": lambda word: word[-1] + word[1:-1] + word[0],
    "+": lambda word: "".join(LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)] for letter in word),
}


def _problem(rng: random.Random) -> str:
    word = "".join(rng.choices(LETTERS, k=SIZE))
    return f"{word}|{''.join(rng.choices(list(OPERATIONS), k=STEPS))}:"


def _right_next(prompt: str, written: str) -> str | None:
    step, place = divmod(len(written), WIDTH)
    if place == SIZE:
        return ";"
    word = written[(step - 1) * WIDTH :][:SIZE] if step else prompt[:SIZE]
    return OPERATIONS[prompt[SIZE + 1 + step]](word)[place] if set(word) <= set(LETTERS) else None


STRINGS = Task(
    "strings", f"{LETTERS}r<x+|;:", _problem, _right_next, STEPS * WIDTH - 1, lambda completion: completion[-WIDTH:]
)
"""`abcdef|r<:` -> `fedcba;edcbaf`."""
