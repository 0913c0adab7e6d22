"""The numbers of a study: pure functions from its `results.json`, read as a dict, to what its report shows.

A study may be cut short or small: whatever was not run is missing from what these functions return.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from research.corrected import LEVEL
from weighted_mtp.demo.page.content import Accuracy, SummaryRow
from weighted_mtp.evaluation.calibration import ReliabilityBin

Results = Mapping[str, Any]
Outcome = Literal["wins", "ties", "undecided", "loses", "single draw"]
Axis = Literal["share_right", "n_traces"]

AXES: tuple[Axis, ...] = ("share_right", "n_traces")
MAIN = "low_success"  # the setting in which every arm ran; both lines pass through it
TIE = 0.05  # of accuracy: a difference whose interval lies within it matters to nobody
_PREFIXES: dict[Axis, str] = {"share_right": "share_", "n_traces": "n_"}


@dataclass(frozen=True)
class Point:
    """One arm in one setting: the mean over draws, the lowest and the highest draw, fractions in [0, 1]."""

    x: float
    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Paired difference `first - second` over the draws of one setting, with its 95 % t interval.

    `adjusted` is the p value of the paired t test by Holm's correction over the comparisons of its family.
    """

    setting: str
    first: str
    second: str
    diff: float
    low: float | None
    high: float | None
    n: int
    p: float | None
    adjusted: float | None

    @property
    def verdict(self) -> Outcome:
        """What the corrected test says of `first`, of which there is none where all draws differ alike; a tie where the
        interval lies within `TIE`, else undecided."""
        if self.low is None or self.high is None:
            return "single draw"
        if self.adjusted is not None and self.adjusted < LEVEL:
            return "wins" if self.diff > 0 else "loses"
        return "ties" if max(-self.low, self.high) <= TIE else "undecided"


def settings_along(results: Results, axis: Axis) -> list[str]:
    """Settings that differ from the main one only along `axis`, the main one among them, in order."""
    known, run = results["meta"]["settings"], {entry["setting"] for entry in results["arms"]}
    names = [name for name in known if name == MAIN or name.startswith(_PREFIXES[axis])]
    return sorted((name for name in names if name in run), key=lambda name: known[name][axis])


def lines_run(results: Results) -> list[Axis]:
    """The axes along which there are at least two settings."""
    return [axis for axis in AXES if len(settings_along(results, axis)) > 1]


def arms_in(results: Results, settings: Sequence[str]) -> list[str]:
    """Arms with one prediction head that ran in any of `settings`, in the order in which they first appear."""
    return list(
        dict.fromkeys(
            entry["arm"]
            for entry in results["arms"]
            if entry["setting"] in settings and not entry["arm"].startswith("mtp_")
        )
    )


def accuracies(results: Results, setting: str) -> list[Accuracy]:
    """Every draw of every arm in `setting`."""
    return [
        Accuracy(arm=entry["arm"], seed=entry["seed"], accuracy=entry["accuracy"])
        for entry in results["arms"]
        if entry["setting"] == setting
    ]


def mean_accuracy(results: Results, setting: str, arm: str) -> float | None:
    """Mean over draws; None where the arm did not run."""
    draws = [entry["accuracy"] for entry in accuracies(results, setting) if entry["arm"] == arm]
    return fmean(draws) if draws else None


def line(results: Results, axis: Axis, arm: str) -> list[Point]:
    """The arm in every setting along `axis` in which it ran."""
    points: list[Point] = []
    for setting in settings_along(results, axis):
        draws = [entry["accuracy"] for entry in accuracies(results, setting) if entry["arm"] == arm]
        if draws:
            x = results["meta"]["settings"][setting][axis]
            points.append(Point(x, fmean(draws), min(draws), max(draws), len(draws)))
    return points


def summary_rows(results: Results, setting: str, *, several_heads: bool) -> list[SummaryRow]:
    """The rows of `meta.summary` for `setting`: arms with several heads, or those with one."""
    rows = results["meta"].get("summary", {}).get(setting, [])
    return [row for row in rows if row["arm"].startswith("mtp_") == several_heads]


