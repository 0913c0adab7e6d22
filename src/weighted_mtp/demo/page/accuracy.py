"""The accuracy of arms as a table: of the page, and of the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighted_mtp.demo.page.content import BASELINE, SummaryRow, group_rows
from weighted_mtp.reports.layout import table
from weighted_mtp.reports.numbers import MINUS, NOTHING, interval, percent, points


def accuracy_cells(row: SummaryRow) -> tuple[str, str, str, str, str]:
    """Mean, spread, number of draws, paired difference and its interval."""
    spread = percent(row["std"] if row["n"] > 1 else None)
    return percent(row["mean"]), spread, str(row["n"]), points(row["diff"]), interval(row["low"], row["high"])


def _other_baseline(row: SummaryRow) -> str | None:
    """What the difference is taken from, where that is not what the page says."""
    against = row.get("baseline", BASELINE)
    return against if against != BASELINE and row["diff"] is not None else None


def accuracy_table(summary: Sequence[SummaryRow]) -> str:
    """The page's table, a heading above each group."""

    def named(row: SummaryRow) -> str:
        against = _other_baseline(row)
        notes = [row["note"]] if "note" in row else []
        return "\n".join([row["arm"], *notes, *([f"difference to {against}"] if against else [])])

    groups = [(group, [(named(row), *accuracy_cells(row)) for row in rows]) for group, rows in group_rows(summary)]
    caption = (
        "Accuracy over draws in percent; spread is the standard deviation;"
        f" differences to {BASELINE} are paired by draw, in points."
    )
    return table(("Arm", "Mean, %", "Spread", "Draws", "Difference", "95 % interval"), groups, caption)


def print_summary(console: Console, summary: Sequence[SummaryRow]) -> None:
    """Print the same in 80 columns; a difference is bold where its interval excludes 0."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("arm", overflow="fold", min_width=15)
    for heading in ("mean %", "spread", "draws", "difference", "95 % interval"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for group, members in group_rows(summary):
        if group:
            shown.add_row()
            shown.add_row(Text(group, style="dim italic"))
        for row in members:
            # Terminals may lack the true minus sign and the dash.
            cells = [cell.replace(MINUS, "-").replace(NOTHING, "-") for cell in accuracy_cells(row)]
            certain = row["low"] is not None and row["high"] is not None and not row["low"] <= 0 <= row["high"]
            difference = Text(cells[3] + ("*" if _other_baseline(row) else ""), style="bold" if certain else "")
            shown.add_row(Text(row["arm"]), *cells[:3], difference, cells[4])
    console.print(shown)
    words = f"Differences to {BASELINE} are paired by draw, in points; spread is the standard deviation."
    others = sorted({against for row in summary if (against := _other_baseline(row)) is not None})
    if others:
        words += f" *: to {', '.join(others)}."
    console.print(Text(words, style="dim"))
    for row in summary:
        if "note" in row:
            console.print(Text(f"{row['arm']}: {row['note']}", style="dim"))
