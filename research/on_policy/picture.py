"""Every arm against right_only, a panel a task: what the table of arms says, to look at."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from research.drawing.pictures import Picture
from research.on_policy.results import BASELINE, Difference
from weighted_mtp.reports.svg import COLORS, WIDE, in_percent, new_figure, page_style, panel

ROW, LEFT, ABOVE, BELOW, GAP = 19, 148, 34, 40, 14


def arms_picture(differences: Sequence[Difference]) -> Picture:
    """Differences by greedy decoding, arms in the order of their mean over tasks."""
    return Picture(
        lambda: _figure(differences),
        f"Every arm against {BASELINE} by task; the table below has the numbers.",
        f"Problems solved by greedy decoding, minus those of `{BASELINE}`, in points: means over draws with their 95 % "
        "intervals, which may run beyond the panel. Filled: decided after Holm's correction.",
    )


def _figure(differences: Sequence[Difference]) -> Figure:
    tasks = list(dict.fromkeys(d.task for d in differences))
    means = {d.arm: d.interval.mean for d in differences if d.task == tasks[-1]}
    arms = sorted(dict.fromkeys(d.arm for d in differences), key=lambda arm: means.get(arm, 0.0))
    width = (WIDE - LEFT - GAP * (len(tasks) - 1)) / len(tasks)
    with page_style():
        figure = new_figure(WIDE, ABOVE + ROW * len(arms) + BELOW)
        for i, task in enumerate(tasks):
            axes = panel(figure, LEFT + i * (width + GAP), ABOVE, width, ROW * len(arms))
            axes.set_title("all tasks" if task == "all" else task, pad=10)
            _draw(axes, [d for d in differences if d.task == task], arms)
            axes.set_yticks(range(len(arms)), arms if i == 0 else [""] * len(arms))
    return figure


def _draw(axes: Axes, some: Sequence[Difference], arms: Sequence[str]) -> None:
    axes.axvline(0, color=COLORS["baseline"], lw=1)
    axes.grid(axis="x")
    axes.set_xlim(-0.68, 0.42)
    axes.set_ylim(-0.7, len(arms) - 0.3)
    in_percent(axes.xaxis, signed=True)
    for d in some:
        y, color = arms.index(d.arm), COLORS["ceiling" if "oracle" in d.arm else "arm"]
        if d.interval.low is not None and d.interval.high is not None:
            axes.plot([d.interval.low, d.interval.high], [y, y], color=color, lw=1.6, solid_capstyle="round")
        face = color if d.verdict in ("better", "worse") else COLORS["surface"]
        axes.plot([d.interval.mean], [y], "o", ms=5.5, mew=1.5, color=color, mfc=face, zorder=4)
