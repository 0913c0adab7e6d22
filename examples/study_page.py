"""Write docs/study.md and its pictures from a study's results, so that no number there is typed by hand.

usage: python examples/study_page.py study/results.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from weighted_mtp.reports.study_markdown import study_markdown
from weighted_mtp.reports.study_pictures import write_pictures

DOCS = Path(__file__).parents[1] / "docs"
KEPT = DOCS / "results" / "study.json"


def text(results: dict[str, Any], names: list[str]) -> str:
    """The page, its pictures being in docs/images."""
    return study_markdown(results, {name: f"images/study-{name}.svg" for name in names})


def main() -> None:
    """Keeps the results, draws the pictures, writes the page."""
    results = json.loads(Path(sys.argv[1]).read_text())
    arms = ",\n".join(json.dumps(entry) for entry in results["arms"])  # a line each: a diff can be read
    KEPT.write_text(f'{{"arms": [\n{arms}\n],\n"meta": {json.dumps(results["meta"])}}}\n')
    names = list(write_pictures(results, DOCS / "images"))
    (DOCS / "study.md").write_text(text(results, names))


if __name__ == "__main__":
    main()
