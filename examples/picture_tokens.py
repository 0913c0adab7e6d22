"""Make the README's picture: the token section of a demo's page, in headless Chromium (needs `.[dev]`).

usage: python examples/picture_tokens.py demo/report.html docs/images/tokens.png
"""

import base64
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDTH = 920  # CSS pixels of the page
SCALE = 1.5  # device pixels of one of them
CARDS = 3  # of each label
MAX_BYTES = 150_000

MARGIN = 12  # CSS pixels around them

# What a picture cannot use goes: filters, hints, and all but a few completions of each label.
TRIM = """
const kept = {right: 0, wrong: 0}, view = document.querySelector("#tokens .tokenview");
for (const card of view.querySelectorAll(".card")) {
  if (card.offsetParent === null || kept[card.dataset.label]++ >= arguments[0]) card.style.display = "none";
}
for (const part of view.querySelectorAll("form, .drops")) part.style.display = "none";
document.body.replaceChildren(view);
Object.assign(document.body.style, {margin: 0, padding: `${arguments[1]}px`});
view.id = "tokens";
view.style.margin = 0;
return Math.ceil(view.getBoundingClientRect().bottom + arguments[1]);
"""


def picture(page: Path, width: int = WIDTH, cards: int = CARDS) -> bytes:
    """PNG of the page's token section, light."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
        try:
            screen = {"width": width, "height": 900, "deviceScaleFactor": SCALE, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            light = [{"name": "prefers-color-scheme", "value": "light"}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light})
            browser.get(page.resolve().as_uri())
            height = browser.execute_script(TRIM, cards, MARGIN)
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            shot = {"captureBeyondViewport": True, "clip": clip}
            return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"])
        finally:
            browser.quit()


def main(words: Sequence[str]) -> int:
    """Writes the picture, unless it is too large for a README."""
    if len(words) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    image = picture(Path(words[0]))
    if len(image) > MAX_BYTES:
        print(f"the picture has {len(image)} bytes, more than {MAX_BYTES}: show fewer cards", file=sys.stderr)
        return 1
    Path(words[1]).parent.mkdir(parents=True, exist_ok=True)
    Path(words[1]).write_bytes(image)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
