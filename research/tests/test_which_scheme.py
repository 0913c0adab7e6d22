"""The table of docs/which-scheme.md is made from the results that are kept."""

import json

import pytest

from research.drawing.markdown import between
from research.on_policy.arms import COMPARED
from research.on_policy.results import ORACLE, differences
from research.own_smollm2.report import COMPARED as COMPARED_OF_SMOLLM2
from research.tests.chains.report.made_study import full_study
from research.which_scheme import ARMS, KEPT, MARK, PAGE, RESULTS, Lead, Setting, block, kept, of_own_samples, of_study
from weighted_mtp.reports.numbers import NOTHING


def test_the_file_of_the_package_is_made_from_the_results():
    assert KEPT.read_text() == kept()


def skill(gate: float, auc: float, within: bool = True) -> dict:
    return {"gate": gate, "auc": {"mean": auc, "low": auc, "high": auc}, "within_prompts": within, "verdict": ""}


def test_a_study_row_shows_the_skill_that_gated_mixed_by_where_it_was_kept():
    study = full_study()
    without = of_study(study, "share_05").cells
    assert without[3:5] == (NOTHING, NOTHING)
    skills = iter([skill(0.4, 0.8), skill(0.5, 0.9), skill(0.3, 0.7), skill(0.4, 0.8), skill(0.4, 0.1, within=False)])
    for arm in study["arms"]:
        if (arm["setting"], arm["arm"]) == ("share_05", "gated"):
            arm["skill"] = next(skills)
    found = of_study(study, "share_05")
    assert found.cells[3:5] == ("0.400", "0.800 (4 of 5 draws)")
    assert (found.kept["gate"], found.kept["auc"]) == (0.4, 0.8)
    assert found.cells[:3] + found.cells[5:] == without[:3] + without[5:]


def test_what_is_decidedly_ahead_is_picked_and_nothing_else():
    def picked(**leads: Lead) -> str:
        return Setting(10, "a teacher", False, 1.5, 0.2, [], 0.5, leads).cells[-1]

    assert picked(log_odds=Lead(0.2, True), gated=Lead(0.3, True)) == "`gated`"
    assert picked(log_odds=Lead(0.2, True), gated=Lead(0.3, False)) == "`log_odds`"
    assert picked(log_odds=Lead(-0.2, True)) == "`right_only`"


def test_the_table_is_made_from_the_results():
    assert between(PAGE.read_text(), MARK, block()) == PAGE.read_text()


@pytest.mark.parametrize(
    ("name", "share", "compared"), [("on-policy", 25, COMPARED), ("own-smollm2", 0, COMPARED_OF_SMOLLM2)]
)
def test_a_lead_is_bold_where_the_experiments_own_page_has_it_decided(name, share, compared):
    results = json.loads((RESULTS / f"{name}.json").read_text())
    made = [one.cells for one in of_own_samples(results, share, "its own", compared)]
    rows = {row[0].split(", ")[-1]: row[6:-1] for row in made}
    found = {(d.task, d.arm): d.verdict for d in differences(results, "greedy", compared, list(rows), share=share)}
    for task, leads in rows.items():
        for arm, lead in zip((ORACLE, *ARMS), leads, strict=True):
            assert lead.startswith("**") == (found[task, arm] in ("better", "worse")), (task, arm)
