"""The table of arms in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighted_mtp.demo.page.arms import group_rows
from weighted_mtp.demo.page.content import CONTROLS, SummaryRow
from weighted_mtp.reports.numbers import MINUS, NOTHING, interval, percent, points


def print_summary(
    console: Console,
    summary: Sequence[SummaryRow],
    *,
    title: str | None = None,
    baseline: str = "uniform",
    controls: Sequence[str] = CONTROLS,
) -> None:
    """Print mean, spread and paired difference of every arm, controls in a group of their own.

    Args:
        console: where to print; 80 columns suffice.
        summary: one row per arm, accuracies as fractions.
        title: a line above the table.
        baseline: the arm that differences are taken from.
        controls: arms that must not gain; an `mtp_` prefix is ignored.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("arm", overflow="fold", min_width=15)
    for heading in ("mean %", "spread", "draws", "difference", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in group_rows(summary, baseline, controls):
        if group.heading:
            table.add_row()
            table.add_row(Text(group.heading, style="dim italic"))
        for row in group.rows:
            table.add_row(*_cells(row, baseline))
    console.print(table)
    words = f"Differences to {baseline} are paired by draw, in points; spread is the standard deviation."
    others = {row.get("baseline", baseline) for row in summary if row["diff"] is not None} - {baseline}
    if others:
        words += f" *: to {', '.join(sorted(others))}."
    console.print(Text(words, style="dim"))
    for row in summary:
        if "note" in row:
            console.print(Text(f"{row['arm']}: {row['note']}", style="dim"))


def _cells(row: SummaryRow, baseline: str) -> tuple[str | Text, ...]:
    star = "*" if row.get("baseline", baseline) != baseline and row["diff"] is not None else ""
    certain = row["low"] is not None and row["high"] is not None and not row["low"] <= 0 <= row["high"]
    return (
        Text(row["arm"]),
        _ascii(percent(row["mean"])),
        _ascii(percent(row["std"] if row["n"] > 1 else None)),
        str(row["n"]),
        Text(_ascii(points(row["diff"])) + star, style="bold" if certain else ""),
        _ascii(interval(row["low"], row["high"])),
    )


def _ascii(text: str) -> str:
    """Terminals may lack the true minus sign and the dash."""
    return text.replace(MINUS, "-").replace(NOTHING, "-")
