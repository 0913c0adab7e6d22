"""The page as text: self-contained, escaped, reproducible, and honest whichever way the numbers came out."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reports.outline import Outline
from weighted_mtp.demo.page.content import PageContent, SummaryRow
from weighted_mtp.demo.page.page import render_page, write_page
from weighted_mtp.reports.token_view import TokenView

HOSTILE = '</script><script>alert(1)</script><b title="x">&$title ${style}'


def row(arm: str, mean: float, diff: float | None, half: float | None, n: int = 3) -> SummaryRow:
    low, high = (None, None) if diff is None or half is None else (diff - half, diff + half)
    return SummaryRow(arm=arm, mean=mean, std=0.01 if n > 1 else None, n=n, diff=diff, low=low, high=high)


def small(*rows: SummaryRow) -> PageContent:
    return PageContent(title="t", lead="l", summary=[row("uniform", 0.7, None, None), *rows])


def claim(content: PageContent) -> str:
    found = re.search(r'<p class="claim">(.*?)</p>', render_page(content))
    assert found is not None
    return found.group(1).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def page(report: PageContent) -> str:
    return render_page(report)


def test_write_page_makes_missing_folders_and_returns_the_path(tmp_path: Path) -> None:
    path = write_page(tmp_path / "new" / "report.html", small())

    assert path.read_text(encoding="utf-8") == render_page(small())


def test_page_names_no_address(page: str) -> None:
    addresses = r"https?:|//[a-z]|url\((?!#)|@import|<link(?! rel=\"icon\" href=\"data:,\")"

    assert re.findall(addresses, page) == []


def test_page_is_well_formed(page: str) -> None:
    assert "svg" in Outline(page).opened


def test_equal_input_gives_equal_pages(page: str, report: PageContent) -> None:
    assert page == render_page(report)


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)

    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)) <= set(ids)


def test_figures_take_their_colours_from_the_page(page: str) -> None:
    svg = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))

    assert "var(--arm)" in svg
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) == set()  # a fixed colour would vanish in one of the schemes


def test_hostile_text_stays_text(page: str, report: PageContent, code_example: TokenView) -> None:
    usual = Outline(page).opened
    named = [{**entry, "arm": HOSTILE} if entry["arm"] == "rho1" else entry for entry in report.summary]
    example: TokenView = {**code_example, "prompt": HOSTILE, "tokens": [HOSTILE] * 14, "arm": HOSTILE}
    hostile = Outline(
        render_page(
            replace(
                report,
                title=HOSTILE,
                lead=HOSTILE,
                summary=[{**entry, "note": HOSTILE} for entry in named],  # type: ignore[typeddict-item]
                curves=[{**entry, "arm": HOSTILE} for entry in report.curves[:2]],
                histograms=[{**entry, "arm": HOSTILE} for entry in report.histograms[:1]],
                examples=[example],
                facts=[(HOSTILE, HOSTILE)],
                notes=[HOSTILE],
            )
        )
    )

    assert hostile.opened.count("script") == usual.count("script") == 1
    assert set(hostile.opened) <= {*usual}
    assert hostile.text.count(HOSTILE) > 20


def test_controls_stand_in_a_group_of_their_own() -> None:
    content = small(row("shuffled_across", 0.7, 0.0, 0.02), row("td", 0.9, 0.2, 0.03))
    table = render_page(content).partition("<table")[2]

    assert table.index("td</th>") < table.index("Controls</th>") < table.index("shuffled_across</th>")
    assert "Controls</th>" not in render_page(small(row("td", 0.9, 0.2, 0.03), row("oracle", 1.0, 0.3, 0.01)))


def test_a_lone_group_needs_no_heading() -> None:
    assert 'class="group"' not in render_page(small(row("td", 0.9, 0.2, 0.03)))


def test_headline_says_what_was_gained() -> None:
    content = small(row("td", 0.9, 0.2, 0.03), row("rho1", 0.72, 0.02, 0.05))

    assert claim(content) == "td reaches 90.0 % accuracy, 20.0 points above uniform."
    assert "td against uniform: +20.0 points, 95 % interval +17.0 to +23.0 (3 draws)." in render_page(content).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert "highest of 2 arms, picked after the fact" in render_page(content)


def test_headline_names_ties() -> None:
    content = small(row("td", 0.998, 0.298, 0.01), row("right_only", 0.999, 0.299, 0.01))

    assert claim(content) == "right_only and td reach 99.8 to 99.9 % accuracy, 29.8 to 29.9 points above uniform."


def test_headline_admits_a_loss() -> None:
    content = small(row("td", 0.65, -0.05, 0.03))

    assert claim(content) == "No arm beats uniform: the best, td, reaches 65.0 %, −5.0 points."


def test_an_interval_that_includes_zero_is_said_to() -> None:
    assert "this run does not show a difference" in render_page(small(row("td", 0.72, 0.02, 0.05)))
    assert "this run does not show a difference" not in render_page(small(row("td", 0.9, 0.2, 0.05)))


def test_a_control_or_an_oracle_is_never_the_headline() -> None:
    content = small(row("td", 0.9, 0.2, 0.03), row("oracle", 1.0, 0.3, 0.01), row("lognormal", 0.95, 0.25, 0.03))

    assert claim(content).startswith("td reaches")
    assert "best control, lognormal" in render_page(content)


def test_a_single_draw_leads_only_where_there_is_nothing_else() -> None:
    once = row("mtp_td", 0.99, 0.29, None, n=1)

    assert claim(small(once, row("td", 0.9, 0.2, 0.03))).startswith("td reaches")
    assert claim(small(once)).startswith("mtp_td reaches")
    assert "1 draw and so no interval" in render_page(small(once))


@pytest.mark.parametrize("emptied", ["accuracies", "curves", "histograms", "examples", "facts", "notes"])
def test_a_section_without_data_is_left_out(report: PageContent, emptied: str) -> None:
    few = {"curves": report.curves[:2], "histograms": report.histograms[:1], "examples": report.examples[:1]}
    content = replace(report, **few, summary=report.summary[:2])
    whole, without = render_page(content), render_page(replace(content, **{emptied: ()}))

    Outline(without)
    assert len(without) < len(whole)


def test_a_page_may_be_all_but_empty() -> None:
    page = render_page(PageContent(title="t", lead="l", summary=[]))

    assert "No arm was run." in Outline(page).text


def test_one_uniform_arm_alone_makes_a_page() -> None:
    assert claim(PageContent(title="t", lead="l", summary=[row("uniform", 0.7, None, None, n=1)])) == (
        "uniform alone was run: 70.0 % accuracy."
    )


def test_tokens_without_td_errors_and_values_are_shown(code_example: TokenView) -> None:
    bare: TokenView = {**code_example, "td_errors": None, "values": None, "token_error": None}
    page = render_page(replace(small(), examples=[bare]))

    assert 'value="td"' not in page
    assert "data-td" not in page.partition("<script>")[0]
    assert "truly wrong" not in page.partition("<script>")[0]


def test_draws_with_different_steps_still_make_a_figure(report: PageContent) -> None:
    steps = ([0, 10, 20], [5, 15, 25])
    curves = [{**report.curves[0], "arm": "td", "steps": each, "values": [0.1, 0.2, 0.3]} for each in steps]
    page = render_page(replace(small(), curves=curves))

    assert page.count("var(--arm)") >= 4  # two draws in each of two layouts


def test_korean_arm_names_and_text_are_kept() -> None:
    content = replace(small(row("가중", 0.9, 0.2, 0.03)), notes=["세 번 추첨"])

    assert "세 번 추첨" in render_page(content)
    assert render_page(content).count("가중") >= 4  # headline, table, two layouts of the figure


def test_a_token_view_of_uneven_lists_is_refused(code_example: TokenView) -> None:
    uneven: TokenView = {**code_example, "weights": [1.0]}

    with pytest.raises(ValueError, match="weights has 1 entries for 14 tokens"):
        replace(small(), examples=[uneven])


def test_a_histogram_without_its_last_edge_is_refused() -> None:
    with pytest.raises(ValueError, match="2 edges for 2 counts"):
        replace(small(), histograms=[{"arm": "td", "edges": [0, 1], "counts": [3, 4]}])


def test_a_curve_of_uneven_lists_is_refused() -> None:
    curve = {"arm": "td", "seed": 0, "metric": "loss", "steps": [1, 2], "values": [0.5]}
    with pytest.raises(ValueError, match="2 steps for 1 values"):
        replace(small(), curves=[curve])
