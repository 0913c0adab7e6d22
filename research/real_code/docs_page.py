"""Write the measured part of the page, and its pictures, from an experiment's results: no number typed by hand.

usage: python research/real_code/docs_page.py real-code/results.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.real_code.report.markdown import real_code_markdown
from research.real_code.report.pictures import write_pictures

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "research" / "docs"
PAGE, KEPT = DOCS / "real-code.md", DOCS / "results" / "real-code.json"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def measured(results: dict[str, Any], names: list[str]) -> str:
    """The part of the page that is made from the results, its pictures being in docs/images."""
    return real_code_markdown(results, {name: f"images/real-code-{name}.svg" for name in names})


def insert(page: str, block: str) -> str:
    """The page with the block between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{block.strip()}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Keeps the results, draws the pictures, and writes what is measured into the page."""
    results = json.loads(Path(sys.argv[1]).read_text())
    KEPT.write_text(json.dumps(results, indent=1) + "\n")
    names = list(write_pictures(results, DOCS / "images"))
    PAGE.write_text(insert(PAGE.read_text(), measured(results, names)))


if __name__ == "__main__":
    main()
