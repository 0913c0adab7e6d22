"""The README's real run, shortened: a pretrained model from a wheel, verified code, three stages, tokens to look at."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient

from weighted_mtp.cli.main import main

ROOT = Path(__file__).parents[2]
ROWS = ROOT.parent / "shared" / "data" / "humaneval_mutants.jsonl"
STEPS = 2
HAS_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()

pytestmark = pytest.mark.timeout(600)  # reading the GGUF file alone takes a minute on a slow machine


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """Verified code, the shortest tasks: of the shared file where it is, else of our own in the same schema."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    if ROWS.exists():
        table = [json.loads(line) for line in ROWS.read_text().splitlines()]
        made = sorted(table, key=lambda row: len(row["prompt"] + row["completion"]))[:8]
    else:
        made = [
            {"prompt": f"def f{i}(a, b):\n", "completion": f"    return a {op} b * {i}\n", "label": op == "+"}
            for i in range(4)
            for op in "+-"
        ]
    assert {row["label"] for row in made} == {True, False}
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture(scope="module")
def runs(smollm2, smollm2_dir, empty_store, rows, tmp_path_factory) -> Path:
    """The three configurations of smollm2/*.yaml, run in order for a few short steps each.

    The GGUF file that they name takes half a minute to read: `smollm2_dir` was read from it. A processor without
    bfloat16 takes a second a token for it: there it is left to the critic, which has one head.
    """
    root = tmp_path_factory.mktemp("smollm2")
    shutil.copy(empty_store, root)
    starts = {"baseline": smollm2_dir, "critic": smollm2_dir, "verifiable": str(root / "critic")}
    for stage, start in starts.items():
        settings = yaml.safe_load((ROOT / "src/weighted_mtp/configs/smollm2" / f"{stage}.yaml").read_text())
        assert settings["bf16"]
        if stage != "verifiable":
            assert settings["model_name_or_path"] == smollm2
        settings |= {
            "model_name_or_path": start,
            "train_file": str(rows),
            "output_dir": str(root / stage),
            "tracking_uri": f"sqlite:///{root / 'mlflow.db'}",
            "max_steps": STEPS,
            "max_length": 64,
            "save_steps": 0,
            "per_device_train_batch_size": 1,
            "sampler": "shuffled",
            "bf16": HAS_BFLOAT16 or stage == "critic",
        }
        if stage == "verifiable":
            settings["scheme"] = "td"  # by default only right rows count here, and a step of a wrong one has no loss
        (root / f"{stage}.yaml").write_text(yaml.safe_dump(settings))
        assert main(["train", stage, "--config", str(root / f"{stage}.yaml")]) == 0
    return root


@pytest.mark.slow
def test_every_stage_logs_finite_losses(runs):
    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smollm2")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    losses = {r.data.tags["stage"]: client.get_metric_history(r.info.run_id, "train/ce_head_0") for r in found}
    assert {stage: len(history) for stage, history in losses.items()} == {
        "baseline": STEPS, "critic": STEPS, "verifiable": STEPS
    }  # fmt: skip
    assert all(0 < point.value < 12 for history in losses.values() for point in history)


@pytest.mark.slow
def test_the_result_generates_text(runs, capsys):
    assert main(["generate", str(runs / "verifiable"), "--prompt", "def add(a, b):", "--max_new_tokens", "8"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_inspect_shows_the_tokens_of_a_completion(runs, rows, capsys):
    first_word = json.loads(rows.read_text().splitlines()[0])["completion"].split()[0]
    assert main(["inspect", str(runs / "verifiable"), "--rows", "[0]"]) == 0
    assert first_word in capsys.readouterr().out
