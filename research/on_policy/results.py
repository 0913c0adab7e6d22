"""From finished cells to numbers: solved, paired differences with Holm's correction, and what the critics knew."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from research.corrected import LEVEL, holm, paired_p
from research.on_policy.arms import EVALUATED
from weighted_mtp.evaluation.intervals import Interval, paired_t_interval
from weighted_mtp.evaluation.results import provenance

Results = dict[str, Any]
BASELINE, ORACLE = "right_only", "oracle"
TIE = 0.05
"""Points / 100 that make no difference."""
RESAMPLES = 1_000
"""Of a bootstrap."""


def read_results(out: Path, program: str = "research.on_policy") -> Results:
    """Every finished cell in an output directory, and what made them.

    Raises:
        ValueError: there is none.
    """
    cells = [flat(json.loads(path.read_text())) for path in sorted(out.glob("cells/*/*.json"))]
    if not cells:
        raise ValueError(f"{out} holds no finished cell: run python -m {program} --out {out}")
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
    def identity(self) -> bool:
        """Whether the arm did in every draw as what it is held against, as the same model does."""
        return self.interval.low == self.interval.high == 0

    @property
    def verdict(self) -> str:
        """Better or worse if the corrected test says so, a tie if the interval lies within `TIE`, else undecided, as is
        what has no test: a single draw, and draws that all differ by the same, whose interval has no width."""
        low, high = self.interval.low, self.interval.high
        if self.adjusted is None:
            return "undecided"
        if self.adjusted < LEVEL:
            return "better" if self.interval.mean > 0 else "worse"
        return "tie" if low is not None and high is not None and -TIE <= low <= high <= TIE else "undecided"


def solved(results: Results, metric: str, *, task: str, arm: str, share: int = 25, round_: int = 1) -> dict[int, float]:
    """Draw -> share of test problems solved; draws outside are not among them."""
    return {
        cell["seed"]: cell[metric]
        for cell in results["cells"]
        if (cell["task"], cell["share"], cell["name"], cell["round"]) == (task, share, arm, round_)
        and cell["seed"] < 1_000
        and metric in cell
    }


def cells_named(
    results: Results, name: str, share: int, round_: int = 1, task: str | None = None
) -> list[dict[str, Any]]:
    """Cells of that name, of draws within the experiment."""
    return [
        cell
        for cell in results["cells"]
        if (cell["name"], cell["share"], cell["round"]) == (name, share, round_)
        and cell["seed"] < 1_000
        and task in (None, cell["task"])
    ]


def aucs_within(skills: Sequence[dict[str, Any]]) -> tuple[list[float], str]:
    """AUCs over pairs of one prompt, and of how many draws where some have too few such pairs: theirs is over all."""
    within = [skill["auc"]["mean"] for skill in skills if skill["within_prompts"]]
    return within, "" if len(within) == len(skills) else f" ({len(within)} of {len(skills)} draws)"


def differences(
    results: Results,
    metric: str,
    arms: Sequence[str],
    tasks: Sequence[str],
    *,
    share: int = 25,
    round_: int = 1,
    against: Callable[[str], str] = lambda arm: BASELINE,
) -> list[Difference]:
    """Each arm minus right_only, or what it is held against, by task and over all tasks.

    Over all tasks a draw counts with its mean over them. Draws of which an arm or the baseline is missing are left out,
    over all tasks also those of which a task is missing. Holm's correction is over all that is
    returned.
    """
    found: list[tuple[str, str, list[float], list[float]]] = []
    for arm in arms:
        pairs: dict[str, dict[int, tuple[float, float]]] = {}
        for task in tasks:
            where = {"task": task, "share": share, "round_": round_}
            mine, base = solved(results, metric, arm=arm, **where), solved(results, metric, arm=against(arm), **where)
            pairs[task] = {seed: (mine[seed], base[seed]) for seed in sorted(mine.keys() & base.keys())}
        everywhere = set.intersection(*(set(some) for some in pairs.values()))
        if len(tasks) > 1:
            pairs["all"] = {
                seed: (_mean(pairs[task][seed][0] for task in tasks), _mean(pairs[task][seed][1] for task in tasks))
                for seed in sorted(everywhere)
            }
        found += [(t, arm, [a for a, _ in some.values()], [b for _, b in some.values()]) for t, some in pairs.items()]
    found = [one for one in found if one[2]]
    p_values = [paired_p(first, second) for *_, first, second in found]
    return [
        Difference(task, arm, paired_t_interval(first, second), len(first), p, adjusted)
        for (task, arm, first, second), p, adjusted in zip(found, p_values, holm(p_values), strict=True)
    ]


def over_problems(results: Results, metric: str, arm: str, tasks: Sequence[str], *, share: int = 25) -> Interval | None:
    """The arm minus right_only over all tasks, by a bootstrap that draws draws, and in each draw and task its problems.

    What differs between draws is redrawn with them, so it holds both sources of chance, as the t interval over draws
    does; of few draws a bootstrap is too narrow, by about sqrt((n - 1) / n). None where no draw has both everywhere.

    Source: Davison and Hinkley 1997, "Bootstrap Methods and their Application", section 3.8.
    """
    by_draw: dict[int, list[NDArray[np.float64]]] = {}
    for task in tasks:
        cells = {
            (c["seed"], c["name"]): np.array([int(n) for n in c["right_by_problem"][metric]])
            for c in results["cells"]
            if (c["task"], c["share"], c["round"]) == (task, share, 1) and "right_by_problem" in c
        }
        times = EVALUATED if metric == "sampled" else 1
        for seed in {seed for seed, name in cells if name == arm and (seed, BASELINE) in cells and seed < 1_000}:
            by_draw.setdefault(seed, []).append((cells[seed, arm] - cells[seed, BASELINE]) / times)
    whole = [draw for draw in by_draw.values() if len(draw) == len(tasks)]
    if not whole:
        return None
    rng = np.random.default_rng(0)
    means = [
        np.mean([np.mean([rng.choice(task, len(task)).mean() for task in whole[i]]) for i in picked])
        for picked in rng.integers(len(whole), size=(RESAMPLES, len(whole)))
    ]
    low, high = np.quantile(means, (LEVEL / 2, 1 - LEVEL / 2))
    return Interval(
        float(np.mean([np.mean([task.mean() for task in draw]) for draw in whole])), float(low), float(high)
    )


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
