"""What dot plots share: named rows, and marks that tell the roles of arms apart without colour."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from weighted_mtp.demo.page.arms import Role
from weighted_mtp.reports.svg import COLORS, shorten

_MARKERS: dict[Role, str] = {"baseline": "s", "arm": "o", "control": "D", "ceiling": "^"}


def label_rows(axes: Axes, lines: Sequence[str | Mapping[str, Any]], *, named: bool) -> None:
    """A horizontal line for each arm, its name at the left, and a heading above each group."""
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    for y, line in enumerate(lines):
        heading = isinstance(line, str)
        if not heading:
            axes.axhline(y, color=COLORS["line"], lw=0.75, zorder=0)
        if named:
            axes.annotate(
                line if heading else shorten(line["arm"]),
                (0, y),
                (-12, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
                fontsize=11 if heading else 12.5,
                color=COLORS["muted" if heading else "ink"],
            )


def mean_marker(axes: Axes, x: float, y: int, role: Role) -> None:
    """Filled for what is under test, hollow for controls and ceilings: told apart without colour."""
    color = COLORS[role]
    hollow = role in ("control", "ceiling")
    axes.plot(
        [x],
        [y],
        _MARKERS[role],
        ms=8 if role == "control" else 9,
        mew=1.8,
        color=color,
        mfc=COLORS["surface"] if hollow else color,
        clip_on=False,
        zorder=4,
    )
