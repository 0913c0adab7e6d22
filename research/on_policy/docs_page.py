"""Write the experiment's page from its results: no number there is typed by hand.

usage: python -m research.on_policy.docs_page OUT [AGAIN]    (or research/docs/results/on-policy.json)

AGAIN is an output directory of the same draws with critics of today: those of OUT were kept by another rule.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from research.drawing.pictures import save_pictures
from research.on_policy.report import page, pictures
from research.on_policy.results import Results, read_results
from research.on_policy.weight_tables import AGAIN, OF_CRITICS

DOCS = Path(__file__).parents[1] / "docs"
KEPT = DOCS / "results" / "on-policy.json"


def kept(given: Path, to: Path, program: str = "research.on_policy", again: Sequence[Path] = ()) -> Results:
    """The results of an output directory or of a file, after they were written to a file, a cell a line."""
    results = json.loads(given.read_text()) if given.is_file() else read_results(given, program)
    anew = [cell for out in again for cell in read_results(out, program)["cells"] if cell["name"] in OF_CRITICS]
    if again:
        results["cells"] = [cell for cell in results["cells"] if not cell["name"].endswith(AGAIN.format(""))]
    results["cells"] += [cell | {"name": AGAIN.format(cell["name"])} for cell in anew]
    cells = ",\n".join(json.dumps(cell) for cell in results["cells"])
    to.write_text(f'{{"cells": [\n{cells}\n],\n"meta": {json.dumps(results["meta"])}}}\n')
    return results


def main() -> None:
    """Keeps the results of an output directory, and writes the page."""
    out, *again = map(Path, sys.argv[1:])
    results = kept(out, KEPT, again=again)
    save_pictures(pictures(results), DOCS / "images", "on-policy")
    (DOCS / "on-policy.md").write_text(page(results))


if __name__ == "__main__":
    main()
