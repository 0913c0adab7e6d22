"""The figures of the page of runs: curves, a panel a metric, and reliability, a row a run."""

from collections.abc import Sequence
from itertools import product
from math import sqrt

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from weighted_mtp.evaluation.calibration import ReliabilityBin
from weighted_mtp.inspection.content import InspectedRun, Series, ValueQuality
from weighted_mtp.reports.numbers import MINUS
from weighted_mtp.reports.svg import COLORS, NARROW, WIDE, new_figure, page_style, panel, panel_grid, shorten, title

LOOKS = (  # colour, marker, the same as a character for the key
    ("arm", "o", "●"),
    ("series-3", "s", "■"),
    ("series-2", "v", "▼"),
    ("series-1", "D", "◆"),
    ("ceiling", "^", "▲"),
    ("control", "P", "✚"),
)
"""How runs are told apart, in their order; beyond six the looks begin again."""
_CURVES = {
    "value_loss": "value loss",
    "value_explained_variance": "explained variance",
    "weight_mean": "mean weight",
    "weight_std": "spread of weights",
}
_MOST_POINTS = 200  # a curve that is longer is thinned: more cannot be seen in a panel
_HEIGHT, _ABOVE, _BETWEEN, _BELOW, _LEFT, _GAP = 130, 30, 14, 40, 42, 16


def cross_entropies(runs: Sequence[InspectedRun]) -> dict[str, str]:
    """The cross-entropy of each head that any run has: its metric, and its name."""
    heads = max((run.heads for run in runs), default=0)
    return {f"ce_head_{k}": "cross-entropy" + (f", head {k}" if heads > 1 else "") for k in range(heads)}


def metrics_shown(runs: Sequence[InspectedRun]) -> dict[str, str]:
    """Metrics that at least one run logged, without train/ and eval/, with what their panel is called."""
    wanted = {"loss": "loss", **cross_entropies(runs), **_CURVES}
    logged = {name.partition("/")[2] for run in runs for name in run.record}
    return {name: words for name, words in wanted.items() if name in logged}


def curves_figure(runs: Sequence[InspectedRun], *, wide: bool) -> Figure:
    """A panel a metric, a line a run: solid in training, dashed in evaluation, its mark at the last step."""
    metrics = metrics_shown(runs)
    total, columns = (WIDE, 3) if wide else (NARROW, 2)
    width, rows = total / columns, -(-len(metrics) // columns)
    last = max(step for run in runs for series in run.record.values() for step in (1, *series.steps))
    with page_style():
        figure = new_figure(total, rows * (_ABOVE + _HEIGHT + _BETWEEN) - _BETWEEN + _BELOW)
        for index, (name, words) in enumerate(metrics.items()):
            row, column = divmod(index, columns)
            x, y = column * width + _LEFT, row * (_ABOVE + _HEIGHT + _BETWEEN) + _ABOVE
            axes = panel(figure, x, y, width - _LEFT - _GAP, _HEIGHT)
            axes.set_title(words, pad=9)
            axes.set_xlim(0, last)
            _draw_metric(axes, runs, name)
            lowest = index + columns >= len(metrics)
            axes.tick_params(labelbottom=lowest)
            axes.set_xlabel("optimizer steps" if lowest else "")
    return figure


def _draw_metric(axes: Axes, runs: Sequence[InspectedRun], name: str) -> None:
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    for index, run in enumerate(runs):
        color, marker, _ = LOOKS[index % len(LOOKS)]
        drawn = [(split, run.record.get(f"{split}/{name}")) for split in ("train", "eval")]
        lines = [(split, _thinned(series)) for split, series in drawn if series is not None and series.steps]
        for split, (steps, values) in lines:
            dashes = "-" if split == "train" else (0, (4, 2))
            axes.plot(steps, values, color=COLORS[color], lw=1.5, ls=dashes)
        if lines:
            steps, values = lines[0][1]
            axes.plot(steps[-1:], values[-1:], marker, ms=5, mew=0, color=COLORS[color], clip_on=False)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}".replace("-", MINUS)))


def _thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spaced points, the last one among them; what is not finite is a gap."""
    steps, values = np.asarray(series.steps), np.asarray(series.values, dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    every = -(-len(steps) // _MOST_POINTS)
    kept = slice((len(steps) - 1) % every, None, every)
    return steps[kept], values[kept]


def reliability_figure(judged: Sequence[tuple[str, ValueQuality]], *, wide: bool) -> Figure:
    """A row a run: rate of success by the value, of all prefixes and by their place in the completion."""
    per_run = max((len(quality.reliability) for _, quality in judged), default=1)
    places = list(product(judged, range(per_run)))
    with page_style():
        figure, panels = panel_grid(
            len(places), wide=wide, slots=4 if wide else 2, height=130 if wide else 110, above=44, label="value, %"
        )
        for axes, ((name, quality), index) in zip(panels, places, strict=True):
            if index >= len(quality.reliability):  # completions too short to be cut into thirds
                axes.remove()
                continue
            one = quality.reliability[index]
            title(axes, shorten(name, 20), f"{one.prefixes}, ECE {one.ece:.3f}")
            draw_reliability(axes, one.bins)
    return figure


def draw_reliability(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    """Rate of success by the chance given; the area of a dot is its share of the prefixes."""
    axes.grid(axis="y")
    axes.plot([0, 1], [0, 1], color=COLORS["baseline"], lw=1, ls=(0, (3, 3)))
    means, rates = [b.mean_value for b in bins], [b.observed_rate for b in bins]
    axes.plot(means, rates, color=COLORS["arm"], lw=1.4, clip_on=False)
    total = sum(b.count for b in bins)
    for mean, rate, b in zip(means, rates, bins, strict=True):
        size = 3 + 15 * sqrt(b.count / total)
        axes.plot([mean], [rate], "o", ms=size, mew=0, color=COLORS["arm"], alpha=0.8, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75], ["0", "25", "50", "75"])
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100"])
