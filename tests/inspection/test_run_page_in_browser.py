"""The page of runs in a real browser: silent, within the screen, and every token within reach of mouse and keys."""

import base64
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.reports.browsing import choose, contrasts, open_page, requests
from weighted_mtp.inspection.content import RunPage
from weighted_mtp.inspection.page import write_run_page


@pytest.fixture(scope="module")
def page(run_page: RunPage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_page(tmp_path_factory.mktemp("page") / "page.html", run_page)


def tokens(browser: Chrome, run: str) -> list[WebElement]:
    Select(browser.find_element(By.NAME, "arm")).select_by_value(run)
    return browser.find_elements(By.CSS_SELECTOR, f".card[data-arm='{run}'] .t")


def number(token: WebElement, name: str) -> float:
    return float(str(token.get_attribute(f"data-{name}")).replace("\N{MINUS SIGN}", "-"))


def tip(browser: Chrome) -> str:
    return browser.find_element(By.ID, "tip").text


def press(browser: Chrome, *keys: str) -> WebElement:
    ActionChains(browser).send_keys(*keys).perform()
    return browser.switch_to.active_element


def in_view(browser: Chrome, token: WebElement) -> bool:
    return browser.execute_script(
        "const box = arguments[0].getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight;", token
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (320, "dark")])
def test_page_of_runs_is_silent_and_fits(browser: Chrome, page: Path, artifacts: Path, width: int, scheme: str) -> None:
    open_page(browser, page, width, scheme)

    assert browser.get_log("browser") == []
    assert requests(browser, page) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    image = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    (artifacts / f"runs-{width}-{scheme}.png").write_bytes(base64.b64decode(image["data"]))


def test_hovering_a_token_tells_value_credit_weight_and_loss_of_each_head(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    token = tokens(browser, "log_odds")[1]
    ActionChains(browser).move_to_element(token).perform()

    for words in ("value", "TD error", "credit", "weight, head 3", "loss, head 0", "loss, head 3"):
        assert words in tip(browser)
    assert str(token.get_attribute("data-credit")) in tip(browser)
    for loss in str(token.get_attribute("data-loss")).split():
        assert loss in tip(browser)


def test_a_run_without_values_tells_weight_and_loss_only(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    ActionChains(browser).move_to_element(tokens(browser, "baseline")[0]).perform()

    assert "weight" in tip(browser)
    assert "loss" in tip(browser)
    assert "value" not in tip(browser)
    assert "head" not in tip(browser)


def test_completions_are_filtered_by_label_and_run(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    Select(browser.find_element(By.NAME, "arm")).select_by_value("td")
    choose(browser, "wrong")
    cards = [card for card in browser.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]

    assert [card.get_attribute("data-row") for card in cards] == ["1", "3", "5"]
    assert {card.get_attribute("data-arm") for card in cards} == {"td"}
    assert browser.find_element(By.CSS_SELECTOR, ".shown").text == "3 of 18 completions"


@pytest.mark.parametrize("shade", ["credit", "loss"])
def test_tokens_are_shaded_by_credit_and_by_loss(browser: Chrome, page: Path, shade: str) -> None:
    open_page(browser, page)
    all_tokens = tokens(browser, "log_odds")
    before = [token.value_of_css_property("background-color") for token in all_tokens]
    choose(browser, shade)

    assert [token.value_of_css_property("background-color") for token in all_tokens] != before
    assert browser.find_element(By.CSS_SELECTOR, f".scale.{shade}").is_displayed()
    assert not browser.find_element(By.CSS_SELECTOR, ".scale.weight").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_every_shade_of_a_loss_keeps_a_contrast_of_four_and_a_half(
    browser: Chrome, page: Path, scheme: str
) -> None:
    open_page(browser, page, scheme=scheme)
    found = contrasts(browser, "loss")

    assert len(found) == 7
    assert min(found) >= 4.5


def test_largest_drops_of_td_errors_leave_out_last_tokens(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    all_tokens = tokens(browser, "td")
    lowest = sorted((t for i, t in enumerate(all_tokens) if i % 5 != 4), key=lambda t: number(t, "td"))
    button = browser.find_element(By.CSS_SELECTOR, ".drops .next")

    for token in lowest[:2]:
        button.click()
        assert browser.switch_to.active_element == token
        assert in_view(browser, token)
        assert str(token.get_attribute("data-td")) in tip(browser)
    where = browser.find_element(By.CSS_SELECTOR, ".drops .where")
    assert where.get_attribute("aria-live") == "polite"
    assert where.text.startswith(f"2 of {sum(number(t, 'td') < 0 for t in lowest)}: TD error ")


def test_largest_drops_are_walked_by_keys_in_the_order_of_credit(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    lowest = sorted(tokens(browser, "log_odds"), key=lambda token: number(token, "credit"))
    browser.execute_script("arguments[0].focus()", lowest[7])

    assert [press(browser, "n") for _ in range(3)] == lowest[:3]
    assert press(browser, "p") == lowest[1]
    assert "2 of" in browser.find_element(By.CSS_SELECTOR, ".drops .where").text


def test_with_all_runs_shown_drops_are_ranked_by_what_they_all_have(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    Select(browser.find_element(By.NAME, "arm")).select_by_value("")

    assert "by TD error" in browser.find_element(By.CSS_SELECTOR, ".drops .where").text


def test_a_run_without_values_has_no_drops_and_says_so(browser: Chrome, page: Path) -> None:
    open_page(browser, page)

    assert not browser.find_element(By.CSS_SELECTOR, ".drops .next").is_enabled()
    assert "no values" in browser.find_element(By.CSS_SELECTOR, ".drops .where").text


def test_tab_reaches_filters_then_drops_then_a_token_of_each_completion(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    Select(browser.find_element(By.NAME, "arm")).select_by_value("td")
    browser.execute_script("document.querySelector('.filters input').focus()")
    reached = [press(browser, Keys.TAB) for _ in range(8)]
    names = [element.get_attribute("name") or (element.get_attribute("class") or "").split()[0] for element in reached]

    assert names == ["label", "arm", "previous", "next", "t", "t", "t", "t"]
    assert reached[4].get_attribute("role") == "option"
    assert str(reached[4].get_attribute("aria-label")).count("value 0.500") == 1
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", reached[-1]) == "solid"
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert browser.switch_to.active_element == reached[-2]  # no trap


def test_the_tip_comes_back_to_the_token_in_focus_and_leaves_with_escape(browser: Chrome, page: Path) -> None:
    open_page(browser, page)
    first, *_, other = tokens(browser, "td")[:5]
    browser.execute_script("arguments[0].focus()", first)
    ActionChains(browser).move_to_element(other).perform()
    assert str(other.get_attribute("data-td")) in tip(browser)

    ActionChains(browser).move_to_element(browser.find_element(By.CSS_SELECTOR, ".legend")).perform()
    assert str(first.get_attribute("data-td")) in tip(browser)
    press(browser, Keys.ESCAPE)
    assert not browser.find_element(By.ID, "tip").is_displayed()
