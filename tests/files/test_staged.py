"""A model is saved whole: a kill at any moment leaves the old one, none, or the new one, and the next call ends it."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from weighted_mtp.files import finish_interrupted, staged_save

OLD = {
    "config.json": "old",
    "model.safetensors.index.json": "old",
    "model-00001-of-00002.safetensors": "old",
    "tokenizer.json": "old",
}
NEW = {"config.json": "new", "model.safetensors": "new", "tokenizer.json": "new", "weighting.pt": "new"}
RUN = {"run.yaml": "run", "mlflow.db": "run"}
MOMENTS = ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync")


def save(folder: Path) -> None:
    with staged_save(folder) as staged:
        for name, text in NEW.items():
            (staged / name).write_text(text)


def before(folder: Path) -> Path:
    folder.mkdir()
    for name, text in (OLD | RUN).items():
        (folder / name).write_text(text)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def in_a_fork(work: Callable[[], None], kill_at: int) -> bool:
    """Runs it in a child that is killed before the given call which changes the disk; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            _kill_at(kill_at)
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _kill_at(number: int) -> None:
    calls = iter(range(number + 1))

    def watched(function):
        def call(*args, **kwargs):
            if next(calls, None) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in MOMENTS:
        setattr(os, name, watched(getattr(os, name)))


def test_a_save_takes_the_place_of_the_old_model_and_leaves_the_rest(tmp_path: Path):
    folder = before(tmp_path / "run")
    save(folder)
    assert content(folder) == NEW | RUN
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_a_kill_at_any_moment_leaves_no_mixture_that_looks_like_a_model(tmp_path: Path):
    number, seen = 0, set()
    while True:
        folder = before(tmp_path / f"run{number}")
        if not in_a_fork(lambda folder=folder: save(folder), number):
            break
        left = content(folder)
        sign = left.get("config.json")
        seen.add(sign)
        assert sign is None or left == {"old": OLD, "new": NEW}[sign] | RUN
        finish_interrupted(folder)
        ended = content(folder)
        assert ended == NEW | RUN or (sign == "old" and ended == OLD | RUN)
        assert not [path for path in folder.iterdir() if path.is_dir()]
        number += 1
    assert content(folder) == NEW | RUN
    assert seen == {"old", None, "new"}
    assert number > 15


def test_what_a_kill_left_is_taken_over_though_the_taking_over_is_killed_too(tmp_path: Path):
    committed = before(tmp_path / "committed")
    killed = 0
    while (committed / "config.json").exists():
        shutil.rmtree(committed)
        before(committed)
        in_a_fork(lambda: save(committed), killed)
        killed += 1
    number = 0
    while True:
        folder = tmp_path / f"again{number}"
        shutil.copytree(committed, folder)
        if not in_a_fork(lambda folder=folder: finish_interrupted(folder), number):
            break
        finish_interrupted(folder)
        assert content(folder) == NEW | RUN
        number += 1
    assert number > 5


def break_save(folder: Path) -> None:
    with staged_save(folder) as staged:
        (staged / "config.json").write_text("half")
        raise OSError("the disk is full")


def test_an_exception_leaves_the_old_model(tmp_path: Path):
    folder = before(tmp_path / "run")
    with pytest.raises(OSError, match="full"):
        break_save(folder)
    assert content(folder) == OLD | RUN
    assert not [path for path in folder.iterdir() if path.is_dir()]
