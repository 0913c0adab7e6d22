"""One writer at a time: the second is told who the first is; a dead owner's lock is free, another machine's is not."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weighted_mtp.files import Occupied, own_file, own_folder

KINDS = {"file": own_file, "folder": own_folder}


@pytest.fixture(params=KINDS)
def own(request):
    return KINDS[request.param]


@contextmanager
def another_owner(own, path: Path) -> Iterator[int]:
    """A child that owns the path; it ends, by SIGKILL, with the block or before."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with own(path):
            os.write(tell, b"x")
            signal.pause()
    os.read(told, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


def lock_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.lock"))


def test_the_second_writer_is_told_who_the_first_is(own, tmp_path):
    with another_owner(own, tmp_path / "out") as pid, pytest.raises(Occupied) as raised, own(tmp_path / "out"):
        pass
    message = str(raised.value)
    assert f"{tmp_path / 'out'} is being written by `" in message
    assert f"(pid {pid} on {os.uname().nodename}, since 2" in message
    assert "\n" not in message


def test_the_lock_of_a_killed_owner_is_taken_over(own, tmp_path):
    with another_owner(own, tmp_path / "out"):
        pass
    (left,) = lock_files(tmp_path)
    with own(tmp_path / "out"):
        assert json.loads(left.read_text())["pid"] == os.getpid()
    assert not left.exists()


def test_a_lock_whose_pid_another_process_has_got_is_taken_over(own, tmp_path):
    with another_owner(own, tmp_path / "out"):
        pass
    (left,) = lock_files(tmp_path)
    left.write_text(json.dumps(json.loads(left.read_text()) | {"pid": os.getppid()}))
    with own(tmp_path / "out"):
        assert json.loads(left.read_text())["pid"] == os.getpid()


def test_the_lock_of_another_machine_is_never_taken(own, tmp_path):
    with another_owner(own, tmp_path / "out"):
        pass
    (left,) = lock_files(tmp_path)
    before = json.dumps(json.loads(left.read_text()) | {"host": "node7"})
    left.write_text(before)
    with pytest.raises(Occupied, match=f"on node7, .*if it does not, remove {left}"), own(tmp_path / "out"):
        pass
    assert left.read_text() == before


@pytest.mark.parametrize("half", ["", "{", "[]"])
def test_a_lock_that_its_owner_was_killed_in_writing_is_taken_over(own, half, tmp_path):
    with another_owner(own, tmp_path / "out"):
        pass
    lock_files(tmp_path)[0].write_text(half)
    with own(tmp_path / "out"):
        pass


def test_nothing_is_left_on_any_way_out(own, tmp_path):
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), own(tmp_path / "new" / "out"):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays(tmp_path):
    with own_folder(tmp_path / "out"):
        (tmp_path / "out" / "results.json").write_text("{}")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]


def test_a_process_may_own_twice_what_it_owns(own, tmp_path):
    with own(tmp_path / "out"):
        with own(tmp_path / "out"):
            pass
        (lock,) = lock_files(tmp_path)
        assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_an_owner_of_a_folder_leaves_the_folders_in_it_to_others(tmp_path):
    with another_owner(own_folder, tmp_path / "study"), own_folder(tmp_path / "study" / "cell"):
        pass


def test_two_names_of_one_output_are_one(own, tmp_path):
    out = tmp_path / "there" / "out"
    out.mkdir(parents=True)
    (tmp_path / "link").symlink_to(out)
    with another_owner(own, out), pytest.raises(Occupied), own(tmp_path / "link"):
        pass
