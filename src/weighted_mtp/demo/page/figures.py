"""The accuracy figure: plain numbers in, a matplotlib figure out.

Every figure comes in two layouts, `wide` (for 720 px and more) and narrow, so that text keeps its size on
a phone instead of shrinking with the picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from weighted_mtp.demo.page.arms import Group, Role
from weighted_mtp.demo.page.content import Accuracy
from weighted_mtp.demo.page.dots import label_rows, mean_marker
from weighted_mtp.reports.numbers import MINUS
from weighted_mtp.reports.svg import COLORS, NARROW, WIDE, new_figure, page_style, panel


def accuracy_figure(
    groups: Sequence[Group], accuracies: Sequence[Accuracy], roles: dict[str, Role], *, wide: bool
) -> Figure:
    """Two dot plots that share their rows: accuracy with every draw, and the paired difference.

    Left: the mean (large mark) and, below it, each draw (small dots). Right: the paired difference to the
    baseline with its 95 % interval. In the narrow layout the second stands below the first.
    """
    lines = [line for group in groups for line in (group.heading, *group.rows) if line]
    arms = [line["arm"] for line in lines if not isinstance(line, str)]
    top, bottom = 26, 30
    height = (27 if wide else 26) * len(lines)
    names = min(18 + 7 * max(map(len, arms), default=0), 230 if wide else 170)
    with page_style():
        if wide:
            figure = new_figure(WIDE, top + height + bottom)
            room = WIDE - names - 46
            left = panel(figure, names, top, 0.54 * room, height)
            right = panel(figure, names + 0.54 * room + 32, top, 0.46 * room, height)
        else:
            figure = new_figure(NARROW, 2 * (top + height + bottom) + 14)
            left = panel(figure, names, top, NARROW - names - 14, height)
            right = panel(figure, names, 2 * top + height + bottom + 14, NARROW - names - 14, height)
        for axes in (left, right):
            label_rows(axes, lines, named=axes is left or not wide)
        left.set_title("Accuracy, %", pad=9)
        right.set_title("Difference to the baseline, points" if wide else "Difference, points", pad=9)
        _draw_accuracies(left, lines, accuracies, roles)
        _draw_differences(right, lines, roles)
    return figure


def _draw_accuracies(axes: Axes, lines: Sequence[Any], accuracies: Sequence[Accuracy], roles: dict[str, Role]) -> None:
    shown = [entry["accuracy"] for entry in accuracies]
    for y, line in enumerate(lines):
        if isinstance(line, str):
            continue
        role = roles[line["arm"]]
        single = [entry["accuracy"] for entry in accuracies if entry["arm"] == line["arm"]]
        below = [y + 0.32] * len(single)  # beside the mean's mark, which would hide them
        axes.plot(single, below, "o", ms=4, mew=0, color=COLORS[role], alpha=0.6, clip_on=False)
        mean_marker(axes, line["mean"], y, role)
        shown.append(line["mean"])
        if role == "baseline" and not line["arm"].startswith("mtp_"):
            axes.axvline(line["mean"], color=COLORS["baseline"], lw=1, ls=(0, (3, 3)), zorder=0)
    floor = max(0.0, np.floor(10 * min(shown, default=0.0) - 0.3) / 10)
    axes.set_xlim(floor, max(1.0, *shown) if shown else 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.0f}"))


def _draw_differences(axes: Axes, lines: Sequence[Any], roles: dict[str, Role]) -> None:
    axes.axvline(0, color=COLORS["baseline"], lw=1, ls=(0, (3, 3)), zorder=0)
    extent = [0.0]
    for y, line in enumerate(lines):
        if isinstance(line, str) or line["diff"] is None:
            continue
        role = roles[line["arm"]]
        extent.append(line["diff"])
        if line["low"] is not None and line["high"] is not None:
            axes.plot([line["low"], line["high"]], [y, y], color=COLORS[role], lw=2, solid_capstyle="round")
            extent += [line["low"], line["high"]]
        mean_marker(axes, line["diff"], y, role)
    margin = 0.06 * max(max(extent) - min(extent), 0.02)
    axes.set_xlim(min(extent) - margin, max(extent) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: "0" if abs(x) < 1e-9 else f"{100 * x:+.3g}".replace("-", MINUS))
    )