def comparisons(results: Results, setting: str | None = None) -> list[Comparison]:
    """All paired comparisons, or those of one setting."""
    found = [Comparison(**entry) for entry in results["meta"].get("comparisons", [])]
    return [entry for entry in found if setting in (None, entry.setting)]


def comparison(results: Results, setting: str, first: str, second: str) -> Comparison | None:
    """One paired comparison; None where it was not made."""
    return next((c for c in comparisons(results, setting) if (c.first, c.second) == (first, second)), None)


def pairs_along(results: Results, axis: Axis) -> dict[tuple[str, str], list[Comparison]]:
    """Pairs of arms with one head -> their comparisons in the settings along `axis`, in order."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    single = [entry for entry in comparisons(results) if not entry.first.startswith("mtp_")]
    for setting in settings_along(results, axis):
        for entry in single:
            if entry.setting == setting:
                pairs.setdefault((entry.first, entry.second), []).append(entry)
    order = dict.fromkeys((entry.first, entry.second) for entry in single)
    return {pair: pairs[pair] for pair in order if pair in pairs}


def critics(results: Results) -> list[str]:
    """Critics that were measured in the main setting, in the order in which they first appear."""
    return list(dict.fromkeys(row["critic"] for row in _critic_rows(results) if row["setting"] == MAIN))


def critic_draws(results: Results, critic: str, key: str, setting: str = MAIN) -> list[float]:
    """A critic's measure in every draw that has it."""
    rows = [row for row in _critic_rows(results) if (row["critic"], row["setting"]) == (critic, setting)]
    return [row[key] for row in rows if row.get(key) is not None and math.isfinite(row[key])]


def critic_mean(results: Results, critic: str, key: str, setting: str = MAIN) -> float | None:
    """A critic's measure, mean over draws; None where no draw has it."""
    draws = critic_draws(results, critic, key, setting)
    return fmean(draws) if draws else None


def reliability(results: Results, critic: str) -> list[ReliabilityBin]:
    """A critic's bins pooled over draws: means and rates weighted by count, empty bins left out."""
    pooled: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for row in _critic_rows(results):
        if (row["critic"], row["setting"]) == (critic, MAIN):
            for entry in row.get("reliability") or ():
                if entry["count"]:
                    pooled.setdefault((entry["low"], entry["high"]), []).append(entry)
    return [_pool(*edges, pooled[edges]) for edges in sorted(pooled)]


def _pool(low: float, high: float, entries: Sequence[Mapping[str, Any]]) -> ReliabilityBin:
    count = sum(entry["count"] for entry in entries)
    mean, rate = (sum(entry[key] * entry["count"] for entry in entries) / count for key in ("mean", "rate"))
    return ReliabilityBin(low, high, mean, rate, count)


def auc_by_position(results: Results, critic: str) -> list[float | None]:
    """AUC of the outcome at each position, mean over the draws that have it."""
    rows = [row for row in _critic_rows(results) if (row["critic"], row["setting"]) == (critic, MAIN)]
    curves = [row["auc_by_position"] for row in rows if row.get("auc_by_position")]
    means: list[float | None] = []
    for position in range(max(map(len, curves), default=0)):
        there = [curve[position] for curve in curves if position < len(curve)]
        there = [value for value in there if value is not None and math.isfinite(value)]
        means.append(fmean(there) if there else None)
    return means


def mean_over_draws(results: Results, arm: str, key: str) -> float | None:
    """`cpu_seconds`, `steps` or `train_rows` of an arm in the main setting; None where unknown."""
    rows = [entry for entry in results["arms"] if (entry["setting"], entry["arm"]) == (MAIN, arm)]
    known = [entry[key] for entry in rows if entry.get(key) is not None]
    return fmean(known) if known else None


def _critic_rows(results: Results) -> Sequence[Mapping[str, Any]]:
    return results["meta"].get("critics", [])
