"""What Markdown documents are made of: sections, lists, tables and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; the first column names the row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str


def section(heading: str, *parts: str | None) -> list[str]:
    """The parts that are not empty, under a heading; nothing where every part is empty."""
    filled = [part for part in parts if part]
    return [f"## {heading}", *filled] if filled else []


def items(sentences: Sequence[str]) -> str:
    """A list; empty where there are no sentences."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def table_text(table: Table) -> str:
    """The table below its caption; empty where it has no rows."""
    if not table.rows:
        return ""
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    lines = [f"| {' | '.join(cells)} |".replace("\n", " ") for cells in (table.headings, rule, *table.rows)]
    return "\n".join([table.caption, "", *lines])


def between(page: str, mark: str, block: str) -> str:
    """The page with the block between its markers, `<!-- mark:begin -->` and `<!-- mark:end -->`."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"
