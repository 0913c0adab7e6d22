"""The pool of worker processes: really started, with jobs that leave files."""

import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from weighted_mtp.demo.jobs import run_jobs
from weighted_mtp.engine.settings import EngineError


@dataclass(frozen=True)
class Note:
    """Writes its name to a file, and which files it found."""

    name: str
    folder: Path
    after: str = ""
    bad: bool = False

    def needs(self, other: "Note") -> bool:
        return other.name == self.after


def write(note: Note) -> set[str]:
    if note.bad:
        raise ValueError(f"{note.name} is bad")
    found = {path.name for path in note.folder.iterdir()}
    (note.folder / note.name).touch()
    return found


def test_a_job_waits_for_the_one_it_needs_and_others_go_first(tmp_path):
    jobs = [Note("second", tmp_path, after="first"), Note("other", tmp_path), Note("first", tmp_path)]
    found = {job.name: there for job, there in run_jobs(jobs, 2, write)}
    assert found.keys() == {"first", "second", "other"}
    assert "first" in found["second"]


def test_after_a_failure_none_begins(tmp_path):
    jobs = [Note("one", tmp_path), Note("two", tmp_path, bad=True), Note("three", tmp_path)]
    with pytest.raises(ValueError, match="two is bad"):
        list(run_jobs(jobs, 1, write))
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def die(note: Note) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_in_one_line(tmp_path):
    with pytest.raises(EngineError, match=r"a worker was killed, .*: what is made is kept"):
        list(run_jobs([Note("one", tmp_path), Note("two", tmp_path)], 1, die))


def test_jobs_are_prepared_here_before_they_are_handed_out(tmp_path):
    jobs = [Note("one", tmp_path), Note("two", tmp_path)]
    found = list(run_jobs(jobs, 1, write, lambda job: (tmp_path / f"for-{job.name}").touch()))
    assert found == [(jobs[0], {"for-one"}), (jobs[1], {"for-one", "one", "for-two"})]


def hold_open(note: Note) -> None:
    """Says that it is there, and stays with the pipe open."""
    pipe = os.open(note.folder / "pipe", os.O_WRONLY)
    os.write(pipe, b".")
    signal.pause()


def test_no_worker_outlives_a_killed_parent(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    start = (
        "from pathlib import Path\n"
        "from tests.demo.test_jobs import Note, hold_open, run_jobs\n"
        "if __name__ == '__main__':\n"
        f"    folder = Path({str(tmp_path)!r})\n"
        "    list(run_jobs([Note('one', folder), Note('two', folder)], 2, hold_open))\n"
    )
    (tmp_path / "start.py").write_text(start)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path.cwd()), os.environ.get("PYTHONPATH", "")))}
    with (tmp_path / "said").open("w") as said:  # by what cleans up behind the killed, among others
        parent = subprocess.Popen([sys.executable, tmp_path / "start.py"], env=environment, stderr=said)
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for _ in range(2):
        assert select.select([pipe], [], [], 120)[0], "no worker began"
        assert os.read(pipe, 1) == b"."
    parent.kill()
    parent.wait()
    # a pipe can be read when something came, or when the last process that holds it is gone
    assert select.select([pipe], [], [], 60)[0], "a worker lives on"
    assert os.read(pipe, 1) == b""
    os.close(pipe)


@pytest.mark.parametrize(
    ("number", "everybody", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGHUP, True, 129), (signal.SIGTERM, False, 143), (signal.SIGHUP, False, 129)],
)
def test_a_stop_is_one_line_and_its_signals_status_while_workers_begin(tmp_path, number, everybody, status):
    os.mkfifo(tmp_path / "pipe")
    start = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "if __name__ != '__main__':  # a worker begins by reading this\n"
        f"    os.write(os.open({str(tmp_path / 'pipe')!r}, os.O_WRONLY), b'.')\n"
        "    signal.pause()\n"
        "from tests.demo.test_jobs import Note, run_jobs, write\n"
        "from weighted_mtp.cli.grammar import answer\n"
        f"sys.exit(answer(lambda _: list(run_jobs([Note('one', Path({str(tmp_path)!r}))], 1, write)), []))\n"
    )
    (tmp_path / "start.py").write_text(start)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path.cwd()), os.environ.get("PYTHONPATH", "")))}
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "start.py"], env=environment, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with (tmp_path / "pipe").open("rb", buffering=0) as pipe:
        assert pipe.read(1) == b"."
        (os.killpg if everybody else os.kill)(parent.pid, number)
        try:
            said = parent.communicate(timeout=60)[1]
        finally:
            parent.kill()
    assert (parent.returncode, said) == (status, "wmtp: stopped\n")
