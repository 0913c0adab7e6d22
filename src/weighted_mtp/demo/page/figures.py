"""The figures of the demo's page: plain numbers in, a matplotlib figure out, `wide` (for 720 px and more) or narrow, so
that text keeps its size on a phone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weighted_mtp.demo.page.content import BASELINE, Accuracy, Curve, Histogram, Role, SummaryRow, group_rows, role_of
from weighted_mtp.reports.scale import weight_level
from weighted_mtp.reports.svg import (
    COLORS,
    NARROW,
    SHADES,
    WIDE,
    in_percent,
    new_figure,
    page_style,
    panel,
    panel_grid,
    shorten,
)

_MARKERS: dict[Role, str] = {"baseline": "s", "arm": "o", "control": "D", "ceiling": "^"}
_LOWEST_SHARE = 1e-4


def accuracy_figure(summary: Sequence[SummaryRow], accuracies: Sequence[Accuracy], *, wide: bool) -> Figure:
    """Two dot plots that share their rows: means with every draw below them, and paired differences with intervals."""
    lines = [line for heading, rows in group_rows(summary) for line in (heading, *rows) if line]
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
        _draw_accuracies(left, lines, accuracies)
        _draw_differences(right, lines)
    return figure


def _draw_accuracies(axes: Axes, lines: Sequence[Any], accuracies: Sequence[Accuracy]) -> None:
    shown = [entry["accuracy"] for entry in accuracies]
    for y, line in enumerate(lines):
        if isinstance(line, str):
            continue
        role = role_of(line["arm"])
        single = [entry["accuracy"] for entry in accuracies if entry["arm"] == line["arm"]]
        below = [y + 0.32] * len(single)  # beside the mean's mark, which would hide them
        axes.plot(single, below, "o", ms=4, mew=0, color=COLORS[role], alpha=0.6, clip_on=False)
        mean_marker(axes, line["mean"], y, role)
        shown.append(line["mean"])
        if role == "baseline" and not line["arm"].startswith("mtp_"):
            axes.axvline(line["mean"], color=COLORS["baseline"], lw=1, ls=(0, (3, 3)), zorder=0)
    floor = max(0.0, np.floor(10 * min(shown, default=0.0) - 0.3) / 10)
    axes.set_xlim(floor, max(1.0, *shown) if shown else 1.0)
    in_percent(axes.xaxis)


def _draw_differences(axes: Axes, lines: Sequence[Any]) -> None:
    axes.axvline(0, color=COLORS["baseline"], lw=1, ls=(0, (3, 3)), zorder=0)
    extent = [0.0]
    for y, line in enumerate(lines):
        if isinstance(line, str) or line["diff"] is None:
            continue
        role = role_of(line["arm"])
        extent.append(line["diff"])
        if line["low"] is not None and line["high"] is not None:
            axes.plot([line["low"], line["high"]], [y, y], color=COLORS[role], lw=2, solid_capstyle="round")
            extent += [line["low"], line["high"]]
        mean_marker(axes, line["diff"], y, role)
    margin = 0.06 * max(max(extent) - min(extent), 0.02)
    axes.set_xlim(min(extent) - margin, max(extent) + margin)
    in_percent(axes.xaxis, signed=True)


def label_rows(axes: Axes, lines: Sequence[str | Mapping[str, Any]], *, named: bool) -> None:
    """A horizontal line for each arm, its name at the left, and a heading above each group."""
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    place: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    place |= {"ha": "right", "va": "center_baseline"}
    for y, line in enumerate(lines):
        heading = isinstance(line, str)
        if not heading:
            axes.axhline(y, color=COLORS["line"], lw=0.75, zorder=0)
        if named:
            look: Any = (
                {"fontsize": 11, "color": COLORS["muted"]} if heading else {"fontsize": 12.5, "color": COLORS["ink"]}
            )
            axes.annotate(line if heading else shorten(line["arm"]), (0, y), (-12, 0), **place, **look)


def mean_marker(axes: Axes, x: float, y: int, role: Role) -> None:
    """Filled for what is under test, hollow for controls and ceilings: told apart without colour."""
    face = COLORS["surface" if role in ("control", "ceiling") else role]
    size = 8 if role == "control" else 9
    axes.plot([x], [y], _MARKERS[role], ms=size, mew=1.8, color=COLORS[role], mfc=face, clip_on=False, zorder=4)


def curves_figure(curves: Sequence[Curve], arms: Sequence[str], *, wide: bool) -> Figure:
    """One panel per arm: mean over draws, band from lowest to highest draw, the baseline in grey."""
    percent = curves[0]["metric"] == "accuracy"
    run = {curve["arm"] for curve in curves}

    def draw(axes: Axes, arm: str) -> None:
        own = f"mtp_{BASELINE}"
        against = own if arm.startswith("mtp_") and own in run else BASELINE
        reference = _mean_and_range([curve for curve in curves if curve["arm"] == against])
        if reference is not None and arm != against:
            axes.plot(reference[0], reference[1], color=COLORS["baseline"], lw=1.2, alpha=0.75)
        members = [curve for curve in curves if curve["arm"] == arm]
        color, summary = COLORS[role_of(arm)], _mean_and_range(members)
        style = "--" if role_of(arm) == "control" else "-"
        if summary is None:  # the draws share no step: show each
            for curve in members:
                axes.plot(curve["steps"], curve["values"], color=color, lw=1, ls=style)
            return
        steps, mean, low, high = summary
        if len(members) > 1:
            axes.fill_between(steps, low, high, color=color, alpha=0.2, lw=0)
        axes.plot(steps, mean, color=color, lw=1.8, ls=style)

    with page_style():
        figure, panels = small_multiples(arms, draw, wide=wide, label="optimizer steps")
        for axes in panels:
            axes.grid(axis="y")
            if percent:
                axes.set_ylim(0, 1.03)
                axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
            else:
                axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def histograms_figure(histograms: Sequence[Histogram], arms: Sequence[str], *, wide: bool) -> Figure:
    """One panel per arm: share of tokens (log scale) by weight, in the colours of the token view."""
    by_arm = {histogram["arm"]: histogram for histogram in histograms}
    longest = max(float(histogram["edges"][-1]) for histogram in histograms)

    def draw(axes: Axes, arm: str) -> None:
        edges = np.asarray(by_arm[arm]["edges"], dtype=float)
        counts = np.asarray(by_arm[arm]["counts"], dtype=float)
        shares = counts / max(counts.sum(), 1.0)
        seen = shares > 0
        heights = np.maximum(shares[seen], 1.5 * _LOWEST_SHARE) - _LOWEST_SHARE
        bars = axes.bar(
            edges[:-1][seen], heights, np.diff(edges)[seen], bottom=_LOWEST_SHARE, align="edge", linewidth=0
        )
        for bar, center in zip(bars, ((edges[:-1] + edges[1:]) / 2)[seen], strict=True):
            bar.set_color(SHADES[weight_level(center)])

    with page_style():
        figure, panels = small_multiples(arms, draw, wide=wide, label="weight")
        for axes in panels:
            axes.set_yscale("log")
            axes.set_ylim(_LOWEST_SHARE, 1.6)
            axes.set_yticks([1e-4, 1e-2, 1], ["0.01", "1", "100 %"])
            axes.minorticks_off()
            axes.grid(axis="y")
            axes.set_xlim(0, longest)
            axes.axvline(1, color=COLORS["muted"], lw=0.8, ls=(0, (2, 2)))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _mean_and_range(curves: Sequence[Curve]) -> tuple[np.ndarray, ...] | None:
    """Steps that all draws share, with the mean, lowest and highest value at each; None without any."""
    if not curves:
        return None
    steps = sorted(set.intersection(*(set(curve["steps"]) for curve in curves)))
    if not steps:
        return None
    draws = np.array(
        [[dict(zip(c["steps"], c["values"], strict=True))[step] for step in steps] for c in curves], dtype=float
    )
    return np.asarray(steps), draws.mean(0), draws.min(0), draws.max(0)


def small_multiples(
    arms: Sequence[str], draw: Callable[[Axes, str], None], *, wide: bool, label: str
) -> tuple[Figure, list[Axes]]:
    """A panel an arm, named after it; controls and ceilings are called so."""
    slots, height = (4, 104) if wide else (2, 92)
    figure, panels = panel_grid(len(arms), wide=wide, slots=slots, height=height, above=30, label=label)
    for axes, arm in zip(panels, arms, strict=True):
        draw(axes, arm)
        axes.set_title(shorten(arm), pad=7)
        if role_of(arm) in ("control", "ceiling"):
            axes.set_title(role_of(arm), pad=7, loc="right", fontsize=10.5, color=COLORS["muted"])
    return figure, panels
