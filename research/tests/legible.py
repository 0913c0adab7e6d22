"""Whether the words of a picture can be read, as a real browser places them."""

from pathlib import Path

from selenium.webdriver import Chrome

BOXES = """
const svg = document.documentElement, whole = svg.getBoundingClientRect();
return [[whole.left, whole.top, whole.right, whole.bottom], [...svg.querySelectorAll("text")].map((text) => {
  const box = text.getBoundingClientRect();
  return [text.textContent, box.left, box.top, box.right, box.bottom];
})];
"""


def require_legible(browser: Chrome, picture: Path, air: float = 2) -> None:
    """No text is clipped or covered by another; the boxes of two lines may share `air`, in pixels."""
    browser.get(picture.as_uri())
    (left, top, right, bottom), boxes = browser.execute_script(BOXES)

    assert len(boxes) > 10
    for text, x0, y0, x1, y1 in boxes:
        assert left <= x0 < x1 <= right, text
        assert top <= y0 < y1 <= bottom, text
    for i, (text, x0, y0, x1, y1) in enumerate(boxes):
        for other, a0, b0, a1, b1 in boxes[:i]:
            assert not (x0 < a1 and a0 < x1 and y0 + air < b1 and b0 + air < y1), (text, other)
