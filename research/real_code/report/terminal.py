"""What the experiment on real code found, in the terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from research.real_code.report.measures import AUC_WITHIN, LOCALISATION, OUTCOME, STUDENTS, Measure
from research.real_code.report.numbers import (
    OUTCOME_ALL,
    Entries,
    Results,
    bar_of,
    calibration,
    critics,
    difference,
    estimate,
    localisation,
    outcome,
    student_pairs,
    students,
)
from weighted_mtp.reports.numbers import MINUS

_SHORT = {
    "right_nll": "right",
    "wrong_token_nll": "bug",
    "bug_margin": "bug-fix",
    "other_nll": "other",
    "prefers_right": "pairs %",
    "pass1": "pass %",
}
"""Headings for which 80 columns have room."""


def print_real_code(console: Console, results: Results) -> None:
    """Print whatever is finished.

    Args:
        console: where to print; 80 columns suffice.
        results: what results.json holds.
    """
    for table in (_localisation(results), _outcome(results), _students(results)):
        if table.row_count:
            console.print(table)
            console.print()
    words = "* the paired 95 % interval over tasks excludes 0."
    if critics(results):
        words += (
            " The bar is surprisal, and for a critic beside all untrained signals these alone; for right or wrong it"
            " is surprisal and length."
        )
    console.print(Text(words, style="dim"))


def _localisation(results: Results) -> Table:
    found = localisation(results)
    table = _table("first wrong token", (heading for m in LOCALISATION for heading in (m.heading, "over bar")))
    for method in found:
        bar = bar_of(method)
        cells = (
            cell
            for measure in LOCALISATION
            for cell in (_value(found, method, measure), _difference(found, method, bar, measure))
        )
        table.add_row(Text(method), *cells)
    return table


def _outcome(results: Results) -> Table:
    found, chances = outcome(results), calibration(results)
    table = _table("right or wrong", ("AUC", "within tasks", "over bar", "ECE"))
    for method in found:
        table.add_row(
            Text(method),
            *(_value(found, method, measure) for measure in OUTCOME),
            _difference(found, method, OUTCOME_ALL, AUC_WITHIN),
            f"{chances[method]['ece']:.3f}" if method in chances else "",
        )
    return table


def _students(results: Results) -> Table:
    """Each student, and below them the paired differences."""
    found = students(results)
    measures = [m for m in STUDENTS if any(m.key in entry for entry in found.values())]
    table = _table("students, nats", (_SHORT.get(m.key, m.heading) for m in measures))
    for name in found:
        table.add_row(Text(name), *(_value(found, name, measure) for measure in measures))
    for first, second in student_pairs(results):
        cells = (_difference(found, first, second, measure) for measure in measures)
        table.add_row(Text(f"{first} - {second}"), *cells)
    return table


def _table(first: str, headings: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _value(entries: Entries, name: str, measure: Measure) -> str:
    found = estimate(entries, name, measure)
    return "" if found is None else measure.value(found.mean)


def _difference(entries: Entries, first: str, second: str | None, measure: Measure) -> Text:
    found = None if second is None else difference(entries, first, second, measure)
    if found is None:
        return Text("")
    sure = found.verdict not in ("ties", "no interval")
    text = measure.difference(found.estimate.mean).replace(MINUS, "-")  # which terminals may lack
    return Text(text + ("*" if sure else " "), style="bold" if sure else "")
