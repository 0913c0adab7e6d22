"""MLflow: one run on a real sqlite store, the mission's names, and a server that may be down."""

import logging
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from weighted_mtp.training.checkpoints import find_resumable
from weighted_mtp.training.early_checks import check_run
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.tracking import metric_name, tracking_uri

NAMES = [
    "loss",
    "weighted_ce",
    "ce_head_0",
    "ce_head_1",
    "value_loss",
    "value_explained_variance",
    "td_mean",
    "td_std",
    "td_min",
    "td_max",
    "weight_mean",
    "weight_std",
    "weight_min",
    "weight_max",
    "weight_entropy",
    "weight_clip_fraction",
    "weight_kl",
]
TRAIN_ONLY = ["grad_norm", "tokens_per_second"]


@pytest.fixture(scope="module")
def tracked(prepare, critic_dir, rows):
    """Stage 2 with two heads and its own mlflow.db, evaluated every second step."""
    run = prepare(
        "verifiable",
        model_name_or_path=str(critic_dir),
        n_future=2,
        tracking_uri=None,
        eval_file=str(rows["eval"]),
        eval_steps=2,
        scheme_options={"beta": 0.3},
    )
    run.fit()
    client = MlflowClient(tracking_uri=f"sqlite:///{run.config.train.output_dir}/mlflow.db")
    return run, client, only_run(client)


def only_run(client: MlflowClient):
    experiment = client.get_experiment_by_name("weighted-mtp")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    return found


@pytest.mark.parametrize("name", NAMES + TRAIN_ONLY)
def test_training_logs_the_name(tracked, name):
    _, client, found = tracked
    assert [point.step for point in client.get_metric_history(found.info.run_id, f"train/{name}")] == [2, 4]


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_logs_the_name(tracked, name):
    _, client, found = tracked
    steps = {point.step for point in client.get_metric_history(found.info.run_id, f"eval/{name}")}
    assert {2, 4} <= steps


def test_a_finished_run_is_marked_finished(tracked):
    assert tracked[2].info.status == "FINISHED"


def test_the_resolved_configuration_is_there_as_parameters(tracked):
    run, _, found = tracked
    flat = run.config.to_flat()
    assert found.data.params == {name: str(value)[:500] for name, value in flat.items()}
    assert found.data.params["scheme"] == "td"


def test_the_resolved_configuration_is_there_as_a_file(tracked, tmp_path):
    run, client, found = tracked
    path = client.download_artifacts(found.info.run_id, "run.yaml", str(tmp_path))
    assert yaml.safe_load(Path(path).read_text()) == run.config.to_flat()


def test_stage_and_scheme_are_tags(tracked):
    tags = tracked[2].data.tags
    assert (tags["stage"], tags["scheme"]) == ("verifiable", "td")


def test_a_resumed_training_goes_on_in_the_same_run(prepare, tmp_path):
    settings = {"output_dir": str(tmp_path), "tracking_uri": None, "save_steps": 2, "logging_steps": 1}
    stopped = prepare(**settings)
    stopped.trainer.add_callback(_stop_after(2))
    stopped.fit()
    checkpoint, _ = find_resumable(tmp_path)
    assert checkpoint == tmp_path / "checkpoint-2"
    prepare(**settings).fit(checkpoint)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    found = only_run(client)
    assert found.info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(found.info.run_id, "train/loss")] == [1, 2, 3, 4]


def _stop_after(step: int):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            control.should_training_stop = state.global_step == step

    return Stop()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_a_dead_server_costs_one_warning_and_seconds(prepare, monkeypatch, caplog, closed_port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    run = prepare(tracking_uri=None, logging_steps=1)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "weighted_mtp"):
        run.fit()
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("weighted_mtp")]
    assert len(warnings) == 1
    assert f"MLflow at http://127.0.0.1:{closed_port} does not answer, training goes on without it" in warnings[0]
    assert time.monotonic() - started < 30
    assert (Path(run.config.train.output_dir) / "model.safetensors").exists()


def test_a_store_that_fails_in_the_middle_costs_one_warning(prepare, caplog, tmp_path):
    run = prepare(tracking_uri=None, logging_steps=1)
    run.trainer.add_callback(_break_store_after(2, Path(run.config.train.output_dir) / "mlflow.db"))
    with caplog.at_level(logging.WARNING, "weighted_mtp"):
        run.fit()
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("weighted_mtp")]
    assert len(warnings) == 1
    assert run.trainer.state.global_step == 4


def _break_store_after(step: int, path: Path):
    from transformers import TrainerCallback

    class Break(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == step:
                with closing(sqlite3.connect(path)) as store:
                    store.execute("ALTER TABLE metrics RENAME TO gone")

    return Break()


def test_the_setting_goes_before_the_environment_and_that_before_the_embedded_file(make_config, monkeypatch):
    config = make_config(tracking_uri=None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(config) == f"sqlite:///{Path(config.train.output_dir).resolve()}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_uri(config) == "http://server"
    assert tracking_uri(make_config(tracking_uri="sqlite:///other.db")) == "sqlite:///other.db"


@pytest.mark.parametrize("name", ["a?b", "3%41"])
def test_a_folder_that_no_address_can_name_is_refused(make_config, monkeypatch, tmp_path, name):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = make_config(tracking_uri=None, output_dir=str(tmp_path / name))
    with pytest.raises(ConfigError, match="which the address of MLflow's database cannot"):
        check_run(config, None)
    check_run(make_config(tracking_uri="none", output_dir=str(tmp_path / name)), None)


@pytest.mark.parametrize(
    ("key", "name"), [("eval_loss", "eval/loss"), ("td_mean", "train/td_mean"), ("loss", "train/loss")]
)
def test_log_keys_become_the_missions_names(key, name):
    assert metric_name(key) == name
