"""The page of runs as text: self-contained, escaped, reproducible, and saying where each number is from."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.reports.outline import Outline
from weighted_mtp.inspection.content import InspectedRun, RunPage, Series
from weighted_mtp.inspection.page import differing_settings, final_rows, render_run_page, write_run_page
from weighted_mtp.reports.token_view import TokenView

HOSTILE = '</script><script>alert(1)</script><b title="x">&$title \'${style}'
NAN = math.nan


@pytest.fixture(scope="module")
def page(run_page: RunPage) -> str:
    return render_run_page(run_page)


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


def of_example(view: TokenView, **fields: Any) -> str:
    changed: Any = {**view, **fields}
    return render_run_page(RunPage(title="t", lead="l", examples=[changed])).partition("<script>")[0]


def test_write_run_page_makes_missing_folders_and_returns_the_path(run_page: RunPage, tmp_path: Path) -> None:
    path = write_run_page(tmp_path / "new" / "page.html", run_page)

    assert path.read_text(encoding="utf-8") == render_run_page(run_page)


def test_sections_stand_in_order(page: str) -> None:
    assert sections(page) == ["runs", "run-curves", "run-reliability", "tokens"]


def test_equal_input_gives_equal_pages(page: str, run_page: RunPage) -> None:
    assert page == render_run_page(run_page)


def test_page_names_no_address_and_allows_no_request(page: str) -> None:
    addresses = r"https?:|//[a-z]|url\((?!#)|@import|<link(?! rel=\"icon\" href=\"data:,\")"

    assert re.findall(addresses, page) == []
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" in page


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)

    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)) <= set(ids)


def test_hostile_text_stays_text(page: str, run_page: RunPage) -> None:
    run = replace(run_page.runs[1], name=HOSTILE, stage=HOSTILE, start=HOSTILE, settings={HOSTILE: HOSTILE})
    example: Any = {**run_page.examples[1], "prompt": HOSTILE, "tokens": [HOSTILE] * 5, "arm": HOSTILE}
    hostile = Outline(
        render_run_page(
            replace(run_page, title=HOSTILE, lead=HOSTILE, runs=[run, run_page.runs[0]], examples=[example])
        )
    )

    assert hostile.opened.count("script") == 1
    assert {*hostile.opened} <= {*Outline(page).opened}
    assert hostile.text.count(HOSTILE) > 10


def test_only_settings_that_differ_are_shown(run_page: RunPage) -> None:
    assert differing_settings(run_page.runs) == [("critic", "–", "–", "runs/critic")]


def test_a_single_run_has_no_differing_settings(run_page: RunPage) -> None:
    page = render_run_page(replace(run_page, runs=run_page.runs[:1], examples=()))

    assert "Settings in which the runs differ" not in page


def test_the_last_entries_of_training_and_evaluation_are_shown(run_page: RunPage) -> None:
    record = {"train/loss": Series([5, 10], [2.0, 1.25]), "eval/loss": Series([0, 10], [3.0, 1.5])}

    assert final_rows([replace(run_page.runs[0], record=record)]) == [("loss", "1.250\n1.500 eval")]


def test_a_run_without_a_record_is_named(run_page: RunPage) -> None:
    silent = replace(run_page.runs[0], record={}, steps=None)
    page = render_run_page(replace(run_page, runs=[silent, run_page.runs[1]]))

    assert "No record was found of baseline." in page


def test_runs_without_any_record_have_no_curves(run_page: RunPage) -> None:
    silent = replace(run_page.runs[0], record={})

    assert "run-curves" not in sections(render_run_page(replace(run_page, runs=[silent])))


@pytest.mark.parametrize("series", [Series([0], [1.0]), Series([0, 5, 9], [NAN, math.inf, 1.0])])
def test_a_short_or_broken_curve_still_makes_a_page(run_page: RunPage, series: Series) -> None:
    run: InspectedRun = replace(run_page.runs[0], record={"train/loss": series, "eval/loss": Series([0], [2.0])})

    assert "run-curves" in sections(render_run_page(replace(run_page, runs=[run])))


def test_reliability_says_which_rows_it_is_from(page: str) -> None:
    text = Outline(page).text

    assert "50 evaluation rows of eval.jsonl, 500 prefixes" in text
    assert "all prefixes, ECE 0.070" in text
    assert "first third, ECE 0.110" in text


def test_runs_without_values_have_no_reliability(run_page: RunPage) -> None:
    assert "run-reliability" not in sections(render_run_page(replace(run_page, runs=run_page.runs[:1])))


def test_a_token_carries_its_numbers_head_by_head(run_page: RunPage) -> None:
    losses = [[0.5, NAN], *[[1.0, 2.0]] * 4]
    page = of_example(
        run_page.examples[2], credit=[-1.25] * 5, losses=losses, head_weights=[[1.0, 0.25]] * 5, weights=[1.0] * 5
    )

    assert 'data-credit="\N{MINUS SIGN}1.250" data-loss="0.50 –" data-weights="1.00 0.25"' in page


def test_numbers_that_are_not_finite_are_shown_as_such(run_page: RunPage) -> None:
    page = of_example(run_page.examples[2], weights=[NAN] * 5, credit=[NAN, math.inf, -math.inf, 0.0, NAN])

    Outline(page + "</body></html>")
    assert 'data-weight="nan"' in page
    assert 'data-credit="inf"' in page


def test_a_view_of_uneven_losses_is_refused(run_page: RunPage) -> None:
    with pytest.raises(ValueError, match="losses has 1 entries for 5 tokens"):
        of_example(run_page.examples[0], losses=[[1.0]])


def test_two_runs_of_one_name_are_refused(run_page: RunPage) -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        replace(run_page, runs=[run_page.runs[0]] * 2)


def test_completions_of_two_hundred_tokens_and_three_runs_stay_below_three_megabytes(run_page: RunPage) -> None:
    def long(view: TokenView) -> Any:
        lists = ("weights", "td_errors", "values", "token_error", "credit", "losses", "head_weights")
        grown = {name: list(view[name]) * 40 for name in lists if view.get(name) is not None}  # type: ignore[literal-required]
        return {**view, **grown, "tokens": [" return"] * 200, "prompt": "def f():\n" * 40}

    views = [long(view) for view in run_page.examples[2::3]] * 12  # 72 completions, four heads each

    assert len(render_run_page(replace(run_page, examples=views)).encode()) < 3_000_000
