"""A file is whole or not there, and an exception leaves the old one."""

import os
from pathlib import Path

import pytest

from weighted_mtp.files import replacing, write_text


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path):
    path = tmp_path / "new" / "results.json"
    write_text(path, "한")
    write_text(path, "글")
    assert path.read_text(encoding="utf-8") == "글"
    assert os.listdir(path.parent) == ["results.json"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "run.yaml"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a pair: \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.yaml"]


def test_two_writers_at_once_do_not_meet(tmp_path: Path):
    path = tmp_path / "settings.json"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["settings.json"]


def test_others_may_read_a_file_as_the_umask_lets_them(tmp_path: Path):
    write_text(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
