"""The experiment as a user runs it, on made tasks and a tiny model: real files, real processes, really stopped."""

import json
import os
import shutil
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.special import expit, logit

from research.real_code.__main__ import PROGRAM, main
from research.real_code.critics import scored_opinion
from research.real_code.rows import FOLDS, fold_of
from research.real_code.tokens import Completions
from research.tests.real_code.made_code import made_rows, save_tiny_model, write_rows
from tests.forked import start
from weighted_mtp.data import load_rows
from weighted_mtp.data.json_lines import read_json_lines

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
    "students/log-odds": STEPS | {"stage": "verifiable", "critic": "critics/generative", "scheme": "log_odds"},
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
    return ["--out", str(out), "--configs", configs, "--max_length", "120", *map(str, more)]


def files(out: Path) -> dict[str, int]:
    """When each file of a job was written."""
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.glob("*/*/fold*/**/*") if p.is_file()} | {
        str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.glob("untrained/fold*/*")
    }


def findings(out: Path) -> dict:
    """What results.json says, but for times and machine."""
    results = json.loads((out / "results.json").read_text())
    return {part: results[part] for part in ("critics", "students")}


@pytest.fixture(scope="module")
def finished(made_once):
    """The folder of a whole run by two workers, and its configurations; nothing changes them."""

    def make(root: Path) -> None:
        configs, rows = write_configs(root / "configs", save_tiny_model(root / "tiny")), made_rows()
        data = [write_rows(root / "one.jsonl", rows[:50]), write_rows(root / "two.jsonl", rows[50:])]
        assert main(words(root / "out", configs, "--jobs", 2, "--data", json.dumps(data))) == 0

    root = made_once("real-code", make)
    return root / "out", str(root / "configs")


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the folder, and the configurations."""
    shutil.copytree(finished[0], tmp_path / "out")
    return tmp_path / "out", finished[1]


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
    assert {part: results["critics"][part]["tasks"] for part in results["critics"]} == {"all": 20, "one": 10, "two": 10}
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
            last = [2] if name.startswith("students/") else []  # held-out rows are evaluated at the end in any case
            assert steps == {"critics/generative": [50, 100, 150, 200], "critics/value-lora": [1, 2]}.get(name, last)


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
def test_a_second_call_makes_the_lost_fold_alone_and_says_the_same(copied, capsys):
    out, configs = copied
    before, said = files(out), findings(out)
    shutil.rmtree(out / "students" / "uniform" / "fold3")
    assert main(words(out, configs, "--only", "[uniform]", "--jobs", 1)) == 0
    lost = {name for name in before if name.startswith("students/uniform/fold3/")}
    after = files(out)
    assert {name for name, time in after.items() if time != before.get(name)} == lost
    assert after.keys() == before.keys()
    assert findings(out) == said
    assert "log-odds" in capsys.readouterr().out


# A stopped run


def run_as_leader(arguments: list[str]) -> None:
    """The command in a process group of its own, as a shell starts it."""
    os.setsid()
    sys.exit(main(arguments))


def wait_for(process: BaseProcess, folder: Path, pattern: str, said: Path) -> None:
    """Until there is such a file."""
    while not any(folder.glob(pattern)):
        process.join(timeout=0.02)
        assert process.exitcode is None, f"ended before {pattern}: {said.read_text()}"


@pytest.fixture
def begun(copied):
    """A run that has still to make folds 1 and 2 of its first critic, and the students that read it."""
    out, configs = copied
    for fold in (1, 2):
        shutil.rmtree(out / "critics" / "generative" / f"fold{fold}")
        shutil.rmtree(out / "students" / "log-odds" / f"fold{fold}")
    return out, configs


def stop(out: Path, configs: Path, by: str) -> Path:
    """Stops a run in the first fold that it has to make; gives that critic's folder."""
    critic, said = out / "critics" / "generative", out.parent / "said"
    process = start(run_as_leader, words(out, configs, "--jobs", 1), said=said)
    assert process.pid is not None
    wait_for(process, critic, "fold1/model/checkpoint-50/*", said)
    if by == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    process.join(60)
    assert process.exitcode == 130, said.read_text()
    assert said.read_text().splitlines() == [f"{PROGRAM}: stopped; the same command goes on where it stopped"]
    with pytest.raises(ProcessLookupError):  # no worker is left
        os.killpg(process.pid, 0)
    assert {path.name for path in critic.iterdir()} == {"fold0", "fold1", "fold3", "fold4"}  # none begins
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
    assert main(words(out, configs, "--jobs", 1)) == 0
    result = json.loads((critic / "fold1" / "result.json").read_text())
    assert result["train_cpu_seconds"] > spent["train_cpu_seconds"] > 0  # of both attempts
    changed = {name for name, time in files(out).items() if time != before.get(name)}
    made = [f"{job}/fold{fold}/" for job in ("critics/generative", "students/log-odds") for fold in (1, 2)]
    assert {name for name in changed if not name.startswith(tuple(made))} == set()
    assert findings(out) == findings(finished[0])


# Mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uniform": {"learning_rat": 1}}, "uniform.yaml: unknown setting 'learning_rat'; did you mean learning_rate?"),
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
        (["--data", "FILE", "--only", "[generatve]"], "only names 'generatve': give some of untrained, generative, "),
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
    told = capsys.readouterr().err.strip().splitlines()
    [line] = [one for one in told if "times: the last one counts" not in one]  # `words` gives a flag before
    assert message in line


def test_rows_too_few_leave_no_folder(code_model, tmp_path, capsys):
    configs = write_configs(tmp_path / "configs", code_model)
    data = write_rows(tmp_path / "few.jsonl", made_rows(5))
    assert main(words(tmp_path / "out", configs, "--data", json.dumps([data]))) == 2
    assert "5 tasks have a right and a wrong completion" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
