"""Figures as SVG files beside a document, with the words that belong to them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.figure import Figure

from weighted_mtp.files import write_text
from weighted_mtp.reports.layout import asset
from weighted_mtp.reports.svg import bare_svg

_FONTS = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans KR', sans-serif"
_MARGIN = 14  # white around the figure


@dataclass(frozen=True)
class Picture:
    """A figure with the words that belong to it, as plain text."""

    draw: Callable[[], Figure]  # within `page_style`, without the shades of weights
    description: str
    caption: str


def shown(pictures: Mapping[str, Picture], addresses: Mapping[str, str]) -> dict[str, str]:
    """Each picture that has an address, with its caption below, as Markdown."""
    return {
        name: f"![{pictures[name].description}]({address})\n\n{pictures[name].caption}"
        for name, address in addresses.items()
        if name in pictures
    }


def save_pictures(pictures: Mapping[str, Picture], folder: str | Path, prefix: str) -> dict[str, Path]:
    """Writes each as `<prefix>-<name>.svg` into `folder`, which is made; names -> paths. Equal figures, equal bytes."""
    paths = {name: Path(folder) / f"{prefix}-{name}.svg" for name in pictures}
    for name, path in paths.items():
        write_text(path, standalone_svg(pictures[name].draw(), name))
    return paths


def standalone_svg(figure: Figure, prefix: str) -> str:
    """The text of an SVG file: the page's light colours on white, `prefix` before every id."""
    root = bare_svg(figure, prefix)
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
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", asset("page.css").partition("@media")[0]))
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colors[match.group(1)], text) + "\n"
