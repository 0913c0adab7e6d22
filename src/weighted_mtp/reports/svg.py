"""Matplotlib figures as inline SVG, in the colours and fonts of the page around it; panels to draw them in."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from weighted_mtp.reports.numbers import MINUS

WIDE, NARROW = 820, 352  # SVG units = CSS pixels at natural size

# Matplotlib wants colours it knows; the page wants CSS variables, which follow light and dark. Figures are
# drawn in these stand-ins, and each becomes `var(--name)`.
_ROLES = ("ink", "muted", "line", "surface", "baseline", "arm", "control", "ceiling")
_NAMES = (*_ROLES, "series-1", "series-2", "series-3")
COLORS = {name: f"#0a{index:02x}0b" for index, name in enumerate(_NAMES)}
SHADES = {level: f"#0c{level + 6:02x}0d" for level in range(-6, 7)}  # the 13 levels of the weight scale
_VARIABLES = {color: f"var(--{name})" for name, color in COLORS.items()} | {
    color: f"var(--bar-{level + 6})" for level, color in SHADES.items()
}

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: the page's font, selectable
    "text.parse_math": False,  # an arm may be called "a$b"
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), COLORS["line"]),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), COLORS["muted"]),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "axes.labelsize"), 11),
    **{"axes.titlelocation": "left", "axes.titlecolor": COLORS["ink"], "axes.titlesize": 12},
    **{"xtick.major.size": 3, "ytick.major.size": 0, "axes.linewidth": 1, "grid.linewidth": 0.75},
    "axes.axisbelow": True,
}


@contextmanager
def page_style() -> Iterator[None]:
    """Draw and write figures inside this: quiet axes, stand-in colours, text as text."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # The browser draws the text; that matplotlib's own font lacks Hangul does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` SVG units (CSS pixels at natural size)."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def panel(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes by the position of their top left corner, in SVG units."""
    full_width, full_height = figure.get_size_inches() * 72
    box = (x / full_width, 1 - (y + height) / full_height, width / full_width, height / full_height)
    return figure.add_axes(box)


def shorten(name: str, limit: int = 22) -> str:
    """A name that fits beside a figure: its end becomes an ellipsis beyond `limit` characters."""
    return name if len(name) <= limit else name[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def panel_grid(
    count: int, *, wide: bool, slots: int, height: float, above: float, label: str
) -> tuple[Figure, list[Axes]]:
    """`count` panels of a `height`, in SVG units, with room for a title `above`, `slots` side by side, that share their
    axes; tick labels and `label` at the left and below only."""
    left, between, below = 42, 20, 40
    columns = min(slots, max(count, 1))
    rows = -(-count // columns)
    total, gap = (WIDE, 20) if wide else (NARROW, 18)
    width = (total - left - 8 - gap * (slots - 1)) / slots
    figure = new_figure(total, rows * (above + height) + (rows - 1) * between + below)
    panels: list[Axes] = []
    for index in range(count):
        row, column = divmod(index, columns)
        axes = panel(figure, left + column * (width + gap), above + row * (above + height + between), width, height)
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


def in_percent(axis: Axis, *, signed: bool = False) -> None:
    """Few round ticks of fractions, in percent or as signed points."""
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    form = "{:+.3g}" if signed else "{:.0f}"
    axis.set_major_formatter(
        FuncFormatter(lambda x, _: "0" if abs(x) < 1e-9 else form.format(100 * x).replace("-", MINUS))
    )


def title(axes: Axes, first: str, second: str) -> None:
    """A title of two lines, the second one quiet; leave 44 units above the panel."""
    axes.set_title(first, pad=21)
    beside: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(second, (0, 1), (0, 7), **beside, fontsize=10.5, color=COLORS["muted"])


def inline_svg(figure: Figure, prefix: str) -> str:
    """A figure drawn within `page_style` as an `<svg>` element, `prefix` before its ids: another for each figure."""
    root = bare_svg(figure, prefix)
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def bare_svg(figure: Figure, prefix: str) -> ElementTree.Element:
    """The figure's tree with colours as CSS variables, without namespaces, links, fonts and clashing ids."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": prefix}), page_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = dict(_clean(key.rpartition("}")[2], value, prefix) for key, value in element.items())
        element.tail = None
        if element.tag != "text":
            element.text = None
    _drop_useless(root)
    return root


def _clean(key: str, value: str, prefix: str) -> tuple[str, str]:
    if key == "id":
        return key, f"{prefix}-{value}"
    if key in ("href", "clip-path"):
        return key, value.replace("#", f"#{prefix}-")
    if key == "style":
        value = re.sub(r"#0[ac][0-9a-f]{2}0[bd]", lambda match: _VARIABLES[match.group()], value)
        return key, re.sub(r"font-family: [^;]*; ?", "", value)
    return key, re.sub(r"-?\d+\.\d+", lambda match: f"{float(match.group()):.2f}", " ".join(value.split()))


def _drop_useless(root: ElementTree.Element) -> None:
    """Metadata, the global style rule, invisible backgrounds, and ids that nothing refers to."""
    used = {
        reference
        for element in root.iter()
        for key in ("href", "clip-path")
        for reference in re.findall(r"#([^)]+)", element.get(key, ""))
    }
    for parent in list(root.iter()):
        for child in list(parent):
            background = child.tag == "path" and child.get("style") == "fill: none"
            if child.tag in ("metadata", "style") or background:
                parent.remove(child)
        if parent.get("id") not in used:
            parent.attrib.pop("id", None)
