"""What the critics know, as figures: where they see the error, how calibrated they are, and from when on."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from research.chains.report.numbers import Results, auc_by_position, critic_draws, critic_mean, critics, reliability
from research.drawing.labels import balanced, label_ends
from weighted_mtp.demo.page.figures import label_rows, mean_marker
from weighted_mtp.inspection.figures import draw_reliability
from weighted_mtp.reports.svg import COLORS, WIDE, new_figure, page_style, panel, panel_grid, title

_MEASURES = {"auc": "AUC of the first wrong token", "auc_within_wrong": "AUC in wrong completions", "top1": "Top-1"}
_LOOKS = {  # colour, marker, dashes: the generative critic, the implicit one, and a family of value heads
    "log_odds": ("arm", "o", "-"),
    "implicit": ("series-1", "D", "-"),
    "value_head": ("series-2", "v", "-"),
    "value_bce": ("series-2", "s", (0, (5, 2))),
    "value_lambda": ("series-2", "^", (0, (2, 2))),
    "value_pairwise": ("series-2", "P", (0, (1, 2))),
}
_OTHER = ("series-3", "X", "-")


def localisation_figure(results: Results) -> Figure:
    """Dots a critic: how well it finds the wrong tokens; hollow, its position alone."""
    names = critics(results)
    left, top, bottom, between, row = 118, 26, 30, 26, 27
    height = row * len(names)
    with page_style():
        figure = new_figure(WIDE, top + height + bottom)
        width = (WIDE - left - 14 - 2 * between) / 3
        panels = [panel(figure, left + i * (width + between), top, width, height) for i in range(3)]
        for axes, (key, heading) in zip(panels, _MEASURES.items(), strict=True):
            label_rows(axes, [{"arm": name} for name in names], named=axes is panels[0])
            axes.set_title(heading, pad=9)
            _draw_measure(axes, results, names, key)
    return figure


def _draw_measure(axes: Axes, results: Results, names: Sequence[str], key: str) -> None:
    shown = [1.0]
    for y, name in enumerate(names):
        alone = critic_mean(results, name, "position_only_auc") if key == "auc" else None
        if alone is not None:
            _hollow_square(axes, alone, y)
            shown.append(alone)
        draws, mean = critic_draws(results, name, key), critic_mean(results, name, key)
        if mean is not None:
            below = [y + 0.32] * len(draws)  # beside the mean's mark, which would hide them
            axes.plot(draws, below, "o", ms=4, mew=0, color=COLORS["arm"], alpha=0.6, clip_on=False)
            mean_marker(axes, mean, y, "arm")
            shown += draws
    chance = 0.0 if key == "top1" else 0.5
    axes.set_xlim(min(chance, *shown), 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))


def _hollow_square(axes: Axes, x: float, y: int) -> None:
    axes.plot([x], [y], "s", ms=6, mew=1.4, color=COLORS["baseline"], mfc=COLORS["surface"], zorder=3)


def reliability_figure(results: Results) -> Figure:
    """A panel a critic: rate of success by the chance it gave; the area of a dot is its share of prefixes."""
    pooled = {name: reliability(results, name) for name in critics(results)}
    pooled = {name: bins for name, bins in pooled.items() if bins}
    with page_style():
        figure, panels = panel_grid(
            len(pooled), wide=True, slots=balanced(len(pooled), 4), height=150, above=44, label="chance given, %"
        )
        for axes, (name, bins) in zip(panels, pooled.items(), strict=True):
            error = critic_mean(results, name, "ece")
            title(axes, name, "" if error is None else f"ECE {error:.3f}")
            draw_reliability(axes, bins)
    return figure


def positions_figure(results: Results) -> Figure:
    """A line a critic: AUC of the outcome by how much of the completion the critic has seen."""
    curves = {name: auc_by_position(results, name) for name in critics(results)}
    left, names, above, height, below = 34, 120, 30, 250, 42
    with page_style():
        figure = new_figure(WIDE, above + height + below)
        axes = panel(figure, left, above, WIDE - left - names, height)
        axes.set_title("AUC of the outcome", pad=10)
        axes.set_xlabel("tokens of the completion read")
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        labels: list[tuple[str, float, float, str]] = []
        for name, values in curves.items():
            known = [(index, value) for index, value in enumerate(values) if value is not None]
            if known:
                color, marker, dashes = _LOOKS.get(name, _OTHER)
                x, y = [point[0] for point in known], [point[1] for point in known]
                axes.plot(x, y, color=COLORS[color], marker=marker, ms=5.5, mew=0, lw=1.6, ls=dashes, clip_on=False)
                labels.append((name, *known[-1], COLORS[color]))
        lowest = min((v for values in curves.values() for v in values if v is not None), default=0.5)
        axes.set_ylim(min(0.5, lowest - 0.02), 1.01)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        label_ends(axes, labels)
    return figure
