"""Accuracies of arms over draws -> one row an arm: mean, spread, paired difference to the baseline."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from weighted_mtp.evaluation.intervals import paired_t_interval


def summarise(results: Sequence[Mapping[str, Any]], baselines: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row an arm, in the order in which arms first appear.

    Args:
        results: arm, seed and accuracy of every finished run.
        baselines: the arm that each arm's differences are taken from, pair by pair over the draws that both have; an
            arm that is its own baseline has no difference.

    Returns:
        rows of arm, mean, std (unbiased; None for one draw), n, diff, low, high, baseline.
    """
    by_arm: dict[str, dict[int, float]] = {}
    for result in results:
        by_arm.setdefault(result["arm"], {})[result["seed"]] = result["accuracy"]
    rows: list[dict[str, Any]] = []
    for arm, draws in by_arm.items():
        values = list(draws.values())
        row: dict[str, Any] = {
            "arm": arm,
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
            "diff": None,
            "low": None,
            "high": None,
            "baseline": baselines[arm],
        }
        shared = sorted(draws.keys() & by_arm.get(baselines[arm], {}).keys())
        if baselines[arm] != arm and shared:
            reference = by_arm[baselines[arm]]
            interval = paired_t_interval([draws[s] for s in shared], [reference[s] for s in shared])
            row |= {"diff": interval.mean, "low": interval.low, "high": interval.high}
        rows.append(row)
    return rows
