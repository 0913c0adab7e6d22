"""A table of text, whatever shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; the first column names the row. A second line of a cell is said quietly."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
