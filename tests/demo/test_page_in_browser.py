"""The page in a real browser: it asks for nothing, complains of nothing, fits a phone, answers to keys."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.reports.browsing import choose, contrasts, keep_screenshot, open_page, requests
from weighted_mtp.demo.page.content import PageContent
from weighted_mtp.demo.page.page import write_page
from weighted_mtp.reports.token_view import TokenView

LAYOUTS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def page(report: PageContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page") / "report.html", report)


@pytest.fixture(scope="module")
def code_page(report: PageContent, code_example: TokenView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    hostile: TokenView = {
        **code_example,
        "prompt": "</script><script>alert(1)</script><img src=x onerror=alert(2)>\n" * 9,
    }
    return write_page(
        tmp_path_factory.mktemp("page") / "code.html",
        replace(report, title="<b>코드</b> $title", examples=[code_example, hostile]),
    )


def tokens(browser: Chrome) -> list[WebElement]:
    return [token for token in browser.find_elements(By.CSS_SELECTOR, ".card .t") if token.is_displayed()]


@pytest.mark.parametrize(("width", "scheme"), LAYOUTS)
def test_page_is_silent_and_fits(browser: Chrome, page: Path, artifacts: Path, width: int, scheme: str) -> None:
    open_page(browser, page, width, scheme)

    assert browser.get_log("browser") == []
    assert requests(browser, page) == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    keep_screenshot(browser, artifacts / f"report-{width}-{scheme}.png")


@pytest.mark.parametrize(("width", "scheme"), LAYOUTS)
def test_code_and_hostile_text_are_shown_as_text(
    browser: Chrome, code_page: Path, artifacts: Path, width: int, scheme: str
) -> None:
    open_page(browser, code_page, width, scheme)

    assert browser.get_log("browser") == []
    assert requests(browser, code_page) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.find_element(By.TAG_NAME, "h1").text == "<b>코드</b> $title"
    assert browser.find_elements(By.CSS_SELECTOR, "img, h1 b") == []
    assert "한국어 설명" in browser.find_element(By.CSS_SELECTOR, ".prompt").text
    rows = {token.rect["y"] for token in tokens(browser) if token.text.strip("↵ ")}
    assert len(rows) >= 3  # for, return, return: line breaks in tokens are real
    keep_screenshot(browser, artifacts / f"code-{width}-{scheme}.png")


@pytest.mark.parametrize("width", [320, 760])
def test_page_fits_other_screens(browser: Chrome, page: Path, width: int) -> None:
    open_page(browser, page, width, "light")

    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_every_shade_keeps_a_contrast_of_four_and_a_half(browser: Chrome, page: Path, scheme: str) -> None:
    open_page(browser, page, 1280, scheme)
    found = contrasts(browser, "weight")

    assert len(found) == 13
    assert min(found) >= 4.5


def test_a_token_tells_its_numbers_on_hover(browser: Chrome, page: Path) -> None:
    open_page(browser, page, 1280, "light")
    tip = browser.find_element(By.ID, "tip")
    assert not tip.is_displayed()

    wrong = next(token for token in tokens(browser) if "x" in (token.get_attribute("class") or "").split())
    ActionChains(browser).move_to_element(wrong).perform()

    for text in ("weight", "TD error", "value", "truly wrong"):
        assert text in tip.text


def test_tokens_are_walked_by_arrow_keys(browser: Chrome, page: Path, artifacts: Path) -> None:
    open_page(browser, page, 400, "light")
    first, second, third = tokens(browser)[:3]
    browser.execute_script("arguments[0].focus()", first)

    ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).perform()

    assert browser.switch_to.active_element == third
    assert [token.get_attribute("tabindex") for token in (first, second, third)] == ["-1", "-1", "0"]
    assert str(third.get_attribute("data-weight")) in browser.find_element(By.ID, "tip").text
    image = browser.execute_cdp_cmd("Page.captureScreenshot", {})
    (artifacts / "focus-400-light.png").write_bytes(base64.b64decode(image["data"]))
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_element(By.ID, "tip").is_displayed()


def test_shades_switch_to_td_errors(browser: Chrome, page: Path) -> None:
    open_page(browser, page, 1280, "light")
    Select(browser.find_element(By.NAME, "arm")).select_by_value("uniform")
    wrong = next(token for token in tokens(browser) if "x" in (token.get_attribute("class") or "").split())
    by_weight = wrong.value_of_css_property("background-color")

    choose(browser, "td")

    assert wrong.value_of_css_property("background-color") != by_weight
    assert browser.find_element(By.CSS_SELECTOR, ".scale.td").is_displayed()
    assert not browser.find_element(By.CSS_SELECTOR, ".scale.weight").is_displayed()


def test_completions_are_filtered_by_label_and_arm(browser: Chrome, page: Path) -> None:
    open_page(browser, page, 1280, "light")
    choose(browser, "wrong")
    cards = [card for card in browser.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]

    assert {card.get_attribute("data-label") for card in cards} == {"wrong"}
    assert {card.get_attribute("data-arm") for card in cards} == {"td_beta0.3"}
    assert browser.find_element(By.CSS_SELECTOR, ".shown").text == "3 of 18 completions"
