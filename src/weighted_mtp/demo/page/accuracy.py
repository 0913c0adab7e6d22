"""The accuracy of arms as a table of a page."""

from collections.abc import Sequence
from html import escape

from weighted_mtp.demo.page.arms import Group
from weighted_mtp.demo.page.content import SummaryRow
from weighted_mtp.reports.numbers import interval, percent, points


def accuracy_table(groups: Sequence[Group], baseline: str) -> str:
    """Mean, spread and paired difference of every arm, a heading above each group."""
    headings = ("Arm", "Mean, %", "Spread", "Draws", "Difference", "95 % interval")
    head = "".join(f'<th role="columnheader" scope="col">{text}</th>' for text in headings)
    bodies = ""
    for group in groups:
        rows = "".join(_row(row, baseline) for row in group.rows)
        heading = (
            f'<tr role="row" class="group"><th role="rowheader" scope="rowgroup" colspan="{len(headings)}">'
            f"{group.heading}</th></tr>"
        )
        bodies += f'<tbody role="rowgroup">{heading if group.heading else ""}{rows}</tbody>'
    return (
        f'<table role="table"><caption>Accuracy over draws in percent; spread is the standard deviation;'
        f" differences to {escape(baseline)} are paired by draw, in points.</caption>"
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>{bodies}</table>'
    )


def _row(row: SummaryRow, baseline: str) -> str:
    against = row.get("baseline", baseline)
    note = f"<small>{escape(row['note'])}</small>" if "note" in row else ""
    if against != baseline and row["diff"] is not None:
        note += f"<small>difference to {escape(against)}</small>"
    cells = (
        percent(row["mean"]),
        percent(row["std"] if row["n"] > 1 else None),
        str(row["n"]),
        points(row["diff"]),
        interval(row["low"], row["high"]),
    )
    numbers = "".join(f'<td role="cell">{value}</td>' for value in cells)
    return f'<tr role="row"><th role="rowheader" scope="row">{escape(row["arm"])}{note}</th>{numbers}</tr>'
