"""Intervals over draws and over problems: what a comparison or an evaluation may claim."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 300
"""Of prompts, where a statistic is fitted or ranked anew in each."""
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

    Examples:
        >>> interval = paired_t_interval([0.9, 0.8, 1.0], [0.5, 0.6, 0.6])
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
        (0.333, 0.046, 0.62)
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"got {len(first)} and {len(second)} values: pairs are needed, at least one")
    _check_confidence(confidence)
    differences = np.subtract(first, second)
    mean, n = float(differences.mean()), len(differences)
    if n == 1:
        return Interval(mean, None, None)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * stats.sem(differences))
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of one value a problem, as its pass@k.

    It says how much the mean owes to which problems were asked, given that others of their kind might have been. It is
    narrow for few problems (of some ten, it covers less than it says), and of width 0 where all values are alike.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife"; Efron and Tibshirani 1993, chapter 13.

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
    if x.size == 1:
        return Interval(float(x[0]), None, None)
    found = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _DRAWN_AT_ONCE // x.size),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(x.mean()), float(found.low), float(found.high))


def percentile_interval(found: ArrayLike) -> Interval:
    """The first of the found [1 + R], with the percentiles of the others, what it was in R resamples: holds 95 %.

    Examples:
        >>> percentile_interval([20.0, *np.arange(41.0)])
        Interval(mean=20.0, low=1.0, high=39.0)
    """
    first, *drawn = np.asarray(found, np.float64)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(first), float(low), float(high))


def wilson_interval(right: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a share, right of n: it keeps its width where none or all are right, unlike a bootstrap.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Examples:
        >>> interval = wilson_interval(0, 20)
        >>> interval.mean, round(interval.low, 3), round(interval.high, 3)
        (0.0, 0.0, 0.161)
    """
    _check_confidence(confidence)
    found = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    return Interval(right / n, float(found.low), float(found.high))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number in (0, 1)")


def summarise(results: Sequence[Mapping[str, Any]], baselines: Mapping[str, str]) -> list[dict[str, Any]]:
    """Accuracies of arms over draws (arm, seed, accuracy) -> one row an arm, in the order in which arms first appear:
    arm, mean, std (unbiased; None for one draw), n, and the difference from its baseline, pair by pair over the draws
    that both have (none for an arm that is its own): diff, low, high, baseline."""
    by_arm: dict[str, dict[int, float]] = {}
    for result in results:
        by_arm.setdefault(result["arm"], {})[result["seed"]] = result["accuracy"]
    rows: list[dict[str, Any]] = []
    for arm, draws in by_arm.items():
        values, reference = list(draws.values()), by_arm.get(baselines[arm], {})
        shared = sorted(draws.keys() & reference.keys()) if baselines[arm] != arm else []
        row: dict[str, Any] = {
            "arm": arm,
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
            **dict.fromkeys(("diff", "low", "high")),
            "baseline": baselines[arm],
        }
        if shared:
            interval = paired_t_interval([draws[s] for s in shared], [reference[s] for s in shared])
            row |= {"diff": interval.mean, "low": interval.low, "high": interval.high}
        rows.append(row)
    return rows
