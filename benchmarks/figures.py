"""The pictures of docs/benchmarks.md: results in, SVG out, the same bytes for the same results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from benchmarks.harness import read_results
from benchmarks.steps import tokens_per_second

INK, MUTED, LINE = "#1f2430", "#5b6472", "#d5d9e0"
COLORS = ("#2563a8", "#c2571a", "#3f8f5b", "#7a5ea8")  # told apart also by those who do not see red and green
STYLE: Any = {
    "svg.hashsalt": "weighted-mtp",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "grid.color": LINE,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
Results = list[dict[str, Any]]
UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "avx512f": "AVX-512"}


def kind(results: dict[str, Any]) -> str:
    """Short name of the machine."""
    units = results["environment"]["matrix_units"]
    return UNITS[units[0]] if units else "other CPU"


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        yield figure
        figure.savefig(path, metadata={"Date": None})


def loss_figure(figure: Figure, results: Results) -> None:
    """Bars of time and memory over naive, a colour a machine."""
    names = {"ours": "all", "ours_60_percent": "60 %", "rho1_60_percent": "Rho-1"}
    time, memory = figure.subplots(1, 2, sharey=True)
    labels: list[str] = []
    for m, one in enumerate(results):
        entries = [e for e in one["against_naive"] if "time" in e]
        labels = [f"{e['dtype']}, {names[n]}" for e in entries for n in names]
        y = [i + (m - (len(results) - 1) / 2) * 0.8 / len(results) for i in range(len(labels))]
        style: Any = {"height": 0.74 / len(results), "color": COLORS[m], "label": kind(one)}
        times = [e["time"]["ratio"][n] for e in entries for n in names]
        medians = [t["median"] for t in times]
        spans = [[t["median"] - t["quartiles"][0], t["quartiles"][1] - t["median"]] for t in times]
        time.barh(y, medians, xerr=list(zip(*spans, strict=True)), ecolor=INK, **style)
        memory.barh(y, [e["memory"]["ratio"][n] for e in entries for n in names], **style)
    time.set_yticks(range(len(labels)), labels)
    time.invert_yaxis()
    for axes, title in ((time, "time / naive"), (memory, "peak memory / naive")):
        axes.axvline(1.0, color=MUTED, linewidth=1)
        axes.set(title=title, xlim=(0, 1.05))
        axes.grid(axis="x")
    figure.legend(*memory.get_legend_handles_labels(), loc="outside lower right", ncols=len(results))


def growth_figure(figure: Figure, results: Results) -> None:
    """Two rows (seconds, megabytes) by four axes."""
    titles = {"seq": "tokens a row", "n_future": "heads", "vocab": "vocabulary", "batch": "rows"}
    grid = figure.subplots(2, len(titles), sharey="row")
    for column, (axis, title) in enumerate(titles.items()):
        for m, one in enumerate(results):
            g = one["growth"][axis]
            seconds, megabytes = [s["median"] for s in g["seconds"]], [b / 1e6 for b in g["bytes"]]
            _line(grid[0, column], g[axis], seconds, m, f"{kind(one)} p = {g['time_exponent']:.2f}")
            _line(grid[1, column], g[axis], megabytes, m, f"{kind(one)} p = {g['memory_exponent']:.2f}")
        grid[0, column].set_title(title)
    grid[0, 0].set_ylabel("seconds")
    grid[1, 0].set_ylabel("MB above the inputs")


def _line(axes: Axes, x: list[int], y: list[float], m: int, label: str) -> None:
    axes.loglog(x, y, marker="o", markersize=4, color=COLORS[m], label=label)
    axes.set_xticks(x, [f"{n // 1024}k" if n >= 1024 else str(n) for n in x])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, 4 * max(y)))  # room for the legend
    axes.legend(loc="upper left", handlelength=1)
    axes.grid(alpha=0.6)


def scan_growth_figure(figure: Figure, results: Results) -> None:
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for axes, one in zip(panels, results, strict=True):
        for m, g in enumerate(one["growth"]):
            _line(axes, g["seq"], [1e3 * s for s in g["seconds"]], m, f"{g['kind']} p = {g['slope']:.2f}")
        axes.set(title=f"compute_gae, 4 rows, {kind(one)}", xlabel="tokens a row", ylabel="milliseconds")


def scan_figure(figure: Figure, results: Results) -> None:
    """How many times longer the others take, on a logarithmic axis."""
    one = results[-1]
    axes = figure.subplots()
    rows = [(e, peer) for e in one["times"] for peer in ("loop", "torchrl") if peer in e["times_longer"]]
    for i, (entry, peer) in enumerate(rows):
        median = entry["times_longer"][peer]["median"]
        axes.barh(i, median, color=COLORS[peer == "torchrl"], height=0.75)
        axes.text(median * 1.06, i, f"{median:.1f}" if median < 20 else f"{median:.0f}", va="center", fontsize=8)
    labels = [f"{e['kind']}, {e['size'][0]} x {e['size'][1]}" for e, _ in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.set_title(f"times longer than compute_gae, {kind(one)}")
    axes.legend(handles=[Patch(color=COLORS[i], label=n) for i, n in enumerate(("Python loop", "torchrl"))])
    axes.grid(axis="x")


def steps_figure(figure: Figure, results: Results) -> None:
    """Tokens a second and gigabytes of every arm, both precisions."""
    speed, memory = figure.subplots(1, 2, sharey=True)
    arms = list(results[0]["seconds"])
    for m, one in enumerate(results):
        y = [i + (m - (len(results) - 1) / 2) * 0.8 / len(results) for i in range(len(arms))]
        style: Any = {"height": 0.74 / len(results), "color": COLORS[m], "label": f"{one['dtype']}, {kind(one)}"}
        speed.barh(y, [tokens_per_second(one, arm) for arm in arms], **style)
        memory.barh(y, [one["bytes"][arm] / 1e9 for arm in arms], **style)
    speed.set_yticks(range(len(arms)), arms)
    speed.invert_yaxis()
    speed.set_title("tokens a second, one thread")
    memory.set_title("peak memory above the model, GB")
    figure.legend(*memory.get_legend_handles_labels(), loc="outside lower right", ncols=len(results))
    for axes in (speed, memory):
        axes.grid(axis="x")


FIGURES: dict[str, tuple[Callable[[Figure, Results], None], str, float, float]] = {
    "bench-loss": (loss_figure, "loss", 9, 3.2),
    "bench-growth": (growth_figure, "loss", 11, 5.2),
    "bench-scan": (scan_figure, "scan", 9, 6),
    "bench-scan-growth": (scan_growth_figure, "scan", 9, 3.2),
    "bench-steps": (steps_figure, "steps", 9, 3.4),
}


def draw_all(folder: Path) -> list[Path]:
    """Draw every picture for which there are results."""
    drawn = []
    for name, (draw, benchmark, width, height) in FIGURES.items():
        results = read_results(benchmark)
        if results:
            with picture(folder / f"{name}.svg", width, height) as figure:
                draw(figure, results)
            drawn.append(folder / f"{name}.svg")
    return drawn
