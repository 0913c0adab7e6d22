"""The files that a page is made of, and the colours written in them."""

import re
from importlib.resources import files


def asset(name: str) -> str:
    """A file of this folder, as text."""
    return files("weighted_mtp.reports").joinpath(name).read_text(encoding="utf-8")


def light_colors() -> dict[str, str]:
    """The page's plain colours on a light screen: name to `#rrggbb`."""
    light = asset("page.css").partition("@media")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
