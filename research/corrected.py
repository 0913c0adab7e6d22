"""Many comparisons of few draws: paired t tests, corrected for how many there are."""

import math
from collections.abc import Sequence
from typing import Any

from scipy import stats

LEVEL = 0.05
"""Of a corrected test that decides."""


def paired_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """p value of the paired t test; None of a single draw.

    Where all differences are alike it is 1 if they are 0, which models are that are the same, else None: few shares of
    some hundred problems meet by chance, and the test would call that certainty.
    """
    if len(first) < 2:
        return None
    moved = [a - b for a, b in zip(first, second, strict=True)]
    if math.isclose(max(moved), min(moved), abs_tol=1e-9):
        return None if abs(moved[0]) > 1e-9 else 1.0
    tested: Any = stats.ttest_1samp(moved, 0.0)
    return float(tested.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for the number of tests: the chance of any false alarm stays below the level.

        p_(1) <= ... <= p_(m),   adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j))

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        p_values: None where there was no test, which does not count as one.

    Examples:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted, largest = list[float | None]([None] * len(p_values)), 0.0
    for j, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - j) * p))
        adjusted[i] = largest
    return adjusted
