"""The results of an evaluation, in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighted_mtp.reports.numbers import NOTHING, percent


def print_evaluation(console: Console, results: Mapping[str, Any]) -> None:
    """Exact match and pass@k with their intervals, and the verdicts behind them.

    Args:
        console: where it goes; 80 columns suffice.
        results: what results.json holds.
    """
    console.print(_measures(results))
    console.print()
    console.print(_verdicts(results))
    for warning in _warnings(results):
        console.print(Text(warning, style="bold red"))


def _measures(results: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{len(results['problems'])} problems")
    for heading in ("%", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in (
        ("exact match, greedy", results["exact_match"]),
        *((f"pass@{k}, sampled", found) for k, found in results["pass_at_k"].items()),
    ):
        table.add_row(name, percent(found["mean"]), _interval(found["low"], found["high"]))
    return table


def _interval(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{percent(low)} to {percent(high)}"


def _verdicts(results: Mapping[str, Any]) -> Table:
    shown = {kind: counts for kind, counts in results["verdicts"].items() if any(counts.values())}
    table = Table("completions", box=None, pad_edge=False)
    for verdict in next(iter(shown.values())):
        table.add_column(verdict, justify="right")
    for kind, counts in shown.items():
        table.add_row(kind, *map(str, counts.values()))
    return table


def _warnings(results: Mapping[str, Any]) -> list[str]:
    warnings: list[str] = []
    total = sum(sum(counts.values()) for counts in results["verdicts"].values())
    errors = sum(counts["error"] for counts in results["verdicts"].values())
    if errors:
        warnings.append(f"{errors} of {total} completions could not be checked (error): counted as not passed.")
    cut = sum(counts["length"] for counts in results["ended"].values())
    if cut:
        most = results["settings"]["max_new_tokens"]
        warnings.append(f"{cut} of {total} completions were cut off at {most} tokens.")
    return warnings
