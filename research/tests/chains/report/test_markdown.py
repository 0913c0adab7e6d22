"""The document of the study: every number from the results, nothing where there is none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from research.chains.report.markdown import study_markdown
from research.chains.report.pictures import write_pictures

Study = dict[str, Any]
HEADINGS = [
    "What was aimed at", "Every arm, 24 % right", "With fewer right, with fewer completions",
    "Who wins, pair by pair", "What the critics know", "Four heads", "Settings and cost", "Worth knowing",
    "How this was made",
]  # fmt: skip


@pytest.fixture(scope="module")
def document(study: Study) -> str:
    return plain(study_markdown(study, {}))


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def headings(document: str) -> list[str]:
    return re.findall(r"^## (.*)$", document, re.MULTILINE)


def rows(document: str, first: str) -> list[list[str]]:
    lines = [line for line in document.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_whole_study_has_every_section(document: str) -> None:
    assert headings(document) == HEADINGS


def test_results_read_back_from_json_give_the_same_text(study: Study) -> None:
    assert study_markdown(json.loads(json.dumps(study)), {}) == study_markdown(study, {})


def test_numbers_are_those_of_the_results(document: str, study: Study) -> None:
    draws = [e["accuracy"] for e in study["arms"] if (e["setting"], e["arm"]) == ("share_15", "log_odds")]
    pair = next(
        c
        for c in study["meta"]["comparisons"]
        if (c["setting"], c["first"], c["second"]) == ("share_15", "log_odds", "right_only")
    )
    accuracy = f"{100 * sum(draws) / 5:.1f}"
    by_share = next(row for row in rows(document, "log_odds") if len(row) == 6 and row[2] == accuracy)
    (difference, _) = rows(document, "log_odds − right_only")

    assert by_share[0] == "log_odds"
    assert difference[2] == f"+{100 * pair['diff']:.1f} ± {50 * (pair['high'] - pair['low']):.1f} wins"


def test_every_row_of_a_table_has_as_many_cells_as_its_heading(document: str) -> None:
    for block in document.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_pictures_are_shown_by_the_address_given(study: Study, tmp_path: Path) -> None:
    paths = write_pictures(study, tmp_path)
    text = study_markdown(study, {name: f"images/{path.name}" for name, path in paths.items()})

    assert set(re.findall(r"\]\((images/[^)]+)\)", text)) == {f"images/{path.name}" for path in paths.values()}
    assert "](images" not in study_markdown(study, {})
    assert "](x.svg)" not in study_markdown(study, {"unknown": "x.svg"})


def test_the_command_is_the_one_that_was_run(document: str, quick_study: Study) -> None:
    whole, quick = "--out study", "--out quick --preset quick  #"
    assert f"```bash\npython -m research.chains.study {whole}\npython -m research.chains.study {quick}" in document
    assert "```bash\npython -m research.chains.study --out study --preset quick\n```" in study_markdown(quick_study, {})


def test_the_quick_preset_has_no_lines_and_no_four_heads(quick_study: Study) -> None:
    shown = headings(plain(study_markdown(quick_study, {})))

    assert shown == [h for h in HEADINGS if h not in ("Four heads", "With fewer right, with fewer completions")]


def test_a_single_draw_wins_nothing(single_draw_study: Study) -> None:
    text = plain(study_markdown(single_draw_study, {}))

    assert re.findall(r"(wins|ties|loses) (?:\||at|\()", text) == []
    assert "single draw |" in text


@pytest.mark.parametrize("missing", ["oracle", "right_only", "log_odds", "uniform"])
def test_an_arm_may_be_missing(quick_study: Study, missing: str) -> None:
    meta = quick_study["meta"]
    kept = [row for row in meta["summary"]["low_success"] if row["arm"] != missing]
    pairs = [c for c in meta["comparisons"] if missing not in (c["first"], c["second"])]
    results = {
        "arms": [entry for entry in quick_study["arms"] if entry["arm"] != missing],
        "meta": {**meta, "summary": {"low_success": kept}, "comparisons": pairs},
    }
    text = study_markdown(results, {})

    assert rows(text.partition("## What the critics know")[0], missing) == []
    assert "None" not in text


def test_a_study_without_critics_says_nothing_of_them(study: Study) -> None:
    bare = {**study, "meta": {key: value for key, value in study["meta"].items() if key != "critics"}}

    assert "What the critics know" not in study_markdown(bare, {})


def test_critics_are_compared_where_several_settings_measured_them(study: Study, quick_study: Study) -> None:
    caption = "AUC of the first wrong token by share of right completions"
    assert caption in study_markdown(study, {})
    assert caption not in study_markdown(quick_study, {})


def test_the_cost_of_critics_stands_beside_that_of_arms(document: str) -> None:
    assert rows(document, "critic log_odds") == [["critic log_odds", "14.5", "–", "–"]]


def test_what_no_critic_measured_is_no_column(quick_study: Study) -> None:
    critics = [{key: value for key, value in row.items() if key != "brier"} for row in quick_study["meta"]["critics"]]
    text = study_markdown({**quick_study, "meta": {**quick_study["meta"], "critics": critics}}, {})

    assert "Brier score" not in text
    assert "Explained variance" in text
