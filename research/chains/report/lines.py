"""The study's two lines as figures: accuracy and paired differences by share right and by number."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from research.chains.report.aim import ARM, BEHIND, CEILING, FEW, OVER, RIVAL
from research.chains.report.numbers import (
    Axis,
    Comparison,
    Point,
    Results,
    line,
    lines_run,
    pairs_along,
    settings_along,
)
from research.chains.report.tables import setting_names
from research.drawing.labels import balanced, label_ends
from weighted_mtp.demo.page.content import BASELINE, role_of
from weighted_mtp.demo.page.figures import small_multiples
from weighted_mtp.reports.numbers import MINUS, PERCENT
from weighted_mtp.reports.svg import COLORS, WIDE, in_percent, new_figure, page_style, panel, panel_grid, title

_LABELS: dict[Axis, str] = {"share_right": "right completions, %", "n_traces": "number of completions"}


@dataclass(frozen=True)
class _Look:
    color: str
    marker: str
    dashes: str = "-"
    hollow: bool = False


_LOOKS = {  # the arms named in the overview, told apart by marker as well as by colour
    BASELINE: _Look("baseline", "s"),
    "td_whitened": _Look("series-2", "v"),
    RIVAL: _Look("series-1", "D"),
    "gated": _Look("series-3", "P"),
    ARM: _Look("arm", "o"),
    CEILING: _Look("ceiling", "^", dashes="--", hollow=True),
}


def lines_figure(results: Results) -> Figure:
    """Accuracy of six arms, a panel for each line: mean and, as a band, lowest to highest draw."""
    drawn = lines_run(results)
    height, names, left, above, below = 270, 122, 34, 30, 42
    width = (WIDE - len(drawn) * (left + names)) / len(drawn)
    with page_style():
        figure = new_figure(WIDE, above + height + below)
        for index, axis in enumerate(drawn):
            x = left + index * (left + width + names)
            _draw_line(panel(figure, x, above, width, height), results, axis)
    return figure


def _draw_line(axes: Axes, results: Results, axis: Axis) -> None:
    axes.set_title("Accuracy, %", pad=10)
    axes.set_xlabel(_LABELS[axis])
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}"))
    settings = settings_along(results, axis)
    if axis == "n_traces":
        axes.set_xscale("log")
        axes.minorticks_off()
    ticks = [results["meta"]["settings"][setting][axis] for setting in settings]
    axes.set_xticks(ticks, [name.removesuffix(PERCENT) for name in setting_names(results, axis).values()])
    labels: list[tuple[str, float, float, str]] = []
    for arm, look in _LOOKS.items():
        points = line(results, axis, arm)
        if len(points) > 1:
            _draw_arm(axes, points, look)
            labels.append((arm, points[-1].x, points[-1].mean, COLORS[look.color]))
    label_ends(axes, labels)


def _draw_arm(axes: Axes, points: Sequence[Point], look: _Look) -> None:
    color, x = COLORS[look.color], [point.x for point in points]
    if any(point.n > 1 for point in points):
        low, high = [point.low for point in points], [point.high for point in points]
        axes.fill_between(x, low, high, color=color, alpha=0.18, lw=0)
    face = "none" if look.hollow else color  # a mark below it shows through
    axes.plot(
        x,
        [point.mean for point in points],
        color=color,
        lw=1.3 if look.hollow else 2,
        ls=look.dashes,
        marker=look.marker,
        ms=9 if look.hollow else 6.5,
        mew=1.3,
        mfc=face,
        clip_on=False,
    )


def arms_figure(results: Results, arms: Sequence[str]) -> Figure:
    """A panel an arm: accuracy by share of right completions, the baseline in grey and the ceiling dashed."""

    def draw(axes: Axes, arm: str) -> None:
        for other in (BASELINE, CEILING):
            points = line(results, "share_right", other)
            if other != arm and points:
                look = _LOOKS[other]
                means = [point.mean for point in points]
                axes.plot([p.x for p in points], means, color=COLORS[look.color], lw=1.2, ls=look.dashes, alpha=0.8)
        points = line(results, "share_right", arm)
        color, style = COLORS[role_of(arm)], "--" if role_of(arm) in ("control", "ceiling") else "-"
        if any(point.n > 1 for point in points):
            low, high = [point.low for point in points], [point.high for point in points]
            axes.fill_between([p.x for p in points], low, high, color=color, alpha=0.2, lw=0)
        axes.plot([p.x for p in points], [p.mean for p in points], color=color, lw=1.8, ls=style)

    with page_style():
        figure, panels = small_multiples(arms, draw, wide=True, label="right completions")
        for axes in panels:
            axes.grid(axis="y")
            axes.set_ylim(0, 1.03)
            axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
            _share_ticks(axes)
    return figure


def differences_figure(results: Results) -> Figure:
    """A panel a pair of arms: the paired difference by share of right completions, with its interval."""
    pairs = {pair: found for pair, found in pairs_along(results, "share_right").items() if len(found) > 1}
    shares = {name: entry["share_right"] for name, entry in results["meta"]["settings"].items()}
    with page_style():
        figure, panels = panel_grid(
            len(pairs), wide=True, slots=balanced(len(pairs), 4), height=120, above=44, label="right completions"
        )
        for axes, (pair, found) in zip(panels, pairs.items(), strict=True):
            title(axes, pair[0], f"{MINUS} {pair[1]}")
            axes.grid(axis="y")
            axes.axhline(0, color=COLORS["baseline"], lw=1)
            _draw_aim(axes, pair, [shares[entry.setting] for entry in found])
            for entry in found:
                _draw_difference(axes, shares[entry.setting], entry)
            in_percent(axes.yaxis, signed=True)
            _share_ticks(axes)
    return figure


def _draw_difference(axes: Axes, x: float, entry: Comparison) -> None:
    """Filled where the interval excludes 0, hollow where it is a tie or a single draw."""
    color = COLORS["arm"]
    if entry.low is not None and entry.high is not None:
        axes.plot([x, x], [entry.low, entry.high], color=color, lw=2, solid_capstyle="round")
    certain = entry.verdict in ("wins", "loses")
    face = color if certain else COLORS["surface"]
    axes.plot([x], [entry.diff], "o", ms=6.5, mew=1.6, color=color, mfc=face, zorder=4)


def _draw_aim(axes: Axes, pair: tuple[str, str], shares: Sequence[float]) -> None:
    """A dashed line where the aim asks for something."""
    level = {(ARM, RIVAL): OVER, (ARM, CEILING): -BEHIND}.get(pair)
    asked = [share for share in shares if share < FEW]
    if level is None or not asked:
        return
    color = COLORS["control"]
    axes.plot([0, max(asked) + 0.05], [level, level], color=color, lw=1.2, ls=(0, (3, 2)))
    axes.annotate(
        "aim", (max(asked) + 0.05, level), (4, 0), textcoords="offset points", va="center", fontsize=10.5,
        color=color,
    )  # fmt: skip


def _share_ticks(axes: Axes) -> None:
    axes.set_xlim(0, 0.8)
    axes.set_xticks([0, 0.25, 0.5, 0.75], ["0", "25", "50", "75 %"])
