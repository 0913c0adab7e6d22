"""`wmtp real-code` as a user runs it, on made tasks and a tiny model: real files, real processes, really stopped."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.special import expit, logit

from tests.experiments.made_code import made_rows, save_tiny_model, write_rows
from weighted_mtp.cli import main
from weighted_mtp.data import load_rows
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.experiments.real_code_critics import scored_opinion
from weighted_mtp.experiments.real_code_rows import FOLDS, fold_of
from weighted_mtp.experiments.real_code_tokens import Completions

STEPS = {
    "lora_rank": 2,
    "learning_rate": 5e-3,
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "trainer_args": {"eval_on_start": False},
}
CRITIC = STEPS | {"stage": "critic", "sampler": "balanced", "eval_steps": 1, "early_stopping_patience": 1}
HEAD = {
    "stage": "critic",
    "freeze_trunk": True,
    "value_loss": "bce",
    "learning_rate": 0.01,
    "num_train_epochs": 2,
    "eval_steps": 1,
    "early_stopping_patience": 1,
}
CONFIGS = {
    "critics/generative": CRITIC
    | {
        "critic": "generative",
        "max_steps": 200,
        "eval_steps": 50,
        "early_stopping_patience": 4,
        "learning_rate": 1e-4,
    },  # time to be stopped
    "critics/value-lora": CRITIC | {"lm_coef": 0.0},
    "critics/value-linear": HEAD,
    "students/uniform": STEPS | {"stage": "baseline", "save_steps": 1},
    "students/log-odds": STEPS
    | {"stage": "verifiable", "critic": "critics/generative", "scheme": "log_odds"},
}
TRAINED = ("critics/generative", "critics/value-lora", "students/uniform", "students/log-odds")


def write_configs(folder: Path, model: str, **changes: dict | None) -> str:
    """The YAML files, some with changed settings; None leaves a file out."""
    for name, settings in CONFIGS.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        change = changes.get(path.stem.replace("-", "_"), {})
        if change is not None:
            path.write_text(yaml.safe_dump({"model_name_or_path": model} | settings | change))
    return str(folder)


def words(out: Path, configs: str, *more: object) -> list[str]:
    return ["real-code", "--out", str(out), "--configs", configs, "--max_length", "120", *map(str, more)]


def files(out: Path) -> dict[str, int]:
    """When each file of a job was written."""
    return {
        str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.glob("*/*/fold*/**/*") if p.is_file()
    } | {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.glob("untrained/fold*/*")}


def findings(out: Path) -> dict:
    """What results.json says, but for times and machine."""
    results = json.loads((out / "results.json").read_text())
    return {part: results[part] for part in ("critics", "students")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = made_rows()
    return [write_rows(folder / "one.jsonl", rows[:50]), write_rows(folder / "two.jsonl", rows[50:])]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model, data):
    """The folder of a whole run by two workers, and its configurations."""
    root = tmp_path_factory.mktemp("whole")
    configs = write_configs(root / "configs", model)
    assert main(words(root / "out", configs, "--jobs", 2, "--data", json.dumps(data))) == 0
    return root / "out", configs


# A whole run


@pytest.mark.slow
def test_results_hold_every_method_of_every_source(finished):
    results = json.loads((finished[0] / "results.json").read_text())
    assert results["data"]["selection"]["max_length"] == 120
    assert results["data"]["sources"].keys() == {"one", "two"}
    own = {"generative", "value-lora", "value-linear"}
    assert results["critics"].keys() == results["students"].keys() == {"all", "one", "two"}
    for found in results["critics"].values():
        assert found["localisation"].keys() == {
            *("surprisal", "entropy", "position", "surprisal, entropy, position"),
            *own,
            *(f"{name} + {more}" for name in own for more in ("surprisal", "all untrained")),
        }
        assert found["outcome"].keys() == {
            *("surprisal", "length", "surprisal, length"),
            *own,
            *(f"{name} + surprisal, length" for name in own),
        }
    for found in results["students"].values():
        assert found["students"].keys() == {"untrained", "uniform", "log-odds"}
    assert {part: results["critics"][part]["tasks"] for part in results["critics"]} == {
        "all": 20,
        "one": 10,
        "two": 10,
    }
    assert results["jobs"].keys() == {"untrained", *TRAINED, "critics/value-linear"}
    assert all(len(held) == FOLDS for held in results["jobs"].values())
    assert results["meta"]


@pytest.mark.slow
def test_scores_are_of_the_test_rows_in_their_order_and_say_what_each_token_adds(finished, code_tokenizer):
    out, _ = finished
    rows = read_json_lines(out / "rows.jsonl")
    completions = Completions.of(rows, code_tokenizer)
    for name in ("generative", "value-lora"):
        folders = [out / "critics" / name / f"fold{fold}" / "scores" for fold in range(FOLDS)]
        for fold, folder in enumerate(folders):
            scored = [(row["prompt"], row["completion"]) for row in load_rows(folder)[0]]
            assert scored == [(row["prompt"], row["completion"]) for row in rows if fold_of(row) == fold]
        values = completions.fill([[row["values"] for row in load_rows(folder)[0]] for folder in folders])
        opinion = scored_opinion(completions, folders)
        inside = np.arange(completions.n_tokens - 1)[np.diff(completions.row_of) == 0]
        adds = np.diff(logit(values) if name == "generative" else values)[inside]
        np.testing.assert_allclose(opinion.credit[inside], adds, atol=1e-4)
        last = completions.starts[1:] - 1
        eos = opinion.credit[last] if name == "generative" else 0.0
        np.testing.assert_allclose(opinion.final, expit(logit(values[last]) + eos), atol=1e-4)


@pytest.mark.slow
def test_curves_are_the_evaluations_of_each_fold(finished):
    results = json.loads((finished[0] / "results.json").read_text())
    for name, held in results["jobs"].items():
        for job in held:
            steps = [entry["step"] for entry in job["curve"]]
            assert steps == {"critics/generative": [50, 100, 150, 200], "critics/value-lora": [1, 2]}.get(
                name, []
            )


@pytest.mark.slow
def test_a_student_is_another_model_than_the_untrained_one(finished):
    students = json.loads((finished[0] / "results.json").read_text())["students"]["all"]["students"]
    losses = {name: found["right_nll"]["mean"] for name, found in students.items()}
    assert len(set(losses.values())) == 3
    assert losses["uniform"] < losses["untrained"]


@pytest.mark.slow
def test_no_checkpoint_is_left(finished):
    assert not list(finished[0].rglob("checkpoint-*"))
    assert len(list(finished[0].rglob("model.safetensors"))) == FOLDS * len(TRAINED)


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_says_the_same(finished, capsys):
    out, configs = finished
    before, said = files(out), findings(out)
    assert main(words(out, configs)) == 0
    assert files(out) == before
    assert findings(out) == said
    assert "log-odds" in capsys.readouterr().out


@pytest.mark.slow
def test_a_lost_fold_alone_is_made_again_to_the_same_results(finished):
    out, configs = finished
    before, said = files(out), findings(out)
    shutil.rmtree(out / "students" / "uniform" / "fold3")
    assert main(words(out, configs, "--only", "[uniform]", "--jobs", 1)) == 0
    lost = {name for name in before if name.startswith("students/uniform/fold3/")}
    assert {name for name, time in files(out).items() if time != before[name]} == lost
    assert findings(out) == said


# A stopped run


def launch(arguments: list[str]) -> subprocess.Popen:
    """The command in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "weighted_mtp.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(process: subprocess.Popen, folder: Path, pattern: str) -> None:
    """Until there is such a file."""
    while not any(folder.glob(pattern)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
            pytest.fail(f"ended before {pattern}: {process.communicate()[1]}")


@pytest.fixture
def begun(finished, tmp_path):
    """A run that has come to the second fold of its first critic."""
    out, configs = finished
    shutil.copytree(out, tmp_path / "out")
    for fold in range(1, FOLDS):
        shutil.rmtree(tmp_path / "out" / "critics" / "generative" / f"fold{fold}")
    shutil.rmtree(tmp_path / "out" / "students")
    return tmp_path / "out", configs


def stop(out: Path, configs: Path, by: str) -> Path:
    """Stops a run in the second fold of its first critic; gives that critic's folder."""
    critic = out / "critics" / "generative"
    process = launch(words(out, configs, "--jobs", 1))
    wait_for(process, critic, "fold1/model/checkpoint-50/*")
    if by == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    _, said = process.communicate(timeout=60)  # until the last worker has let go of the pipe
    assert process.returncode == 130, said
    assert said.splitlines() == ["wmtp: stopped; the same command goes on where it stopped"]
    assert {path.name for path in critic.iterdir()} == {"fold0", "fold1"}  # nothing more has begun
    assert not (critic / "fold1" / "result.json").exists()
    return critic


@pytest.mark.slow
def test_ctrl_c_stops_all_workers_and_begins_nothing_more(begun):
    stop(*begun, "Ctrl-C")


@pytest.mark.slow
def test_a_run_that_sigterm_stopped_goes_on_to_the_same_results(finished, begun):
    out, configs = begun
    critic = stop(out, configs, "SIGTERM")
    before, spent = files(out), json.loads((critic / "fold1" / "spent.json").read_text())
    assert main(words(out, configs, "--jobs", 2)) == 0
    result = json.loads((critic / "fold1" / "result.json").read_text())
    assert result["train_cpu_seconds"] > spent["train_cpu_seconds"] > 0  # of both attempts
    changed = {name for name, time in files(out).items() if time != before.get(name)}
    assert not [
        name for name in changed if name.startswith(("critics/generative/fold0", "critics/value-lora"))
    ]
    assert findings(out) == findings(finished[0])


# Mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"uniform": {"learning_rat": 1}},
            "uniform.yaml: unknown setting 'learning_rat'; did you mean learning_rate?",
        ),
        ({"uniform": {"max_steps": "many"}}, "uniform.yaml: "),
        ({"generative": {"critic": "generatve"}}, "generative.yaml: critic is 'generatve'"),
        ({"log_odds": {"model_name_or_path": "another"}}, "configs start from "),
        ({"value_linear": {"value_loss": "pairwise"}}, "value_loss is 'pairwise'"),
        ({"value_linear": {"early_stopping_patience": 0}}, "early_stopping_patience is 0"),
        ({"uniform": None, "log_odds": None}, "students holds no .yaml"),
    ],
)
def test_a_mistake_in_a_configuration_is_one_line(changes, message, code_model, code_file, tmp_path, capsys):
    configs = write_configs(tmp_path / "configs", code_model, **changes)
    assert main(words(tmp_path / "out", configs, "--data", json.dumps([code_file]))) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list((tmp_path / "out").glob("*/fold*/*"))


