"""What `worker.py` does with math-verify: whether an answer in LaTeX, or in plain text, is one of the right ones.

Its own limits of time raise an exception in the middle of whatever runs, and none is set: the worker keeps the time.
"""

from __future__ import annotations

import functools
import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WARM = (r"\frac{1}{2}", r"(1, -2]\cup\{x^2, \sqrt[3]{5}\pi\}", r"x\le 2y+3", r"\begin{pmatrix}1\\2\end{pmatrix}", "3!")
"""What most answers consist of: the parser learns to read it once, and not in every fork."""

SMALL = 1e-4


def load() -> dict[str, Any]:
    """Imports it, and warms it up."""
    logging.disable()
    for text in WARM:
        score({"golds": [f"${text}$"], "targets": [rf"\boxed{{{text}}}"]})
    read.cache_clear()
    return {}


def score(job: dict[str, Any]) -> float:
    """1 where one of the `targets` is equal to one of the `golds`, 0 where none is, -1 where no gold can be read."""
    golds = [found for gold in job["golds"] if (found := read(gold))]
    if not golds:
        return -1.0
    targets = [found for target in job["targets"] if (found := read(target))]
    return float(any(equal(gold, target) for gold in golds for target in targets))


def equal(gold: list[Any], target: list[Any]) -> bool:
    """math-verify's verdict, which rounds to six decimals, but for numbers next to nothing and infinite ones."""
    from math_verify import verify

    pair = gold[0], target[0]
    if all(getattr(number, "is_infinite", False) and number.is_extended_real for number in pair):
        return bool(pair[0] == pair[1])
    if all(getattr(number, "is_number", False) and number.is_finite for number in pair):
        right, given = (complex(number.evalf()) for number in pair)
        if abs(right) < SMALL and abs(given) < SMALL:
            return (
                bool(right == given or pair[0] == pair[1] or abs(right / given - 1) < SMALL) if given else pair[0] == 0
            )
    return verify(gold, target, timeout_seconds=0)  # no limit


@functools.lru_cache(maxsize=100)
def read(text: str) -> list[Any]:
    """What a text gives as its answer."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    configs = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    return parse(text, configs, parsing_timeout=0)  # no limit
