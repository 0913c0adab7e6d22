"""The page of the study as text: self-contained, escaped, reproducible, sections only where there are results."""

import re
from pathlib import Path
from typing import Any

import pytest

from research.chains.report.page import render_study_page, write_study_page
from tests.reports.outline import Outline

Study = dict[str, Any]
HOSTILE = '</script><script>alert(1)</script><b title="x">&$title ${style}'
SECTIONS = ["aim", "accuracy", "lines", "pairs", "critics", "heads", "setup", "notes"]


@pytest.fixture(scope="module")
def page(study: Study) -> str:
    return render_study_page(study)


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', page)


def test_write_study_page_makes_missing_folders_and_returns_the_path(quick_study: Study, tmp_path: Path) -> None:
    path = write_study_page(tmp_path / "new" / "report.html", quick_study)

    assert path.read_text(encoding="utf-8") == render_study_page(quick_study)


def test_a_whole_study_has_every_section(page: str) -> None:
    assert sections(page) == SECTIONS
    assert "svg" in Outline(page).opened


def test_sections_without_results_are_left_out(quick_study: Study, single_draw_study: Study) -> None:
    small = [name for name in SECTIONS if name not in ("lines", "heads")]

    assert sections(render_study_page(quick_study)) == small
    assert sections(render_study_page(single_draw_study)) == small


def test_the_page_names_no_address(page: str) -> None:
    assert re.findall(r"https?:|//[a-z]|url\((?!#)|@import|<link(?! rel=\"icon\" href=\"data:,\")", page) == []


def test_equal_results_give_equal_pages(page: str, study: Study) -> None:
    assert page == render_study_page(study)


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)

    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)) <= set(ids)


def test_figures_take_their_colours_from_the_page(page: str) -> None:
    svg = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    style = page.partition("</style>")[0]

    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert {"--series-1", "--arm"} <= set(re.findall(r"var\((--[\w-]+)\)", svg))
    for variable in set(re.findall(r"var\((--[\w-]+)\)", svg)):
        assert style.count(f"{variable}: #") == 2  # on light and on dark screens


def test_the_page_opens_with_the_claim_and_four_numbers(page: str) -> None:
    top = page.partition('<section id="aim"')[0]

    assert '<p class="claim">log_odds beats right_only by' in top
    for role in ("baseline", "rival", "arm", "ceiling"):
        assert f'<div class="{role}">' in top


def test_the_aim_is_judged_share_by_share(page: str) -> None:
    table = page.partition('<section id="aim"')[2].partition("</section>")[0]

    assert re.findall(r">(met|missed|not asked)<", table) == ["missed", "met", "met", "not asked", "not asked"]


def test_hostile_text_stays_text(study: Study, page: str) -> None:
    renamed = [{**row, "critic": HOSTILE} for row in study["meta"]["critics"]]
    rows = [{**row, "arm": HOSTILE} for row in study["meta"]["summary"]["low_success"][:3]]
    meta = {**study["meta"], "critics": renamed, "summary": {"low_success": rows}, "machine": HOSTILE}
    hostile = Outline(render_study_page({**study, "meta": meta}))

    assert hostile.opened.count("script") == 1
    assert set(hostile.opened) <= set(Outline(page).opened)
    assert hostile.text.count(HOSTILE) >= 6
