"""The study's page in a real browser: it asks for nothing, complains of nothing, fits a phone."""

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from research.chains.report.page import write_study_page
from tests.reports.browsing import keep_screenshot, open_page, requests

LAYOUTS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def study_page(study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study_page(tmp_path_factory.mktemp("page") / "study.html", study)


@pytest.mark.parametrize(("width", "scheme"), LAYOUTS)
def test_page_of_a_study_is_silent_and_fits(
    browser: Chrome, study_page: Path, artifacts: Path, width: int, scheme: str
) -> None:
    open_page(browser, study_page, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")

    assert browser.get_log("browser") == []
    assert requests(browser, study_page) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    keep_screenshot(browser, artifacts / f"study-{width}-{scheme}.png")


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_words_in_the_figures_of_a_study_neither_overlap_nor_leave_the_page(
    browser: Chrome, study_page: Path, width: int
) -> None:
    open_page(browser, study_page, width, "light")
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    words, overlaps, outside = browser.execute_script(PLACED_WORDS)

    assert words > 150
    assert overlaps == outside == []


PLACED_WORDS = """
const overlaps = [], outside = [];
let words = 0;
for (const svg of document.querySelectorAll("figure svg")) {
  if (!svg.getBoundingClientRect().width) continue;
  const placed = [...svg.querySelectorAll("text")].map((word) => [word.textContent, word.getBoundingClientRect()]);
  words += placed.length;
  placed.forEach(([text, box], index) => {
    if (box.left < 0 || box.right > document.documentElement.clientWidth) outside.push(text);
    for (const [other, its] of placed.slice(index + 1)) {
      const across = Math.min(box.right, its.right) - Math.max(box.left, its.left);
      const down = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
      if (across > 0 && down > box.height / 4) overlaps.push(`${text} / ${other}`);  // a line box has some air
    }
  });
}
return [words, overlaps, outside];
"""
