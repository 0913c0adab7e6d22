"""research/docs/on-policy.md is made from the results that are kept."""

import json
from pathlib import Path

from research.on_policy.docs_page import DOCS, KEPT
from research.on_policy.report import page


def test_the_page_is_made_from_the_results():
    assert Path(DOCS / "on-policy.md").read_text() == page(json.loads(KEPT.read_text()))
