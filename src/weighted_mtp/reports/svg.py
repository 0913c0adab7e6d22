"""Matplotlib figures as SVG: inline, in the colours and fonts of the page around it, or as a file of its own."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weighted_mtp.files import write_text
from weighted_mtp.reports.assets import light_colors

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

_FONTS = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans KR', sans-serif"  # of files
_MARGIN = 14  # white around the figure in a file

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: the page's font, selectable
    "text.parse_math": False,  # an arm may be called "a$b"
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLORS["line"],
    "axes.labelcolor": COLORS["muted"],
    "axes.titlelocation": "left",
    "axes.titlecolor": COLORS["ink"],
    "xtick.color": COLORS["line"],
    "ytick.color": COLORS["line"],
    "xtick.labelcolor": COLORS["muted"],
    "ytick.labelcolor": COLORS["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.labelsize": 11,
    "axes.titlesize": 12,
    "axes.linewidth": 1,
    "grid.color": COLORS["line"],
    "grid.linewidth": 0.75,
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


def inline_svg(figure: Figure, prefix: str) -> str:
    """The figure as an `<svg>` element: no namespaces, links or clashing ids.

    Args:
        figure: drawn within `page_style`.
        prefix: put before every id; a different one for each figure of the page.
    """
    root = _bare(figure, prefix)
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def standalone_svg(figure: Figure, prefix: str) -> str:
    """The figure as the text of an SVG file: the page's light colours on white, equal input giving equal text.

    Args:
        figure: drawn within `page_style`, without the shades of weights.
        prefix: put before every id.
    """
    root = _bare(figure, prefix)
    edges = [float(edge) for edge in root.attrib["viewBox"].split()[2:]]
    width, height = (f"{edge + 2 * _MARGIN:g}" for edge in edges)
    corner = f"{-_MARGIN}"
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"{corner} {corner} {width} {height}",
        "width": width,
        "height": height,
        "font-family": _FONTS,
    }
    paper = {"x": corner, "y": corner, "width": width, "height": height, "fill": "#ffffff"}
    root.insert(0, ElementTree.Element("rect", paper))
    colors = light_colors()
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colors[match.group(1)], text) + "\n"


def save_figures(figures: Iterable[tuple[str, Figure]], folder: str | Path, prefix: str) -> dict[str, Path]:
    """Writes each figure as `<prefix>-<name>.svg` into `folder`, which is made; equal figures, equal bytes.

    Returns:
        Names -> paths.
    """
    folder = Path(folder)
    paths: dict[str, Path] = {}
    for name, figure in figures:
        paths[name] = folder / f"{prefix}-{name}.svg"
        write_text(paths[name], standalone_svg(figure, name))
    return paths


def _bare(figure: Figure, prefix: str) -> ElementTree.Element:
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
