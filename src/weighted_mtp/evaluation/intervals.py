"""Intervals over seeds: what a comparison of arms may claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided interval; low and high are None where a single value gives none."""

    mean: float
    low: float | None
    high: float | None


def paired_t_interval(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Interval:
    """Interval of the mean paired difference first - second, by Student's t.

        d_i = first_i - second_i,   mean(d) +- t_{n-1, (1+confidence)/2} * std(d) / sqrt(n)

    Pairing by draw removes what both arms share: data, initialisation, batch order, test prompts.

    Source: Student 1908, "The probable error of a mean".

    Args:
        first: one value a draw.
        second: the other arm's values of the same draws, in the same order.
        confidence: coverage in (0, 1).

    Raises:
        ValueError: different lengths, no value, or a confidence outside (0, 1).

    Examples:
        >>> interval = paired_t_interval([0.9, 0.8, 1.0], [0.5, 0.6, 0.6])
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
        (0.333, 0.046, 0.62)
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"got {len(first)} and {len(second)} values: pairs are needed, at least one")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number in (0, 1)")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    if n == 1:
        return Interval(mean, None, None)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half)
