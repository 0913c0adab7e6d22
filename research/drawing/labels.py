"""Where names and panels stand: names beside the ends of lines, so that no legend is needed, and full rows."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from weighted_mtp.reports.svg import COLORS


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions in the order of `wanted`, at least `gap` apart, as near to it as least squares allow.

    Args:
        wanted: positions in ascending order.
        gap: the least distance between neighbours.
        low: the lowest position allowed.
        high: the highest, unless there are too many for the room.
    """
    blocks: list[list[float]] = []  # neighbours that touch move as one: pool adjacent violators
    for index, position in enumerate(wanted):
        blocks.append([position - index * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    flat = [_mean(block) for block in blocks for _ in block]
    highest = max(low, high - gap * (len(flat) - 1))
    return [min(max(position, low), highest) + index * gap for index, position in enumerate(flat)]


def label_ends(axes: Axes, labels: Sequence[tuple[str, float, float, str]], *, gap: float = 14) -> None:
    """Write names at the right of `axes`, with a thin leader where a name had to move away from its line.

    Call it when the limits of the axes are final.

    Args:
        axes: where the lines are.
        labels: name, x and y of the line's last point, colour.
        gap: SVG units between the middles of neighbouring names.
    """
    if not labels:
        return
    box = axes.get_window_extent()
    right = max(axes.transData.transform((x, y))[0] for _, x, y, _ in labels)
    ends = [(axes.transData.transform((x, y)), name, color) for name, x, y, color in labels]
    ends.sort(key=lambda end: end[0][1])
    placed = spread([end[0][1] for end in ends], gap, box.y0, box.y1)
    for ((x, y), name, color), height in zip(ends, placed, strict=True):
        start, stop = x + 8, right + 20
        axes.annotate(
            name,
            (stop + 3, height),
            xycoords="figure pixels",
            va="center_baseline",
            fontsize=11.5,
            color=color,
            annotation_clip=False,
        )
        axes.annotate(
            "",
            (start, y),
            (stop, height),
            xycoords="figure pixels",
            textcoords="figure pixels",
            arrowprops={"arrowstyle": "-", "color": COLORS["line"], "lw": 1, "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )


def balanced(count: int, most: int) -> int:
    """How many panels side by side fill the rows best, in as few rows as `most` allows."""
    rows = -(-count // most)
    return -(-count // rows) if rows else most


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
