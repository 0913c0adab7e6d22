"""One process is equal to two ranks: real processes on gloo."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient
from safetensors.torch import load_file

LAUNCH = Path(__file__).with_name("launch.py")


def launch_ranks(config, tmp_path: Path, processes: int) -> subprocess.CompletedProcess[str]:
    path = tmp_path / f"{Path(config.train.output_dir).name}.yaml"
    path.write_text(yaml.safe_dump(config.to_flat()))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*words, str(LAUNCH), str(path)], capture_output=True, text=True, timeout=280)


def logged(run_dir: Path) -> list[dict[str, float]]:
    client = MlflowClient(tracking_uri=f"sqlite:///{run_dir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("weighted-mtp")
    assert experiment is not None
    return [run.data.metrics for run in client.search_runs([experiment.experiment_id])]


CASES = {
    "uniform": ("baseline", {}),
    "td": ("verifiable", {"scheme_options": {"beta": 0.3}}),
    "td_ema": ("verifiable", {"scheme_options": {"whitening": "ema", "beta": 1.0}}),
    "generative": ("critic", {"critic": "generative", "prior": "head", "n_future": 1}),
    "implicit": ("critic", {"critic": "implicit", "n_future": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(make_config, tmp_path, case):
    stage, settings = CASES[case]

    def config(name: str, batch: int):
        return make_config(
            stage,
            **{
                "output_dir": str(tmp_path / name),
                "per_device_train_batch_size": batch,
                "n_future": 2,
                "eval_file": str(Path(make_config().data.train_file).with_name("eval.jsonl")),
                "optim": "sgd",
                "learning_rate": 0.5,
                **settings,
            },
        )

    one = launch_ranks(config("one", 8), tmp_path, 1)
    two = launch_ranks(config("two", 4), tmp_path, 2)
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in first.items():
        torch.testing.assert_close(
            second[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    (metrics_one,), (metrics_two,) = logged(tmp_path / "one"), logged(tmp_path / "two")
    names = ["train/loss", "train/weight_entropy", "eval/loss"]
    names += [] if case == "implicit" else ["train/weighted_ce", "eval/ce_head_0"]
    names += [] if stage == "critic" else ["eval/ce_head_1"]
    for name in names:
        assert metrics_two[name] == pytest.approx(metrics_one[name], rel=1e-5), name


@pytest.mark.slow
def test_fsdp_that_silently_became_ddp_is_refused(make_config, tmp_path):
    config = make_config(trainer_args={"fsdp": True, "use_cpu": True})
    done = launch_ranks(config, tmp_path, 2)
    assert done.returncode != 0
    assert "fsdp was asked for" in done.stderr
