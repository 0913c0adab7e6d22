"""Write the study's page, its pictures and the READMEs' table from its results: no number there is typed by hand.

usage: python -m research.chains.docs_page study/results.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.chains.report.markdown import study_markdown
from research.chains.report.pictures import write_pictures
from research.chains.report.stopping import rule_table, stopping_table
from research.chains.report.tables import accuracy_by_setting, aim_table, gated_table
from research.chains.results import without_draw
from research.drawing.markdown import between, section, table_text

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "research" / "docs"
KEPT = DOCS / "results" / "study.json"
FIXED = DOCS / "results" / "study-fixed-critics.json"
TRIED = DOCS / "results" / "early-stopping.json"
MARK = "study"
READMES = {
    "README.md": "solved, %, where this share of completions is right:",
    "README.ko.md": "정답률, %. 맞은 응답의 비율:",
}


NOT_STOPPED = (
    "The critics of all other results on this page did not stop early: they had all their steps, on all prompts."
)
SEEN = 1
"""The draw of the study that was seen before the rule of early stopping was changed."""
NOT_SEEN = f"What was aimed at, without draw {SEEN}:"
BEFORE = """
## What was seen before

The 150 steps are those that suited right_only on a draw outside. They were fixed before these draws ran, but not
before any of them was seen: draw 0 had been run with 300 steps, where right_only and log_odds both did worse than with
150. The steps of the value heads were chosen on draws 100 and 101, outside the study. right_only_steps was added when
the other arms of the main setting had been seen.
"""


def text(results: dict[str, Any], names: list[str]) -> str:
    """The page, its pictures being in docs/images, and how its settings were found."""
    fixed, tried = (json.loads(path.read_text()) for path in (FIXED, TRIED))
    tables = table_text(rule_table(tried)), table_text(stopping_table(results, fixed)) or NOT_STOPPED
    unseen = without_draw(results, SEEN)
    told = [NOT_SEEN, table_text(aim_table(unseen)), table_text(gated_table(unseen))]
    stopping = "\n\n".join(section("Early stopping of critics", *tables, *told))
    return f"{study_markdown(results, {name: f'images/study-{name}.svg' for name in names})}\n{stopping}\n{BEFORE}"


def share_table(results: dict[str, Any], heading: str) -> str:
    """Mean accuracy of every arm by share of right completions."""
    made = accuracy_by_setting(results, "share_right")
    rows = [(heading, *made.headings[1:]), *((f"`{row[0]}`", *row[1:]) for row in made.rows)]
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|---|" + "---:|" * len(made.headings[1:]), *body])


def main() -> None:
    """Keeps the results, draws the pictures, writes the page and the tables."""
    results = json.loads(Path(sys.argv[1]).read_text())
    arms = ",\n".join(json.dumps(entry) for entry in results["arms"])  # a line each: a diff can be read
    KEPT.write_text(f'{{"arms": [\n{arms}\n],\n"meta": {json.dumps(results["meta"])}}}\n')
    names = list(write_pictures(results, DOCS / "images"))
    (DOCS / "study.md").write_text(text(results, names))
    for name, heading in READMES.items():
        page = ROOT / name
        page.write_text(between(page.read_text(), MARK, share_table(results, heading)))


if __name__ == "__main__":
    main()
