"""Learning curves and weight histograms: one small panel per arm, equal axes, the baseline for comparison."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weighted_mtp.demo.page.arms import Role
from weighted_mtp.demo.page.content import Curve, Histogram
from weighted_mtp.reports.grid import panel_grid
from weighted_mtp.reports.scale import weight_level
from weighted_mtp.reports.svg import COLORS, SHADES, page_style, shorten

_LOWEST_SHARE = 1e-4


def curves_figure(
    curves: Sequence[Curve], arms: Sequence[str], roles: dict[str, Role], baseline: str, *, wide: bool
) -> Figure:
    """One panel per arm: mean over draws, band from lowest to highest draw, the baseline in grey."""
    percent = curves[0]["metric"] == "accuracy"
    run = {curve["arm"] for curve in curves}

    def draw(axes: Axes, arm: str) -> None:
        own = f"mtp_{baseline}"
        against = own if arm.startswith("mtp_") and own in run else baseline
        reference = _mean_and_range([curve for curve in curves if curve["arm"] == against])
        if reference is not None and arm != against:
            axes.plot(reference[0], reference[1], color=COLORS["baseline"], lw=1.2, alpha=0.75)
        members = [curve for curve in curves if curve["arm"] == arm]
        color, summary = COLORS[roles[arm]], _mean_and_range(members)
        style = "--" if roles[arm] == "control" else "-"
        if summary is None:  # the draws share no step: show each
            for curve in members:
                axes.plot(curve["steps"], curve["values"], color=color, lw=1, ls=style)
            return
        steps, mean, low, high = summary
        if len(members) > 1:
            axes.fill_between(steps, low, high, color=color, alpha=0.2, lw=0)
        axes.plot(steps, mean, color=color, lw=1.8, ls=style)

    with page_style():
        figure, panels = small_multiples(arms, roles, draw, wide=wide, label="optimizer steps")
        for axes in panels:
            axes.grid(axis="y")
            if percent:
                axes.set_ylim(0, 1.03)
                axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
            else:
                axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def histograms_figure(histograms: Sequence[Histogram], roles: dict[str, Role], *, wide: bool) -> Figure:
    """One panel per arm: share of tokens (log scale) by weight, in the colours of the token view."""
    by_arm = {histogram["arm"]: histogram for histogram in histograms}
    longest = max(float(histogram["edges"][-1]) for histogram in histograms)

    def draw(axes: Axes, arm: str) -> None:
        edges = np.asarray(by_arm[arm]["edges"], dtype=float)
        counts = np.asarray(by_arm[arm]["counts"], dtype=float)
        shares = counts / max(counts.sum(), 1.0)
        colors = [SHADES[weight_level(center)] for center in (edges[:-1] + edges[1:]) / 2]
        seen = shares > 0
        axes.bar(
            edges[:-1][seen],
            np.maximum(shares[seen], 1.5 * _LOWEST_SHARE) - _LOWEST_SHARE,
            np.diff(edges)[seen],
            bottom=_LOWEST_SHARE,
            align="edge",
            color=[color for color, keep in zip(colors, seen, strict=True) if keep],
            linewidth=0,
        )

    arms = [arm for arm in roles if arm in by_arm]
    with page_style():
        figure, panels = small_multiples(arms, roles, draw, wide=wide, label="weight")
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
    arms: Sequence[str], roles: dict[str, Role], draw: Callable[[Axes, str], None], *, wide: bool, label: str
) -> tuple[Figure, list[Axes]]:
    """A panel an arm, named after it; controls and ceilings are called so."""
    slots, height = (4, 104) if wide else (2, 92)
    figure, panels = panel_grid(len(arms), wide=wide, slots=slots, height=height, above=30, label=label)
    for axes, arm in zip(panels, arms, strict=True):
        draw(axes, arm)
        axes.set_title(shorten(arm), pad=7)
        if roles[arm] in ("control", "ceiling"):
            axes.set_title(roles[arm], pad=7, loc="right", fontsize=10.5, color=COLORS["muted"])
    return figure, panels
