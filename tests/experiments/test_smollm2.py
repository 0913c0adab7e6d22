"""The README's real run, shortened: a pretrained model from a wheel, verified code, three stages, tokens to look at."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from weighted_mtp.cli import main

ROOT = Path(__file__).parents[2]
ROWS = ROOT.parent / "shared" / "data" / "humaneval_mutants.jsonl"
STEPS = 3


@pytest.fixture(scope="module")
def rows(smollm2, tmp_path_factory) -> Path:
    """Verified code: the shared file where it is, else a few rows of our own in the same schema."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    if ROWS.exists():
        path.write_text("".join(line + "\n" for line in ROWS.read_text().splitlines()[:40]))
        return path
    made = [
        {"prompt": f"def f{i}(a, b):\n", "completion": f"    return a {op} b * {i}\n", "label": op == "+"}
        for i in range(10)
        for op in "+-"
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture(scope="module")
def runs(rows, tmp_path_factory) -> Path:
    """The three configurations of configs/smollm2, run in order for a few short steps each."""
    root = tmp_path_factory.mktemp("smollm2")
    for stage in ("baseline", "critic", "verifiable"):
        settings = yaml.safe_load((ROOT / "configs" / "smollm2" / f"{stage}.yaml").read_text())
        settings |= {
            "train_file": str(rows),
            "output_dir": str(root / stage),
            "tracking_uri": f"sqlite:///{root / 'mlflow.db'}",
            "max_steps": STEPS,
            "max_length": 160,
            "save_steps": 0,
            "per_device_train_batch_size": 2,
            "sampler": "shuffled",
        }
        if stage == "verifiable":
            settings["model_name_or_path"] = str(root / "critic")
        (root / f"{stage}.yaml").write_text(yaml.safe_dump(settings))
        assert main(["train", stage, "--config", str(root / f"{stage}.yaml")]) == 0
    return root


@pytest.mark.slow
def test_every_stage_logs_finite_losses(runs):
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smollm2")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    losses = {
        r.data.tags["stage"]: client.get_metric_history(r.info.run_id, "train/ce_head_0") for r in found
    }
    assert {stage: len(history) for stage, history in losses.items()} == {
        "baseline": STEPS, "critic": STEPS, "verifiable": STEPS
    }  # fmt: skip
    assert all(0 < point.value < 12 for history in losses.values() for point in history)


@pytest.mark.slow
def test_the_result_generates_text(runs, capsys):
    assert (
        main(["generate", str(runs / "verifiable"), "--prompt", "def add(a, b):", "--max_new_tokens", "8"])
        == 0
    )
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_inspect_shows_the_tokens_of_a_completion(runs, rows, capsys):
    first_word = json.loads(rows.read_text().splitlines()[0])["completion"].split()[0]
    assert main(["inspect", str(runs / "verifiable"), "--rows", "[0]"]) == 0
    assert first_word in capsys.readouterr().out
