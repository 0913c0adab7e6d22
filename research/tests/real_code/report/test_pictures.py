"""The pictures of real code as files: complete, legible, the same bytes for the same results."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from selenium.webdriver import Chrome

from research.real_code.report.measures import STUDENTS as MEASURES
from research.real_code.report.measures import capital
from research.real_code.report.pictures import write_pictures
from research.tests.legible import require_legible
from research.tests.real_code.report.made_results import CRITICS, real_code, without_bounds

SVG = "{http://www.w3.org/2000/svg}"
ALL = {"localisation", "reliability", "students"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_pictures(real_code(), tmp_path_factory.mktemp("pictures") / "new")


def texts(path: Path) -> list[str]:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_whole_experiment_has_every_picture(pictures: dict[str, Path]) -> None:
    assert {name: path.name for name, path in pictures.items()} == {name: f"real-code-{name}.svg" for name in ALL}


@pytest.mark.parametrize(
    ("finished", "drawn"),
    [
        ({"critics": []}, ALL - {"reliability"}),
        ({"students": ["untrained"]}, ALL - {"students"}),
        ({"students": ["untrained", "uniform"]}, ALL - {"students"}),
        ({"sources": ["humaneval"]}, ALL),
    ],
)
def test_what_is_not_finished_is_not_drawn(finished: dict[str, Any], drawn: set[str], tmp_path: Path) -> None:
    assert set(write_pictures(real_code(**finished), tmp_path)) == drawn


def test_without_results_nothing_is_drawn(tmp_path: Path) -> None:
    assert write_pictures({}, tmp_path) == {}


def test_pictures_need_neither_page_nor_network(pictures: dict[str, Path]) -> None:
    for path in pictures.values():
        svg = path.read_text(encoding="utf-8")
        assert "var(" not in svg
        assert re.findall(r'(?:href|src)="(?!#)|url\((?!#)|@import|<(?:style|script|metadata)', svg) == []


def test_equal_results_give_equal_bytes(pictures: dict[str, Path], tmp_path: Path) -> None:
    for name, path in write_pictures(real_code(), tmp_path).items():
        assert path.read_bytes() == pictures[name].read_bytes()


def test_every_critic_stands_alone_and_beside_what_is_known_without_it(pictures: dict[str, Path]) -> None:
    shown = texts(pictures["localisation"])

    assert [shown.count(name) for name in CRITICS] == [3] * len(CRITICS)
    assert {"Untrained", "Critics alone", "With surprisal", "With all three", "all three"} <= set(shown)


def test_every_critic_tells_its_calibration_error(pictures: dict[str, Path]) -> None:
    assert sum(text.startswith("ECE ") for text in texts(pictures["reliability"])) == len(CRITICS)


def test_students_are_drawn_against_uniform_in_every_measure(pictures: dict[str, Path]) -> None:
    shown = texts(pictures["students"])

    assert {capital(measure.name) for measure in MEASURES} <= set(shown)
    assert {"right-only", "log-odds", "shuffled-across"} <= set(shown)
    assert not {"uniform", "untrained"} & set(shown)


def test_estimates_without_bounds_are_drawn_as_marks_alone(tmp_path: Path) -> None:
    def marks(results: dict[str, Any], folder: str) -> int:
        path = write_pictures(results, tmp_path / folder)["students"]
        return len(list(ElementTree.fromstring(path.read_text(encoding="utf-8")).iter(f"{SVG}path")))

    drawn, bare = marks(real_code(), "drawn"), marks(without_bounds(real_code()), "bare")

    assert drawn > bare > 0


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_text_is_clipped_or_covered(browser: Chrome, pictures: dict[str, Path], name: str) -> None:
    require_legible(browser, pictures[name])
