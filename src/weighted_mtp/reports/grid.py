"""A grid of small panels with equal axes."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weighted_mtp.reports.svg import COLORS, NARROW, WIDE, new_figure, panel

_LEFT, _BETWEEN, _BELOW = 42, 20, 40


def panel_grid(
    count: int, *, wide: bool, slots: int, height: float, above: float, label: str
) -> tuple[Figure, list[Axes]]:
    """`count` panels that share their axes; tick labels and `label` at the left and below only.

    Args:
        count: how many panels.
        wide: which layout.
        slots: panels side by side; with fewer panels the rest stays empty.
        height: of a panel, in SVG units.
        above: room for its title.
        label: of the x axis.
    """
    columns = min(slots, max(count, 1))
    rows = -(-count // columns)
    total, gap = (WIDE, 20) if wide else (NARROW, 18)
    width = (total - _LEFT - 8 - gap * (slots - 1)) / slots
    figure = new_figure(total, rows * (above + height) + (rows - 1) * _BETWEEN + _BELOW)
    panels: list[Axes] = []
    for index in range(count):
        row, column = divmod(index, columns)
        x, y = _LEFT + column * (width + gap), above + row * (above + height + _BETWEEN)
        axes = panel(figure, x, y, width, height)
        if panels:
            axes.sharex(panels[0])
            axes.sharey(panels[0])
        axes.spines["left"].set_visible(False)
        lowest = index + columns >= count
        axes.tick_params(labelleft=column == 0, labelbottom=lowest)
        if lowest:
            axes.set_xlabel(label)
        panels.append(axes)
    return figure, panels


def balanced(count: int, most: int) -> int:
    """How many panels side by side fill the rows best, in as few rows as `most` allows."""
    rows = -(-count // most)
    return -(-count // rows) if rows else most


def title(axes: Axes, first: str, second: str) -> None:
    """A title of two lines, the second one quiet; leave 44 units above the panel."""
    axes.set_title(first, pad=21)
    axes.annotate(
        second,
        (0, 1),
        (0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=10.5,
        color=COLORS["muted"],
    )
