"""What the rounds came to: solved and pass@k with intervals, paired differences, and when there is nothing to gain."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.evaluation.intervals import Interval, bootstrap_interval
from weighted_mtp.evaluation.results import pass_at_k
from weighted_mtp.improve.plan import evaluation, learning, round_dir, sampling
from weighted_mtp.improve.settings import ImproveConfig
from weighted_mtp.improve.steps import Record

SOLVED = "solved"


@dataclass(frozen=True)
class RoundNumbers:
    """A round whose evaluation is done."""

    number: int
    folder: Path
    measured: Mapping[str, Interval]
    """Solved by greedy decoding, and pass@k."""
    values: Mapping[str, Mapping[int, float]]
    """The same of each problem, by its number."""
    steps: Mapping[str, Record]
    """Record of each step by its name, in their order."""


class Change(NamedTuple):
    """A problem that one round solves and another does not."""

    problem: int
    now: bool
    """Whether it is solved now, and was not before."""
    before_text: Any
    after_text: Any


def read_rounds(config: ImproveConfig) -> list[RoundNumbers]:
    """All rounds whose steps are done, from their folders."""
    found: list[RoundNumbers] = []
    while True:
        number = len(found)
        steps = [sampling(config, number), *learning(config, number)] if number else []
        records = {step.name: step.record() for step in [*steps, evaluation(config, number)]}
        if not all(record.get("finished") for record in records.values()):
            return found
        folder = round_dir(config, number)
        results = json.loads((folder / "evaluation" / "results.json").read_text(encoding="utf-8"))
        measured = {SOLVED: results["exact_match"]} | {f"pass@{k}": x for k, x in results["pass_at_k"].items()}
        intervals = {name: Interval(**interval) for name, interval in measured.items()}
        values = {name: _by_problem(name, results["problems"]) for name in measured}
        found.append(RoundNumbers(number, folder, intervals, values, records))


def _by_problem(name: str, problems: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    if name == SOLVED:
        return {row["problem"]: float(row["greedy"] == "pass") for row in problems}
    return {row["problem"]: pass_at_k(row["n"], row["c"], int(name.partition("@")[2])) for row in problems}


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Interval:
    """Interval, by bootstrap over problems, of the mean difference first - second on the same problems."""
    return bootstrap_interval([first[i] - second[i] for i in second])


def gains(values: Sequence[Mapping[int, float]]) -> list[tuple[int, Interval]]:
    """Of each round after the first: the round that it is measured against, and the paired difference to it. That is
    the last round whose interval lay above 0, at first round 0, so that small gains add up before they count.

    Examples:
        >>> start, better = dict.fromkeys(range(40), 0.0), dict.fromkeys(range(40), 1.0)
        >>> [(against, gain.mean) for against, gain in gains([start, better, better])]
        [(0, 1.0), (1, 0.0)]
    """
    found: list[tuple[int, Interval]] = []
    best = 0
    for number, now in enumerate(values[1:], start=1):
        gain = paired(now, values[best])
        found.append((best, gain))
        best = number if shows_gain(gain) else best
    return found


def shows_gain(gain: Interval) -> bool:
    """Whether the interval lies above 0."""
    return gain.low is not None and gain.low > 0


def no_gain_twice(found: Sequence[tuple[int, Interval]]) -> bool:
    """Whether the last two rounds show no gain."""
    return len(found) > 1 and not any(shows_gain(gain) for _, gain in found[-2:])


def best_round(rounds: Sequence[RoundNumbers]) -> int:
    """The last round that shows a gain; 0 where none does."""
    against = gains([one.values[SOLVED] for one in rounds])
    return next((i for i in range(len(against), 0, -1) if shows_gain(against[i - 1][1])), 0)


def changes(before: RoundNumbers, after: RoundNumbers, most: int) -> list[Change]:
    """Problems solved after and not before, and then the other way round, at most so many of each."""
    greedy = [
        {
            row["problem"]: row
            for row in read_json_lines(one.folder / "evaluation" / "samples.jsonl")
            if row["kind"] == "greedy"
        }
        for one in (before, after)
    ]
    found: list[Change] = []
    for now in (True, False):
        turned = [
            i for i, x in after.values[SOLVED].items() if bool(x) is now and bool(before.values[SOLVED][i]) is not now
        ]
        found += [Change(i, now, *(rows[i]["completion"] for rows in greedy)) for i in turned[:most]]
    return found
