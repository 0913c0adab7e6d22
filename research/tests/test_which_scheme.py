"""The table of docs/which-scheme.md is made from the results that are kept."""

import json

import pytest

from research.drawing.markdown import between
from research.on_policy.arms import COMPARED
from research.on_policy.results import ORACLE, differences
from research.own_smollm2.report import COMPARED as COMPARED_OF_SMOLLM2
from research.which_scheme import ARMS, MARK, PAGE, RESULTS, block, of_own_samples


def test_the_table_is_made_from_the_results():
    assert between(PAGE.read_text(), MARK, block()) == PAGE.read_text()


@pytest.mark.parametrize(
    ("name", "share", "compared"), [("on-policy", 25, COMPARED), ("own-smollm2", 0, COMPARED_OF_SMOLLM2)]
)
def test_a_lead_is_bold_where_the_experiments_own_page_has_it_decided(name, share, compared):
    results = json.loads((RESULTS / f"{name}.json").read_text())
    rows = {row[0].split(", ")[-1]: row[5:-1] for row in of_own_samples(results, share, "its own", compared)}
    found = {(d.task, d.arm): d.verdict for d in differences(results, "greedy", compared, list(rows), share=share)}
    for task, leads in rows.items():
        for arm, lead in zip((ORACLE, *ARMS), leads, strict=True):
            assert lead.startswith("**") == (found[task, arm] in ("better", "worse")), (task, arm)
