"""From finished cells to numbers: solved, paired differences with Holm's correction, and what the critics knew."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy import stats

from weighted_mtp.evaluation.intervals import Interval, paired_t_interval
from weighted_mtp.evaluation.results import provenance

Results = dict[str, Any]
BASELINE, ORACLE = "right_only", "oracle"
LEVEL = 0.05


def read_results(out: Path) -> Results:
    """Every finished cell in an output directory, and what made them.

    Raises:
        ValueError: there is none.
    """
    cells = [flat(json.loads(path.read_text())) for path in sorted(out.glob("cells/*/*.json"))]
    if not cells:
        raise ValueError(f"{out} holds no finished cell: run python -m research.on_policy --out {out}")
    return {"cells": cells, "meta": dict(provenance())}


def flat(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell with its place: the round counts from 1, and rounds from the second on are of one arm."""
    asked = cell.pop("asked")
    place = {name: asked[name] for name in ("task", "share", "seed", "name")} | {"round": len(asked["lineage"]) + 1}
    if cell.get("fresh_skill"):
        cell["fresh_skill"] = _short(cell["fresh_skill"])
    if cell.get("skill"):
        cell["skill"] = _short(cell["skill"])
    budget = {"budget": asked["budget"]} if asked["name"] == "start" else {}
    if asked["lineage"]:
        place["arm"] = asked["lineage"][-1]
    return place | cell | budget


def _short(skill: dict[str, Any]) -> dict[str, Any]:
    kept = ("verdict", "gate", "auc", "within_prompts", "explained", "slope", "rows", "prompts")
    return {name: skill[name] for name in kept}


class Difference(NamedTuple):
    """An arm against another, paired over draws."""

    task: str
    arm: str
    interval: Interval
    draws: int
    p: float | None
    """Of the paired t test, as it is; None where there are too few draws."""
    adjusted: float | None
    """By Holm's correction over all comparisons of the table."""

    @property
    def verdict(self) -> str:
        """Undecided, unless the corrected test says otherwise."""
        if self.adjusted is None or self.adjusted >= LEVEL:
            return "undecided"
        return "better" if self.interval.mean > 0 else "worse"


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


def solved(results: Results, metric: str, *, task: str, arm: str, share: int = 25, round_: int = 1) -> dict[int, float]:
    """Draw -> share of test problems solved; draws outside are not among them."""
    return {
        cell["seed"]: cell[metric]
        for cell in results["cells"]
        if (cell["task"], cell["share"], cell["name"], cell["round"]) == (task, share, arm, round_)
        and cell["seed"] < 1_000
        and metric in cell
    }


def differences(
    results: Results, metric: str, arms: Sequence[str], tasks: Sequence[str], *, share: int = 25, round_: int = 1
) -> list[Difference]:
    """Each arm minus right_only by task and over all tasks, the latter the mean over tasks of each draw.

    Draws of which an arm or the baseline is missing are left out; over all tasks also those of which a task is missing.
    Holm's correction is over all that is returned.
    """
    found: list[tuple[str, str, list[float], list[float]]] = []
    for arm in arms:
        pairs: dict[str, dict[int, tuple[float, float]]] = {}
        for task in tasks:
            where = {"task": task, "share": share, "round_": round_}
            mine, base = solved(results, metric, arm=arm, **where), solved(results, metric, arm=BASELINE, **where)
            pairs[task] = {seed: (mine[seed], base[seed]) for seed in sorted(mine.keys() & base.keys())}
        everywhere = set.intersection(*(set(some) for some in pairs.values()))
        if len(tasks) > 1:
            pairs["all"] = {
                seed: (_mean(pairs[task][seed][0] for task in tasks), _mean(pairs[task][seed][1] for task in tasks))
                for seed in sorted(everywhere)
            }
        found += [(t, arm, [a for a, _ in some.values()], [b for _, b in some.values()]) for t, some in pairs.items()]
    found = [one for one in found if one[2]]
    p_values = [_p(first, second) for *_, first, second in found]
    return [
        Difference(task, arm, paired_t_interval(first, second), len(first), p, adjusted)
        for (task, arm, first, second), p, adjusted in zip(found, p_values, holm(p_values), strict=True)
    ]


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _p(first: Sequence[float], second: Sequence[float]) -> float | None:
    if len(first) < 2:
        return None
    moved = [a - b for a, b in zip(first, second, strict=True)]
    if max(moved) == min(moved):
        return 1.0 if moved[0] == 0 else 0.0
    tested: Any = stats.ttest_1samp(moved, 0.0)
    return float(tested.pvalue)
