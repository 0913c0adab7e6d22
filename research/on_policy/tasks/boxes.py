"""State tracking: balls in five boxes, whose contents are swapped in pairs; where does each ball end?

The balls are followed one by one, so that an error spoils one ball's way and no other's, and two may heal.
"""

import random

from research.on_policy.tasks.task import Task

BALLS, BOXES, SWAPS = "abc", "12345", 4
WIDTH = SWAPS + 2  # a, a box for each swap, ;


def _problem(rng: random.Random) -> str:
    swaps = ("".join(rng.sample(BOXES, 2)) for _ in range(SWAPS))
    return f"{''.join(rng.sample(BOXES, len(BALLS)))}|{''.join(swaps)}:"


def _right_next(prompt: str, written: str) -> str | None:
    ball, place = divmod(len(written), WIDTH)
    if place == 0:
        return BALLS[ball]
    if place == WIDTH - 1:
        return ";"
    box = prompt[ball] if place == 1 else written[-1]
    first, second = prompt[len(BALLS) - 1 + 2 * place :][:2]
    return {first: second, second: first}.get(box, box) if box in BOXES else None


def _answer(completion: str) -> str:
    return completion[WIDTH - 2 :: WIDTH]


STATES = Task("states", f"{BALLS}{BOXES}|;:", _problem, _right_next, len(BALLS) * WIDTH - 1, _answer)
"""`351|1324...:` -> `a1...;b5...;c3...`: the box of each ball after every swap."""
