"""Write the experiment's page from its results: no number there is typed by hand.

usage: python -m research.real_teacher.docs_page OUT    (or research/docs/results/real-teacher.json)
"""

import json
import sys
from pathlib import Path

from research.real_teacher.report import page
from research.real_teacher.results import read_results

DOCS = Path(__file__).parents[1] / "docs"
KEPT = DOCS / "results" / "real-teacher.json"


def main() -> None:
    """Keeps the results of an output directory, a cell a line, and writes the page."""
    given = Path(sys.argv[1])
    results = json.loads(given.read_text()) if given.is_file() else read_results(given)
    lists = {name: ",\n".join(map(json.dumps, results[name])) for name in ("cells", "mistakes", "compared")}
    rest = {name: value for name, value in results.items() if name not in lists}
    text = "".join(f'"{name}": [\n{rows}\n],\n' for name, rows in lists.items())
    KEPT.write_text(f"{{{text}{json.dumps(rest)[1:]}\n")
    (DOCS / "real-teacher.md").write_text(page(results))


if __name__ == "__main__":
    main()
