"""What a student solves: a real pretrained model writes functions, and the sandbox runs them."""

import json

import pytest

from research.real_code.decoding import solved_tasks
from research.real_code.jobs import RESULT_FILE, Job

ADD = {
    "task_id": "add",
    "prompt": 'def add(x: int, y: int):\n    """Add two numbers x and y\n    >>> add(2, 3)\n    5\n    """\n',
    "completion": "    return x + y\n",
    "test": "def check(f):\n    assert f(3, 4) == 7\n",
    "entry_point": "add",
}
OTHER = ADD | {"task_id": "other", "test": "def check(f):\n    assert f(3, 4) == 8\n"}
UNTESTED = {"task_id": "untested", "prompt": "def g():\n", "completion": "    pass\n"}


@pytest.mark.slow
def test_a_task_is_asked_once_and_is_solved_if_its_tests_pass(smollm2_dir, sandbox_works):
    rows = [ADD, ADD | {"completion": "    return x - y\n"}, OTHER, UNTESTED]
    assert solved_tasks(smollm2_dir, rows) == {"add": True, "other": False}


def test_a_job_that_was_not_asked_to_solve_is_not_finished_when_it_is(tmp_path):
    job = Job(tmp_path, "students/uniform", 0, "model")
    job.folder.mkdir(parents=True)
    (job.folder / RESULT_FILE).write_text(json.dumps({"asked_for": job.asked_for, "solve": []}))
    assert job.finished() is not None
    assert Job(tmp_path, "students/uniform", 0, "model", solve=("humaneval",)).finished() is None
