"""Intervals over draws and over problems: what a comparison or an evaluation may claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_DRAWN_AT_ONCE = 1_000_000  # values: bounds the memory of a bootstrap


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
    _check_confidence(confidence)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    if n == 1:
        return Interval(mean, None, None)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of one value a problem.

        quantiles (1 -+ confidence) / 2 of the means of `resamples` draws of n values, with replacement

    It says how much the mean owes to which problems were asked, given that others of their kind might have been. It is
    narrow for few problems (of some ten, it covers less than it says), and of width 0 where all values are alike.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife"; Efron and Tibshirani 1993, chapter 13.

    Args:
        values: one finite number a problem, as its pass@k.
        confidence: coverage in (0, 1).
        resamples: how many means are drawn, at least 1.
        seed: of the draws; the same values and seed give the same interval.

    Returns:
        Bounds of None where there is a single value.

    Raises:
        ValueError: no value, one that is not finite, or a confidence or number of resamples that makes no sense.

    Examples:
        >>> interval = bootstrap_interval([1.0] * 30 + [0.0] * 70)
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)  # .3 -+ 1.96 sqrt(.21 / 100)
        (0.3, 0.21, 0.39)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"got values of shape {x.shape}: a flat list of finite numbers is needed, at least one")
    _check_confidence(confidence)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}: give at least 1")
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, None, None)
    rng = np.random.default_rng(seed)
    chunk = max(1, _DRAWN_AT_ONCE // x.size)
    means = np.concatenate([
        x[rng.integers(x.size, size=(min(chunk, resamples - start), x.size))].mean(axis=1)
        for start in range(0, resamples, chunk)
    ])  # fmt: skip
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number in (0, 1)")
