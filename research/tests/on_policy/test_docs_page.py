"""research/docs/on-policy.md is made from the results that are kept."""

import json
import math
from pathlib import Path

from research.on_policy.docs_page import DOCS, KEPT
from research.on_policy.report import page
from research.on_policy.settings_tables import METRICS, NAMES
from research.on_policy.weight_tables import FORMER_RULE, again


def test_the_page_is_made_from_the_results():
    assert Path(DOCS / "on-policy.md").read_text() == page(json.loads(KEPT.read_text()))


def test_what_other_pages_say_of_the_former_rule_holds_in_these_results():
    results = json.loads(KEPT.read_text())
    found = [d for metric in METRICS for d in again(results, metric, list(NAMES))]
    assert {d.verdict for d in found} <= {"tie", "undecided"}
    assert {d.draws for d in found} == {3}
    assert "three draws move by at most 3 points" in FORMER_RULE
    assert math.ceil(max(abs(100 * d.interval.mean) for d in found)) == 3
    assert "intervals reach 12" in FORMER_RULE
    assert round(max(abs(100 * bound) for d in found for bound in (d.interval.low, d.interval.high))) == 12
