"""Arithmetic: a chain of sums, differences and products mod 100, its carries within a step.

An error is a fact that is not known (of 2,400), and every later step goes on from it.
"""

import random

from research.on_policy.tasks.task import Task

STEPS = 3
WIDTH = 8  # 47*3=41;


def _problem(rng: random.Random) -> str:
    steps = (rng.choice("+-") + str(rng.randrange(2, 10)) for _ in range(STEPS))
    return f"{rng.randrange(100):02d}{''.join(steps)}:"


def _right_next(prompt: str, written: str) -> str | None:
    """A step's result is that of the term as it is written."""
    step, place = divmod(len(written), WIDTH)
    term = written[step * WIDTH :]
    if place < 5:
        start = prompt[:2] if step == 0 else written[-place - 3 : -place - 1] if place else written[-3:-1]
        return f"{start}{prompt[2 + 2 * step : 4 + 2 * step]}="[place] if start.isdigit() else None
    if place == 7:
        return ";"
    left, sign, right = term[:2], term[2], term[3]
    if not (left.isdigit() and right.isdigit() and sign in "+-*"):
        return None
    a, b = int(left), int(right)
    return f"{(a + b if sign == '+' else a - b if sign == '-' else a * b) % 100:02d}"[place - 5]


ARITHMETIC = Task(
    "arithmetic", "0123456789+-*=;:", _problem, _right_next, STEPS * WIDTH - 1, lambda completion: completion[-3:]
)
"""`47*3+8:` -> `47*3=41;41+8=49`."""
