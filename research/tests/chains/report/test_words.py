"""The study's sentences say what its numbers say, whichever way they came out."""

from typing import Any

import pytest

from research.chains.report.markdown import study_markdown
from research.chains.report.words import claim, lead, notes, spent

Study = dict[str, Any]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def compared(study: Study, setting: str, first: str, diff: float, half: float | None) -> Study:
    """The study with another outcome of `first` against right_only in one setting."""
    low, high = (None, None) if half is None else (diff - half, diff + half)
    changed = [
        {**entry, "diff": diff, "low": low, "high": high, "adjusted": half and (0.01 if abs(diff) > half else 0.5)}
        if (entry["setting"], entry["first"], entry["second"]) == (setting, first, "right_only")
        else entry
        for entry in study["meta"]["comparisons"]
    ]
    return {**study, "meta": {**study["meta"], "comparisons": changed}}


@pytest.mark.parametrize(
    ("diff", "half", "words"),
    [
        (0.281, 0.02, "beats right_only by 28.1 points at 24 % right."),
        (-0.05, 0.02, "loses to right_only by 5.0 points at 24 % right."),
        (0.01, 0.03, "ties with right_only at 24 % right (+1.0 points)."),
        (0.3, 0.5, "is not told from right_only at 24 % right (+30.0 points)."),
        (0.3, None, "differs from right_only by +30.0 points at 24 % right (a single draw, no interval)."),
    ],
)
def test_the_claim_is_what_the_interval_says(quick_study: Study, diff: float, half: float | None, words: str) -> None:
    for arm in ("log_odds", "gated"):
        said = plain(claim(compared(quick_study, "low_success", arm, diff, half)))
        assert f"{arm} {words}" in said


def test_the_claim_tells_settings_apart(study: Study) -> None:
    words = plain(claim(compared(study, "share_70", "log_odds", -0.02, 0.01)))

    assert " at 5, 15, 24 and 49 % right and loses to right_only by 2.0 points at 70 % right." in words


def test_without_the_pair_nothing_is_claimed(quick_study: Study) -> None:
    bare = {**quick_study, "meta": {**quick_study["meta"], "comparisons": []}}

    assert claim(bare) == "log_odds and right_only were not both run."


def test_a_single_draw_decides_nothing(single_draw_study: Study) -> None:
    assert "wins" not in claim(single_draw_study)
    assert "A single draw: no interval, and so no verdict." in notes(single_draw_study)


def test_the_lead_counts_completions_steps_and_draws(study: Study) -> None:
    words = plain(lead(study))

    for part in ("8,000 completions", "24 % are right", "the same 300 steps", "5 draws", "Student's t"):
        assert part in words


def test_a_study_whose_main_setting_did_not_run_has_a_lead(study: Study) -> None:
    cut = {**study, "arms": [entry for entry in study["arms"] if entry["setting"] != "low_success"]}

    assert "are right" not in lead(cut)


def test_notes_speak_only_of_what_ran(study: Study, quick_study: Study) -> None:
    assert any(note.startswith("implicit") for note in notes(study))
    assert not any(note.startswith(("implicit", "label_conditioned")) for note in notes(quick_study))
    assert any("quick preset" in note for note in notes(quick_study))
    assert not any("quick preset" in note for note in notes(study))


def test_equal_steps_are_told_beside_what_they_cost(study: Study) -> None:
    assert spent(study) == ""
    assert "CPU seconds" not in study_markdown(study, {}).split("## ")[0]

    rerun = [entry for entry in study["arms"] if (entry["setting"], entry["arm"]) == ("low_success", "right_only")]
    more = [{**entry, "arm": "right_only_steps", "cpu_seconds": 40.0} for entry in rerun]
    costs = {"log_odds": 23.0, "gated": 140.0}
    arms = [{**entry, "cpu_seconds": costs.get(entry["arm"], 1.0)} for entry in study["arms"]]
    told = plain(spent({**study, "arms": arms + more}))

    assert "at 24 % right it takes 40 CPU seconds, log_odds with its critic 38, gated with its critic and" in told
    assert "the folds of its skill 154, mean over draws" in told
    assert spent({**study, "arms": arms + more}) in study_markdown({**study, "arms": arms + more}, {}).split("## ")[0]


@pytest.mark.parametrize(("adjusted", "verdict"), [(0.01, "decidedly better"), (0.3, "undecided")])
def test_the_page_says_what_cross_entropy_is_worth_for_a_value_head(study: Study, adjusted, verdict) -> None:
    assert not any(note.startswith("td_bce") for note in notes(study))
    pair = {"setting": "low_success", "first": "td_bce", "second": "td_whitened", "n": 5, "p": 0.005}
    pair |= {"diff": 0.108, "low": 0.053, "high": 0.164, "adjusted": adjusted}
    meta = {**study["meta"], "comparisons": [*study["meta"]["comparisons"], pair]}

    (said,) = [note for note in notes({**study, "meta": meta}) if note.startswith("td_bce")]

    assert said.endswith(f": +10.8 points [+5.3, +16.4], {verdict} after correction.")
