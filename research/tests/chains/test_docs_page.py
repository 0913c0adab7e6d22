"""research/docs/study.md is made from the results that are kept, and its pictures are there."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "research" / "docs"
PAGE = DOCS / "study.md"


@pytest.fixture(scope="module")
def results():
    return json.loads((DOCS / "results" / "study.json").read_text())


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "research" / "chains" / "docs_page.py"))


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_the_table_of_the_readme_is_made_from_the_results(script, results, name):
    page = (ROOT / name).read_text()
    assert script["between"](page, script["MARK"], script["share_table"](results, script["READMES"][name])) == page


def test_the_page_is_made_from_the_results(script, results):
    names = re.findall(r"\(images/study-(\w+)\.svg\)", PAGE.read_text())
    assert script["text"](results, names) == PAGE.read_text()


def test_its_pictures_are_there():
    pictures = re.findall(r"\((images/[^)]+\.svg)\)", PAGE.read_text())
    assert pictures
    assert all((DOCS / name).is_file() for name in pictures)


def test_it_has_at_least_five_draws_of_every_arm(results):
    draws: dict[tuple[str, str], set[int]] = {}
    for entry in results["arms"]:
        draws.setdefault((entry["setting"], entry["arm"]), set()).add(entry["seed"])
    assert min(map(len, draws.values())) >= 5
