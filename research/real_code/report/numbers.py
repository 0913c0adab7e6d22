"""The numbers of the experiment: pure functions from its `results.json`, read as a dict, to what its report shows.

An experiment may be half finished or small: whatever is not there is missing from what these functions return.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from research.corrected import LEVEL, holm
from research.real_code.report.measures import LOCALISATION, OUTCOME, STUDENTS, Comparison, Estimate, Measure

Results = Mapping[str, Any]
Entries = Mapping[str, Mapping[str, Any]]
"""Methods or students by name, each with its measures."""

ALL = "all"
SURPRISAL, UNTRAINED_ALL, OUTCOME_ALL = "surprisal", "surprisal, entropy, position", "surprisal, length"
BESIDE = {SURPRISAL: " + surprisal", UNTRAINED_ALL: " + all untrained"}
"""Untrained signals -> what is put behind a critic's name for the logistic fit of the critic and of these."""
UNTRAINED, BASELINE = "untrained", "uniform"


@dataclass(frozen=True)
class Difference:
    """Paired difference `first - second` of one measure."""

    first: str
    second: str
    measure: Measure
    estimate: Estimate

    @property
    def verdict(self) -> Comparison:
        """What the interval says of `first`."""
        return self.measure.verdict(self.estimate)

    @property
    def p(self) -> float | None:
        """Of no difference, had the bootstrap a normal distribution as wide as the interval; None without a width."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None or low == high:
            return None
        return float(2 * stats.norm.sf(abs(self.estimate.mean) / (high - low) * 2 * stats.norm.ppf(0.975)))


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a row of the tables, added up over its folds."""

    folds: int
    train: float
    test: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.folds + other.folds, self.train + other.train, self.test + other.test)


def sources(results: Results) -> list[str]:
    """Sources that were judged by themselves; none where there is only one."""
    return [name for name in results.get("critics") or results.get("students") or () if name != ALL]


def localisation(results: Results, source: str = ALL) -> Entries:
    """Methods of finding the first wrong token."""
    return results.get("critics", {}).get(source, {}).get("localisation", {})


def outcome(results: Results, source: str = ALL) -> Entries:
    """Methods of telling right from wrong completions."""
    return results.get("critics", {}).get(source, {}).get("outcome", {})


def calibration(results: Results) -> Entries:
    """Calibration of the methods of `outcome` that give a chance of success."""
    return results.get("critics", {}).get(ALL, {}).get("calibration", {})


def students(results: Results) -> Entries:
    """Students, the untrained model among them; empty where no student is finished."""
    found = results.get("students", {}).get(ALL, {}).get("students", {})
    return found if set(found) - {UNTRAINED} else {}


def critics(results: Results) -> list[str]:
    """Critics that were judged."""
    found = localisation(results)
    return [name for name in found if name + BESIDE[SURPRISAL] in found]


def best_critic(results: Results) -> str | None:
    """The critic whose fit with all untrained signals finds the wrong token best, by AUC; None without critics."""
    found = localisation(results)
    fits = [name for name in critics(results) if name + BESIDE[UNTRAINED_ALL] in found]
    return max(fits, key=lambda name: found[name + BESIDE[UNTRAINED_ALL]]["auc"]["mean"], default=None)


def signals(results: Results) -> list[str]:
    """What the untrained model knows by itself, and where a token stands."""
    return [name for name in (SURPRISAL, "entropy", "position", UNTRAINED_ALL) if name in localisation(results)]


def bar_of(method: str) -> str | None:
    """What a method of finding the wrong token is held against.

    A fit that contains a critic has to beat the fit that lacks only that critic, everything else surprisal.
    """
    if method == SURPRISAL:
        return None
    return UNTRAINED_ALL if method.endswith(BESIDE[UNTRAINED_ALL]) else SURPRISAL


def estimate(entries: Entries, name: str, measure: Measure) -> Estimate | None:
    """A measure of a method or student; None where it has none."""
    return Estimate.of(entries.get(name, {}).get(measure.key))


def difference(entries: Entries, first: str, second: str, measure: Measure) -> Difference | None:
    """One paired difference; None where it was not made."""
    found = Estimate.of(entries.get(first, {}).get(f"{measure.key}_over", {}).get(second))
    return None if found is None else Difference(first, second, measure, found)


def differences(entries: Entries, pairs: Iterable[tuple[str, str]], measures: Sequence[Measure]) -> list[Difference]:
    """The paired differences that were made, pair by pair."""
    found = (difference(entries, *pair, measure) for pair in pairs for measure in measures)
    return [entry for entry in found if entry is not None]


def localisation_pairs(results: Results) -> list[tuple[str, str]]:
    """Who is compared with whom at finding the wrong token, critics alone with both bars."""
    names = critics(results)
    return [
        *((name, SURPRISAL) for name in signals(results) if name != SURPRISAL),
        *((name, bar) for bar in BESIDE for name in names),
        *((name + suffix, bar) for bar, suffix in BESIDE.items() for name in names),
    ]


def outcome_pairs(results: Results) -> list[tuple[str, str]]:
    """Critics alone, and beside surprisal and length, against these."""
    names = critics(results)
    alone = [*names, *(f"{name} + {OUTCOME_ALL}" for name in names)]
    return [(name, OUTCOME_ALL) for name in alone if name in outcome(results)]


def controls(results: Results) -> list[str]:
    """Students that others are compared with, the untrained model among them, in their order."""
    found = students(results)
    others = {other for entry in found.values() for other in entry.get("right_nll_over", ())}
    return [name for name in found if name in others]


def student_pairs(results: Results) -> list[tuple[str, str]]:
    """Each student under test against each control; then what tuning does, and controls against the baseline."""
    known = controls(results)
    tested = [name for name in students(results) if name not in known]
    pairs = [(name, control) for name in tested for control in known if control != UNTRAINED]
    pairs += [(name, UNTRAINED) for name in (*tested, BASELINE) if {name, UNTRAINED} <= set(students(results))]
    if BASELINE in known:
        pairs += [(name, BASELINE) for name in known if name not in (BASELINE, UNTRAINED)]
    return pairs


def left_undecided(found: Sequence[Difference]) -> dict[Difference, float]:
    """What has an interval without 0 and yet is undecided by Holm's correction over all of these -> its p value."""
    adjusted = zip(found, holm([entry.p for entry in found]), strict=True)
    return {
        entry: p
        for entry, p in adjusted
        if p is not None and p >= LEVEL and entry.verdict not in ("undecided", "no interval")
    }


def families(results: Results) -> dict[str, list[Difference]]:
    """The differences of each metric of each table, over which Holm's correction is; not those by source and kind."""
    tables = {
        "finding the wrong token": (localisation(results), localisation_pairs(results), LOCALISATION),
        "telling right from wrong": (outcome(results), outcome_pairs(results), OUTCOME),
        "students": (students(results), student_pairs(results), STUDENTS),
    }
    return {
        f"{name}, {measure.name}": differences(entries, pairs, [measure])
        for name, (entries, pairs, measures) in tables.items()
        for measure in measures
    }


def costs(results: Results) -> dict[str, Cost]:
    """What each row of the tables took."""
    return {
        name: Cost(
            len(jobs), sum(job["train_cpu_seconds"] for job in jobs), sum(job["test_cpu_seconds"] for job in jobs)
        )
        for name, jobs in results.get("jobs", {}).items()
    }


def trained_while_judged(results: Results) -> list[str]:
    """Critics without jobs of their own: heads on states of the untrained model, whose cost nobody counted."""
    jobs = results.get("jobs", {})
    return [name for name in critics(results) if f"critics/{name}" not in jobs] if jobs else []
