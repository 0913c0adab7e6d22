"""A file is whole or not there, and an exception leaves the old one."""

import os
import signal
from pathlib import Path

import pytest

from tests.forked import start
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


def begin_and_die(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_writer_left_is_gone_when_the_file_is_written(tmp_path: Path):
    path = tmp_path / "results.json"
    process = start(begin_and_die, path, said=tmp_path / "said")
    process.join(timeout=60)
    (tmp_path / "said").unlink()
    assert len(os.listdir(tmp_path)) == 1
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["results.json"]


def test_others_may_read_a_file_as_the_umask_lets_them(tmp_path: Path):
    write_text(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
