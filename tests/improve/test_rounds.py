"""Whole rounds, by the commands' own processes: what they leave, what they say, and how they go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.improve.conftest import TRAINING, settings_in
from tests.warm import warm_python
from weighted_mtp.cli.main import main
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.evaluation.intervals import wilson_interval
from weighted_mtp.reports.numbers import percent

pytestmark = pytest.mark.slow
PYTHON = sys.executable
MADE = (
    "rows.jsonl",
    "train.jsonl",
    "student/model.safetensors",
    "evaluation/samples.jsonl",
    "evaluation/completions.jsonl",
)


def command(settings, folder: Path) -> list[str]:
    file = folder / "improve.yaml"
    file.write_text(yaml.safe_dump(settings))
    return ["improve", "--config", str(file)]


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """Steps of rounds that are run here, and not by a command in a process of its own, begin with all imported."""
    with warm_python(tmp_path_factory.mktemp("warm")) as program, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", program)
        yield


@pytest.fixture(scope="module")
def improved(warm, start, tmp_path_factory):
    """Two rounds that are done; tests change copies."""
    folder = tmp_path_factory.mktemp("improved")
    assert main(command(settings_in(start, folder / "run"), folder)) == 0
    return folder / "run"


@pytest.fixture
def copy(improved, tmp_path):
    return Path(shutil.copytree(improved, tmp_path / "run"))


def results(run: Path, number: int):
    return json.loads((run / f"round{number}" / "evaluation" / "results.json").read_text())


def test_every_step_leaves_its_own_directory_marker_and_log(improved):
    for number in (1, 2):
        folder = improved / f"round{number}"
        assert all((folder / name).is_file() for name in MADE)
        for step in ("sample", "student", "evaluation"):
            record = json.loads((folder / f"{step}.json").read_text())
            assert record["finished"]
            assert record["tokens"] > 0 < record["seconds"]
            assert (folder / f"{step}.log").read_text().startswith(f"$ {record['command']}\n")
    assert not (improved / "round0" / "rows.jsonl").exists()


def test_a_round_is_sampled_by_the_student_of_the_one_before(improved):
    assert {row["model"] for row in read_json_lines(improved / "round2" / "rows.jsonl")} == {
        str(improved / "round1" / "student")
    }


def test_rows_of_earlier_rounds_are_kept(improved):
    first, second = (len(read_json_lines(improved / f"round{n}" / "rows.jsonl")) for n in (1, 2))
    assert len(read_json_lines(improved / "round2" / "train.jsonl")) > max(first, second)


def test_the_page_holds_the_numbers_of_the_evaluations(improved):
    page = (improved / "improve.html").read_text()
    for number in (0, 1, 2):
        found = results(improved, number)["exact_match"]
        right = sum(row["greedy"] == "pass" for row in results(improved, number)["problems"])
        assert found["low"] == wilson_interval(right, 30).low
        assert f"{percent(found['mean'])} <small>{percent(found['low'])} to {percent(found['high'])}</small>" in page
    assert "What changed" in page


def test_what_is_done_is_not_done_again(copy, settings, tmp_path, capsys):
    before = {
        path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.suffix in (".json", ".log", ".safetensors")
    }
    assert main(command(settings, tmp_path)) == 0
    assert capsys.readouterr().out.count("done before") == 7
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_than_a_step_was_made_with_are_one_error(copy, settings, tmp_path, capsys):
    settings["student"]["learning_rate"] = 2e-3
    assert main(command(settings, tmp_path)) == 2
    said = capsys.readouterr().err
    assert "round1: student is done with learning_rate 0.001 and not 0.002; nothing was changed" in said


def test_after_signals_the_same_command_ends_with_the_same_files(copy, improved, settings, tmp_path, capsys):
    shutil.rmtree(copy / "round2")
    words = command(settings, tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM):
        (copy / "round2" / "sample.log").unlink(missing_ok=True)
        process = subprocess.Popen(
            [PYTHON, "-m", "weighted_mtp.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not (copy / "round2" / "sample.log").exists():
            assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == 128 + number
        assert "the same command goes on with the step that was stopped" in said
        assert not json.loads((copy / "round2" / "sample.json").read_text())["finished"]
    assert main(words) == 0
    for name in MADE:
        # rows name the model by its path, which is the copy's
        there, here = ((run / "round2" / name).read_bytes() for run in (improved, copy))
        assert here.replace(str(copy).encode(), str(improved).encode()) == there, name


def test_a_killed_improve_takes_its_step_along(copy, settings, tmp_path):
    shutil.rmtree(copy / "round1")
    process = subprocess.Popen(
        [PYTHON, "-m", "weighted_mtp.cli", *command(settings, tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("round1: sample: wmtp"):
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (step := children.read_text().split()):
        pass
    process.kill()
    process.communicate()
    while Path(f"/proc/{step[0]}").exists() and "zombie" not in Path(f"/proc/{step[0]}/status").read_text():
        os.sched_yield()


def test_a_failed_step_is_named_with_its_log(copy, settings, tmp_path, capsys):
    (copy / "round2" / "student.json").unlink()
    (copy / "round2" / "student" / "made_with.json").write_text("{}")
    assert main(command(settings, tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.startswith("wmtp: error: round2/student failed (")
    assert said.rstrip().endswith(f"see {copy / 'round2' / 'student.log'}")
    assert len(said.splitlines()) == 1


def test_a_critic_is_trained_judged_on_held_out_rows_and_weighs_the_student(improved, settings, tmp_path, capsys):
    shutil.copytree(improved / "round0", tmp_path / "run" / "round0")
    (tmp_path / "run" / "round1").mkdir()
    for name in ("sample.json", "rows.jsonl"):
        shutil.copy(improved / "round1" / name, tmp_path / "run" / "round1" / name)
    settings |= {"rounds": 1, "critic": TRAINING, "score": {"scheme_options": {"beta": 0.5}}}
    assert main(command(settings, tmp_path)) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "run" / "round1"
    skill = json.loads((folder / "skill.json").read_text())
    assert 0 <= skill["auc"] <= 1
    assert f"{skill['auc']:.3f}" in out
    asked = {row["prompt"] for row in read_json_lines(settings["held_out"])}
    assert {row["prompt"] for row in read_json_lines(folder / "skill.jsonl")} <= asked
    assert "--scheme=column" in json.loads((folder / "student.json").read_text())["command"]
    assert "critic" in (tmp_path / "run" / "improve.html").read_text()


def test_a_verifier_that_rejects_all_ends_it_before_training(improved, settings, tmp_path, capsys):
    shutil.copytree(improved / "round0", tmp_path / "run" / "round0")
    rows = read_json_lines(settings["problems"])
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row | {"answer": "77"}) + "\n" for row in rows))
    assert main(command(settings | {"problems": str(tmp_path / "p.jsonl")}, tmp_path)) == 2
    said = capsys.readouterr().err
    assert "numeric rejects all 160 samples, so that there is nothing to learn from" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run" / "round1" / "train.jsonl").exists()