def test_a_file_that_is_no_yaml_is_one_line(code_model, code_file, tmp_path, capsys):
    configs = write_configs(tmp_path / "configs", code_model)
    (tmp_path / "configs" / "critics" / "broken.yaml").write_text("stage: [critic\n")
    assert main(words(tmp_path / "out", configs, "--data", json.dumps([code_file]))) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "broken.yaml is not valid YAML" in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "holds no rows yet: name their files as --data"),
        (["--data", '["nowhere.jsonl"]'], "nowhere.jsonl: no such file"),
        (
            ["--data", "FILE", "--only", "[generatve]"],
            "only names 'generatve': give some of untrained, generative, ",
        ),
        (["--data", "FILE", "--max_length", "20"], "0 tasks have a right and a wrong completion"),
        (["--data", "FILE", "--max_length", "1"], "max_length is 1: give 2 or more"),
        (["--data", "FILE", "--jobs", "-1"], "jobs is -1"),
        (["--dat", "FILE"], "unknown setting 'dat': did you mean data?"),
        (["--configs", "nowhere"], "nowhere/critics holds no .yaml"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(more, message, code_model, code_file, tmp_path, capsys):
    configs = write_configs(tmp_path / "configs", code_model)
    given = [json.dumps([code_file]) if word == "FILE" else word for word in more]
    assert main(words(tmp_path / "out", configs, *given)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_rows_too_few_leave_no_folder(code_model, tmp_path, capsys):
    configs = write_configs(tmp_path / "configs", code_model)
    data = write_rows(tmp_path / "few.jsonl", made_rows(5))
    assert main(words(tmp_path / "out", configs, "--data", json.dumps([data]))) == 2
    assert "5 tasks have a right and a wrong completion" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
