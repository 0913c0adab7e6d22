"""What is done with a page in a real browser, and what the browser then knows."""

import base64
import json
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By


def open_page(browser: Chrome, page: Path, width: int = 1280, scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    for log in ("browser", "performance"):
        browser.get_log(log)  # what earlier pages left there
    browser.get(page.as_uri())


def requests(browser: Chrome, page: Path) -> list[str]:
    """Every address the browser asked for, but the page's own and data inside it."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in urls  # or else the log itself would be empty
    return [url for url in urls if url != page.as_uri() and not url.startswith("data:")]


def keep_screenshot(browser: Chrome, path: Path) -> None:
    image = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(image["data"]))


def choose(browser: Chrome, value: str) -> None:
    browser.find_element(By.XPATH, f"//input[@value='{value}']/following-sibling::span").click()


CONTRAST_OF_SHADES = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const luminance = (color) => {
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
    (c) => (c / 255 <= .04045 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4));
  return .2126 * r + .7152 * g + .0722 * b;
};
const ink = luminance(getComputedStyle(document.body).color);
return [...document.querySelectorAll(`.scale.${arguments[0]} li`)].map((step) => {
  const shade = luminance(getComputedStyle(step).backgroundColor);
  return (Math.max(ink, shade) + .05) / (Math.min(ink, shade) + .05);
});
"""


def contrasts(browser: Chrome, scale: str) -> list[float]:
    """The contrast of text with each shade of a scale of the legend, by WCAG's formula."""
    return browser.execute_script(CONTRAST_OF_SHADES, scale)
