"""Write the experiment's page from its results: no number there is typed by hand.

usage: python -m research.own_smollm2.docs_page OUT    (or research/docs/results/own-smollm2.json)
"""

import sys
from pathlib import Path

from research.on_policy.docs_page import DOCS, kept
from research.own_smollm2.report import page

KEPT = DOCS / "results" / "own-smollm2.json"


def main() -> None:
    """Keeps the results of an output directory, a cell a line, and writes the page."""
    (DOCS / "own-smollm2.md").write_text(page(kept(Path(sys.argv[1]), KEPT, "research.own_smollm2")))


if __name__ == "__main__":
    main()
