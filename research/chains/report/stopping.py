"""Early stopping of critics: which evaluation is kept, and what it did beside critics of a fixed number of steps."""

from dataclasses import replace
from typing import Any

from research.chains.report.numbers import AXES, MAIN, Comparison, Results, accuracies
from research.chains.report.tables import in_words, setting_names
from research.corrected import holm, paired_p
from research.drawing.markdown import Table
from weighted_mtp.evaluation.intervals import paired_t_interval
from weighted_mtp.reports.numbers import NOTHING, percent

KEPT = {"highest": "the highest", "last_within": "the last within its error", "end": "the end"}


def rule_table(tried: dict[str, Any]) -> Table:
    """What students solve by which evaluation's critic gives their weights."""
    rows = [
        (
            f"{draw['rows']:,} rows, draw {draw['seed']}",
            *(f"{percent(draw['solved'][k])} (step {draw['step'][k]}, AUC {draw['auc'][k]:.3f})" for k in KEPT),
        )
        for draw in tried["draws"]
    ]
    return Table(
        ("Kept", *KEPT.values()),
        tuple(rows),
        "A critic is evaluated 20 times on a tenth of the prompts. Kept is the last evaluation whose outcome AUC is "
        "within its standard error of the highest; it had been the highest, until draw 1 of this study was seen. Draws "
        "100 and 101 lie outside it. Problems solved by the log_odds student, %.",
    )


def stopping_table(results: Results, fixed: Results) -> Table:
    """Arms whose critics stopped early minus the same arms of `fixed`, whose critics did not; paired by draw.

    Without a row where these are the same results.
    """
    names = _names(results)
    if results["meta"]["date"] == fixed["meta"]["date"]:
        return Table((), (), "")
    found = [
        entry
        for arm in dict.fromkeys(entry["arm"] for entry in fixed["arms"])
        for setting in names
        for entry in _compared(results, fixed, setting, arm)
    ]
    rows: dict[str, dict[str, str]] = {}
    for entry, adjusted in zip(found, holm([entry.p for entry in found]), strict=True):
        rows.setdefault(entry.first, {})[entry.setting] = in_words(replace(entry, adjusted=adjusted))
    return Table(
        ("Stopped early minus not", *names.values()),
        tuple((arm, *(by.get(setting, NOTHING) for setting in names)) for arm, by in rows.items()),
        "The same draws with critics that stop early, learning from nine tenths of the prompts, minus critics of a "
        f"fixed number of steps that learn from all of them ({fixed['meta']['date']}), in points with half of their "
        "paired 95 % t interval; Holm's correction over this table.",
    )


def _names(results: Results) -> dict[str, str]:
    """The settings of both lines, as a reader calls them."""
    return setting_names(results, AXES[0]) | {
        setting: f"{name} rows" for setting, name in setting_names(results, AXES[1]).items() if setting != MAIN
    }


def _compared(results: Results, fixed: Results, setting: str, arm: str) -> list[Comparison]:
    """The one comparison, where both ran."""
    now, before = (
        {a["seed"]: a["accuracy"] for a in accuracies(some, setting) if a["arm"] == arm} for some in (results, fixed)
    )
    seeds = sorted(now.keys() & before.keys())
    if not seeds:
        return []
    both = [now[seed] for seed in seeds], [before[seed] for seed in seeds]
    interval, p = paired_t_interval(*both), paired_p(*both)
    return [Comparison(setting, arm, arm, interval.mean, interval.low, interval.high, len(seeds), p, None)]
