"""The study's pictures as files: complete, in fixed colours, the same bytes for the same results."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from selenium.webdriver import Chrome

from research.chains.report.pictures import write_pictures
from research.tests.legible import require_legible

Study = dict[str, Any]
ALL = {"accuracy", "lines", "arms", "differences", "localisation", "positions", "reliability", "heads"}


@pytest.fixture(scope="module")
def pictures(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_pictures(study, tmp_path_factory.mktemp("pictures") / "new")


def texts(path: Path) -> list[str]:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_whole_study_has_every_picture(pictures: dict[str, Path]) -> None:
    assert set(pictures) == ALL
    assert all(path.name == f"study-{name}.svg" for name, path in pictures.items())


def test_a_small_study_has_the_pictures_it_can_fill(quick_study: Study, tmp_path: Path) -> None:
    assert set(write_pictures(quick_study, tmp_path)) == {
        "accuracy", "localisation", "positions", "reliability",
    }  # fmt: skip


def test_pictures_need_neither_page_nor_network(pictures: dict[str, Path]) -> None:
    for path in pictures.values():
        svg = path.read_text(encoding="utf-8")
        assert "var(" not in svg
        assert re.findall(r'(?:href|src)="(?!#)|url\((?!#)|@import|<(?:style|script|metadata)', svg) == []
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) > {"#ffffff"}


def test_pictures_stand_on_white(pictures: dict[str, Path]) -> None:
    for path in pictures.values():
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root[0].tag.endswith("rect")
        assert root[0].get("fill") == "#ffffff"
        assert root[0].get("width") == root.get("width")


def test_equal_results_give_equal_bytes(pictures: dict[str, Path], study: Study, tmp_path: Path) -> None:
    for name, path in write_pictures(study, tmp_path).items():
        assert path.read_bytes() == pictures[name].read_bytes()


def test_lines_are_named_where_they_end(pictures: dict[str, Path]) -> None:
    named = {"uniform", "right_only", "td_whitened", "log_odds", "gated", "oracle"}

    assert named <= set(texts(pictures["lines"]))
    assert "implicit" not in texts(pictures["lines"])  # a panel of its own, among the others
    assert {"implicit", "rho1", "shuffled_across"} <= set(texts(pictures["arms"]))


def test_the_aim_is_drawn_where_it_is_asked(pictures: dict[str, Path]) -> None:
    assert {"aim", "− right_only", "− oracle"} <= set(texts(pictures["differences"]))


def test_every_critic_tells_its_calibration_error(pictures: dict[str, Path]) -> None:
    errors = [text for text in texts(pictures["reliability"]) if text.startswith("ECE ")]

    assert len(errors) == 6


def test_a_study_without_critics_is_drawn_without_them(study: Study, tmp_path: Path) -> None:
    bare = {**study, "meta": {**study["meta"], "critics": []}}

    assert set(write_pictures(bare, tmp_path)) == ALL - {"localisation", "positions", "reliability"}


def test_an_unknown_arm_or_critic_is_drawn_all_the_same(quick_study: Study, tmp_path: Path) -> None:
    meta = quick_study["meta"]
    renamed = [{**row, "critic": "new"} if row["critic"] == "value_head" else row for row in meta["critics"]]
    paths = write_pictures({**quick_study, "meta": {**meta, "critics": renamed}}, tmp_path)

    assert "new" in set(texts(paths["positions"])) & set(texts(paths["localisation"]))


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_text_is_clipped_or_covered(browser: Chrome, pictures: dict[str, Path], name: str) -> None:
    require_legible(browser, pictures[name], air=4)
