"""What the experiment found, as figures: who finds the wrong token, whose chances are true, what students learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from research.drawing.labels import balanced
from research.real_code.report.measures import LOCALISATION, STUDENTS, Estimate, Measure, capital
from research.real_code.report.numbers import (
    BASELINE,
    BESIDE,
    SURPRISAL,
    UNTRAINED,
    UNTRAINED_ALL,
    Results,
    calibration,
    critics,
    difference,
    estimate,
    localisation,
    signals,
    students,
)
from weighted_mtp.demo.page.figures import label_rows
from weighted_mtp.evaluation.calibration import ReliabilityBin
from weighted_mtp.inspection.figures import draw_reliability
from weighted_mtp.reports.numbers import MINUS
from weighted_mtp.reports.svg import COLORS, WIDE, new_figure, page_style, panel, panel_grid, title

_LEFT, _TOP, _BOTTOM, _BETWEEN, _RIGHT, _ROW = 124, 26, 30, 28, 14, 24
_TITLES = 44  # room for a title of two lines
_LONG = {UNTRAINED_ALL: "all three"}  # beside the figure there is no room for more
_DASHES: dict[str, Any] = {SURPRISAL: (0, (4, 3)), UNTRAINED_ALL: (0, (1, 2))}


@dataclass(frozen=True)
class _Look:
    color: str
    marker: str
    hollow: bool = False


_SIGNAL, _ALONE, _FIT = _Look("baseline", "s"), _Look("arm", "o"), _Look("arm", "o", hollow=True)


@dataclass(frozen=True)
class _Row:
    label: str
    method: str
    look: _Look


def draw_localisation(results: Results) -> Figure:
    """AUC and top-1 of every method with intervals; what is to be beaten as vertical lines."""
    rows = _localisation_rows(results)
    labels = [row if isinstance(row, str) else {"arm": row.label} for row in rows]
    height = _ROW * len(rows)
    width = (WIDE - _LEFT - _RIGHT - _BETWEEN) / 2
    with page_style():
        figure = new_figure(WIDE, _TOP + height + _BOTTOM)
        for index, measure in enumerate(LOCALISATION):
            axes = panel(figure, _LEFT + index * (width + _BETWEEN), _TOP, width, height)
            label_rows(axes, labels, named=index == 0)
            axes.set_title(capital(measure.heading), pad=9)
            _draw_methods(axes, results, rows, measure)
    return figure


def _localisation_rows(results: Results) -> list[str | _Row]:
    """Methods below the headings of their groups; groups without a method are left out."""
    names = critics(results)
    groups = {
        "Untrained": [_Row(_LONG.get(name, name), name, _SIGNAL) for name in signals(results)],
        "Critics alone": [_Row(name, name, _ALONE) for name in names],
        "With surprisal": [_Row(name, name + BESIDE[SURPRISAL], _FIT) for name in names],
        "With all three": [_Row(name, name + BESIDE[UNTRAINED_ALL], _FIT) for name in names],
    }
    return [line for heading, rows in groups.items() if rows for line in (heading, *rows)]


def _draw_methods(axes: Axes, results: Results, rows: Sequence[str | _Row], measure: Measure) -> None:
    found = localisation(results)
    extent: list[float] = []
    for bar, dashes in _DASHES.items():
        known = estimate(found, bar, measure)
        if known is not None:
            axes.axvline(known.mean, color=COLORS["muted"], lw=1, ls=dashes, zorder=1)
    for y, row in enumerate(rows):
        known = None if isinstance(row, str) else estimate(found, row.method, measure)
        if known is not None and isinstance(row, _Row):
            _draw_estimate(axes, known, y, row.look)
            extent += _extent(known)
    _set_limits(axes, extent)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _tick(x, measure)))


def draw_calibration(results: Results) -> Figure:
    """A panel a critic: rate of right completions by the chance it gave at their end."""
    found = {name: calibration(results)[name] for name in critics(results) if name in calibration(results)}
    with page_style():
        figure, panels = panel_grid(
            len(found),
            wide=True,
            slots=max(balanced(len(found), 4), 3),
            height=150,
            above=_TITLES,
            label="chance given, %",
        )
        for axes, (name, entry) in zip(panels, found.items(), strict=True):
            title(axes, name, f"ECE {entry['ece']:.3f}")
            draw_reliability(axes, [ReliabilityBin(**b) for b in entry["reliability"]])
    return figure


def students_compared(results: Results) -> list[str]:
    """Students that have differences to the baseline; the untrained model is none."""
    found = students(results)
    return [
        name
        for name in found
        if name != UNTRAINED and any(difference(found, name, BASELINE, measure) is not None for measure in STUDENTS)
    ]


def draw_students(results: Results) -> Figure:
    """A panel a measure: each student's paired difference to the baseline, with its interval."""
    found, names = students(results), students_compared(results)
    measures = [m for m in STUDENTS if any(difference(found, name, BASELINE, m) for name in names)]
    columns = balanced(len(measures), 3)
    width = (WIDE - _LEFT - _RIGHT - _BETWEEN * (columns - 1)) / columns
    height = _ROW * len(names)
    below = _TITLES + height + _BOTTOM
    with page_style():
        figure = new_figure(WIDE, -(-len(measures) // columns) * below)
        for index, measure in enumerate(measures):
            row, column = divmod(index, columns)
            axes = panel(figure, _LEFT + column * (width + _BETWEEN), row * below + _TITLES, width, height)
            label_rows(axes, [{"arm": name} for name in names], named=column == 0)
            better = f", {measure.better} is better" if measure.better else ""
            title(axes, capital(measure.name), measure.difference_unit + better)
            axes.axvline(0, color=COLORS["baseline"], lw=1, ls=(0, (3, 3)), zorder=1)
            extent = [0.0]
            for y, name in enumerate(names):
                made = difference(found, name, BASELINE, measure)
                if made is not None:
                    sure = made.verdict not in ("undecided", "no interval")
                    _draw_estimate(axes, made.estimate, y, _ALONE if sure else _FIT)
                    extent += _extent(made.estimate)
            _set_limits(axes, extent)
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _, m=measure: _difference_tick(x, m)))
    return figure


def _draw_estimate(axes: Axes, known: Estimate, y: int, look: _Look) -> None:
    color = COLORS[look.color]
    if known.low is not None and known.high is not None:
        axes.plot([known.low, known.high], [y, y], color=color, lw=2, solid_capstyle="round", zorder=3)
    face = COLORS["surface"] if look.hollow else color
    axes.plot([known.mean], [y], look.marker, ms=7, mew=1.6, color=color, mfc=face, clip_on=False, zorder=4)


def _extent(known: Estimate) -> list[float]:
    return [x for x in (known.mean, known.low, known.high) if x is not None]


def _set_limits(axes: Axes, extent: Sequence[float]) -> None:
    margin = 0.06 * max(max(extent) - min(extent), 1e-3)
    axes.set_xlim(min(extent) - margin, max(extent) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _tick(x: float, measure: Measure) -> str:
    """`0.8`, or `20` in percent."""
    return f"{100 * x:.3g}" if measure.unit == "%" else f"{x:.3g}"


def _difference_tick(x: float, measure: Measure) -> str:
    """`−0.02`, or `+2` in points; 0 has no sign."""
    if abs(x) < 1e-9:
        return "0"
    return f"{100 * x if measure.unit == '%' else x:+.3g}".replace("-", MINUS)
