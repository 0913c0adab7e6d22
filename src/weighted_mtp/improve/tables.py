"""Rounds side by side as cells of text: the page and the terminal show the same."""

from collections.abc import Sequence

from weighted_mtp.evaluation.intervals import Interval
from weighted_mtp.improve.account import SOLVED, RoundNumbers, gains, paired
from weighted_mtp.improve.steps import Record
from weighted_mtp.reports.numbers import NOTHING, interval, number, percent, points

Rows = list[tuple[str, ...]]


def headings(rounds: Sequence[RoundNumbers]) -> list[str]:
    """A column for each round."""
    return ["", *(f"round {one.number}" if one.number else "start" for one in rounds)]


def results(rounds: Sequence[RoundNumbers]) -> Rows:
    """What was measured on the held-out problems: each share, and its paired difference to the start."""
    start, rows = rounds[0], Rows()
    for name in start.measured:
        rows.append((f"{name}, %", *(_share(one.measured[name]) for one in rounds)))
        moved = [_gain(paired(one.values[name], start.values[name])) for one in rounds[1:]]
        rows.append((f"{name}, points gained", NOTHING, *moved))
    against = [f"{_gain(gain)}\nround {best}" if best else _gain(gain) for best, gain in _gains(rounds)]
    rows.append(("solved, gained on the last round that did", NOTHING, *against))
    return rows


def samples(rounds: Sequence[RoundNumbers]) -> Rows:
    """What each round sampled, what it trained on, and what its critic knew."""
    drawn = [one.steps.get("sample", {}) for one in rounds]
    rows = [
        ("samples", *(_count(x, "rows") for x in drawn)),
        ("right of them, %", *(percent(x["right"] / max(1, x["judged"])) if x else NOTHING for x in drawn)),
        ("cut off", *(_count(x, "cut") for x in drawn)),
        ("rows trained on", *(_count(one.steps.get("student", {}), "rows") for one in rounds)),
        ("critic's AUC, held out", *(_auc(one.steps.get("skill", {})) for one in rounds)),
    ]
    return [row for row in rows if any(cell != NOTHING for cell in row[1:])]


def costs(rounds: Sequence[RoundNumbers]) -> Rows:
    """Tokens and minutes of each step, and of all."""
    names = list(dict.fromkeys(name for one in rounds[::-1] for name in one.steps))
    rows = [(name, *(_cost(one.steps.get(name, {})) for one in rounds)) for name in names]
    return [*rows, ("all", *(_cost(_sum(list(one.steps.values()))) for one in rounds))]


def _gains(rounds: Sequence[RoundNumbers]) -> list[tuple[int, Interval]]:
    return gains([one.values[SOLVED] for one in rounds])


def _share(found: Interval) -> str:
    between = "" if found.low is None else f"\n{percent(found.low)} to {percent(found.high)}"
    return percent(found.mean) + between


def _gain(found: Interval) -> str:
    return f"{points(found.mean)}\n{interval(found.low, found.high)}"


def _auc(skill: Record) -> str:
    if not skill:
        return NOTHING
    verdict = f"\n{skill['verdict']}" if skill.get("verdict") else ""
    return f"{number(skill['auc'])}\nlength alone {number(skill['length_auc'])}{verdict}"


def _count(record: Record, name: str) -> str:
    return f"{record[name]:,}" if name in record else NOTHING


def _sum(records: Sequence[Record]) -> Record:
    return {name: sum(record[name] for record in records) for name in ("tokens", "seconds")}


def _cost(record: Record) -> str:
    return f"{record['tokens']:,} tokens\n{record['seconds'] / 60:.1f} min" if record else NOTHING
