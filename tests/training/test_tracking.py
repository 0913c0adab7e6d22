"""MLflow: one run on a real sqlite store, the mission's names, and a server that may be down."""

import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import time
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from sqlalchemy.engine import Engine
from sqlalchemy.event import listens_for
from transformers import TrainerControl, TrainerState

from tests.forked import start
from tests.training.launch import Accident
from weighted_mtp.training.checkpoints import find_resumable
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.early_checks import check_run
from weighted_mtp.training.errors import ConfigError, require_store
from weighted_mtp.training.run import Interrupted
from weighted_mtp.training.tracking import UNSENT, MLflowLogger, make_store, metric_name, tracking_uri

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


def test_a_resumed_training_goes_on_in_the_same_run(logged_each_step, tmp_path):
    stopped = logged_each_step()
    stopped.trainer.add_callback(_stop_after(2))
    stopped.fit()
    checkpoint, _ = find_resumable(tmp_path)
    assert checkpoint == tmp_path / "checkpoint-2"
    logged_each_step().fit(checkpoint)
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


def test_a_dead_server_costs_two_warnings_and_seconds(prepare, monkeypatch, caplog, closed_port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    run = prepare(tracking_uri=None, logging_steps=1)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "weighted_mtp"):
        run.fit()
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("weighted_mtp")]
    assert len(warnings) == 2
    assert f"MLflow at http://127.0.0.1:{closed_port} does not answer, metrics wait for it" in warnings[0]
    unsent = Path(run.config.train.output_dir) / UNSENT
    rows = [json.loads(line) for line in unsent.read_text().splitlines()]
    assert [row["step"] for row in rows if row["key"] == "train/loss"] == [1, 2, 3, 4]
    assert f"MLflow at http://127.0.0.1:{closed_port} never got {len(rows)} values of metrics: " in warnings[1]
    assert f"are in {unsent}, and the same command with --resume auto sends them" in warnings[1]
    assert time.monotonic() - started < 30
    assert (Path(run.config.train.output_dir) / "model.safetensors").exists()


def test_a_finished_run_that_is_resumed_sends_what_its_server_never_got(
    make_config, store, tmp_path, caplog, closed_port
):
    away = make_config(output_dir=str(tmp_path), tracking_uri=f"http://127.0.0.1:{closed_port}")
    tracker, state = MLflowLogger(away), TrainerState(is_world_process_zero=True)
    tracker.on_train_begin(None, state, TrainerControl())
    for state.global_step in (1, 2):
        tracker.on_log(None, state, None, {"loss": 1.0})
    tracker.close("FINISHED")
    MLflowLogger(make_config(output_dir=str(tmp_path), tracking_uri=store)).finish()
    client, run_id = MlflowClient(tracking_uri=store), (tmp_path / "mlflow_run_id.txt").read_text()
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(run_id, "train/loss")] == [1, 2]
    assert not (tmp_path / UNSENT).exists()


def test_no_password_of_a_server_is_said(make_config, tmp_path, monkeypatch, caplog, closed_port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{closed_port}")
    tracker, state = MLflowLogger(make_config(output_dir=str(tmp_path), tracking_uri=None)), TrainerState()
    tracker.on_train_begin(None, state, TrainerControl())
    tracker.on_log(None, state, None, {"loss": 1.0})
    tracker.close("FINISHED")
    assert caplog.text.count("MLflow at http://me:***@127.0.0.1") == 2
    assert "secret" not in caplog.text


def test_what_the_store_has_is_not_kept(make_config, store, tmp_path):
    tracker, state = MLflowLogger(make_config(output_dir=str(tmp_path))), TrainerState(is_world_process_zero=True)
    tracker.on_train_begin(None, state, TrainerControl())
    for state.global_step in range(3):
        tracker.on_log(None, state, None, {"loss": 1.0})
    tracker.close("FINISHED")
    assert not tracker._waiting
    assert not tracker._there


def test_what_a_store_did_not_take_waits_for_it(prepare, empty_store, caplog):
    run = prepare(tracking_uri=None, logging_steps=1, max_steps=5)
    store = Path(shutil.copy(empty_store, run.config.train.output_dir))
    run.trainer.add_callback(_rename_table_after(2, store, "metrics", "gone"))
    run.trainer.add_callback(_rename_table_after(4, store, "gone", "metrics"))
    with caplog.at_level(logging.WARNING, "weighted_mtp"):
        run.fit()
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("weighted_mtp")]
    assert len(warnings) == 1
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    found = only_run(client)
    assert found.info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(found.info.run_id, "train/loss")] == [1, 2, 3, 4, 5]


def _rename_table_after(step: int, path: Path, old: str, new: str):
    from transformers import TrainerCallback

    class Rename(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == step:
                with closing(sqlite3.connect(path)) as store:
                    store.execute(f"ALTER TABLE {old} RENAME TO {new}")

    return Rename()


def steps_logged(run_dir: Path) -> dict[str, list[int]]:
    """Of the one run that is in mlflow.db: metric to the steps that it was logged at."""
    client = MlflowClient(tracking_uri=f"sqlite:///{run_dir}/mlflow.db")
    found = only_run(client)
    assert found.info.status == "FINISHED"
    return {key: [p.step for p in client.get_metric_history(found.info.run_id, key)] for key in found.data.metrics}


@pytest.fixture
def logged_each_step(prepare, empty_store, tmp_path):
    """A function that prepares a run of 4 steps, saved at step 2 and logged at each."""

    def make(**settings):
        if not (tmp_path / "mlflow.db").exists():
            shutil.copy(empty_store, tmp_path)
        return prepare(output_dir=str(tmp_path), tracking_uri=None, save_steps=2, logging_steps=1, **settings)

    return make


def test_a_resumed_run_has_every_metric_once_per_step(logged_each_step, tmp_path):
    logged_each_step().fit()
    logged_each_step().fit(tmp_path / "checkpoint-2")
    steps = steps_logged(tmp_path)
    assert steps["train/loss"] == [1, 2, 3, 4]
    assert {key for key, at in steps.items() if len(at) != len(set(at))} == set()


@pytest.mark.parametrize(
    ("stage", "settings"),
    [("baseline", {"n_future": 2}), ("verifiable", {"scheme": "td", "scheme_options": {"whitening": "ema"}})],
)
def test_the_first_entry_after_a_resume_is_of_all_steps_since_the_last(prepare, tmp_path, stage, settings):
    settings |= {"output_dir": str(tmp_path), "save_steps": 4, "logging_steps": 3, "max_steps": 7}
    histories = [prepare(stage, **settings).fit(at).state.log_history for at in (None, tmp_path / "checkpoint-4")]
    tokens_per_second = [next(e["tokens_per_second"] for e in entries if e["step"] == 6) for entries in histories]
    assert tokens_per_second[1] < 5 * tokens_per_second[0]  # its time too is of all those steps
    whole, resumed = (
        [{k: v for k, v in e.items() if not k.endswith(("_per_second", "runtime"))} for e in entries]
        for entries in histories
    )
    assert resumed == whole


def by_epoch(prepare, rows, folder, **settings):
    """A run whose log entries and evaluations are due at the ends of epochs: steps 10 and 20."""
    words = {"logging_strategy": "epoch", "eval_strategy": "epoch"}
    return prepare(output_dir=str(folder), eval_file=str(rows["eval"]), max_steps=20, trainer_args=words, **settings)


def losses(trainer):
    """Steps and losses, of training, of evaluations, and of training in all."""
    log, names = trainer.state.log_history, ("loss", "eval_loss", "train_loss")
    return [[(entry["step"], entry[name]) for entry in log if name in entry] for name in names]


def test_log_entry_and_evaluation_of_an_epoch_are_in_the_checkpoint_of_its_last_step(prepare, rows, tmp_path):
    whole, *resumed = (
        losses(by_epoch(prepare, rows, tmp_path, save_steps=10).fit(at))
        for at in (None, tmp_path / "checkpoint-10", tmp_path / "checkpoint-20")
    )
    assert [[step for step, _ in entries] for entries in whole] == [[10, 20], [0, 10, 20], [20]]
    assert resumed == [whole, whole]


def test_an_epoch_that_a_signal_cut_is_logged_and_evaluated_when_it_ends(prepare, rows, tmp_path):
    cut = by_epoch(prepare, rows, tmp_path, callbacks=[Accident(13, signal.SIGINT)])
    with pytest.raises(Interrupted):
        cut.fit()
    assert [[step for step, _ in entries] for entries in losses(cut.trainer)] == [[10], [0, 10], [13]]
    resumed = by_epoch(prepare, rows, tmp_path).fit(tmp_path / "checkpoint-13")
    assert [[step for step, _ in entries] for entries in losses(resumed)] == [[10, 20], [0, 10, 20], [20]]


def test_a_resumed_run_logs_what_the_store_never_got(logged_each_step, tmp_path):
    logged_each_step().fit()
    for lost in ("mlflow.db", "mlflow_run_id.txt"):
        (tmp_path / lost).unlink()
    MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")._tracking_client.store.engine.dispose()
    logged_each_step().fit(tmp_path / "checkpoint-2")
    assert steps_logged(tmp_path)["train/loss"] == [1, 2, 3, 4]


def test_a_run_resumed_with_changes_is_another_of_which_the_whole_course_is_logged(logged_each_step, tmp_path):
    logged_each_step().fit()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    first = only_run(client).info.run_id
    changed = logged_each_step(max_steps=5)
    changed.trainer.resumes_with_changes = True
    changed.fit(tmp_path / "checkpoint-2")
    second = (tmp_path / "mlflow_run_id.txt").read_text()
    assert [client.get_run(run).info.status for run in (first, second)] == ["KILLED", "FINISHED"]
    assert [p.step for p in client.get_metric_history(second, "train/loss")] == [1, 2, 3, 4, 5]


def test_a_run_that_was_killed_behind_its_model_is_finished_when_it_is_resumed(make_config, store, tmp_path):
    config = make_config(output_dir=str(tmp_path))
    MLflowLogger(config).on_train_begin(None, TrainerState(), TrainerControl())
    run_id, client = (tmp_path / "mlflow_run_id.txt").read_text(), MlflowClient(tracking_uri=store)
    assert client.get_run(run_id).info.status == "RUNNING"
    MLflowLogger(config).finish()
    assert client.get_run(run_id).info.status == "FINISHED"


def open_and_die(config: dict[str, Any], kill_at: int) -> None:
    """Opens the MLflow run and logs a value; dies at that SQL statement, where it comes to one."""
    done = 0

    @listens_for(Engine, "before_cursor_execute")
    def count(*_: object) -> None:
        nonlocal done
        done += 1
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    tracker = MLflowLogger(RunConfig.from_flat(config))
    state = TrainerState(is_world_process_zero=True)
    tracker.on_train_begin(None, state, TrainerControl())
    tracker.on_log(None, state, None, {"loss": 1.0})
    tracker.close("FINISHED")


def test_after_a_kill_while_the_store_is_made_everything_is_logged(make_config, tmp_path):
    for statement in (60, 800, 1500):
        folder = tmp_path / f"killed at #{statement}"  # a # is a character as others are
        folder.mkdir()
        config = make_config(output_dir=str(folder), tracking_uri=None).to_flat()
        for kill_at, code in ((statement, -signal.SIGKILL), (0, 0)):
            process = start(open_and_die, config, kill_at, said=tmp_path / "said")
            process.join(timeout=60)
            assert process.exitcode == code, (tmp_path / "said").read_text()
        assert "does not answer" not in (tmp_path / "said").read_text()
        assert [*folder.glob(".mlflow-*")] == []  # that of the killed one
        client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        run_id = (folder / "mlflow_run_id.txt").read_text()
        assert [p.step for p in client.get_metric_history(run_id, "train/loss")] == [0]


@pytest.mark.parametrize(
    "uri", ["databricks", "databricks-uc", "uc", "databricks://me", "uc:http://x", "mysql+pymysql://u@h/d", "None"]
)
def test_an_address_that_mlflow_knows_is_taken(uri):
    require_store(uri)


def test_what_a_kill_behind_the_store_left_aside_is_removed_and_nothing_else(tmp_path):
    for name in (".mlflow-ab12_x9z", ".mlflow-of-mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "mlflow.db").touch()
    make_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert {path.name for path in tmp_path.iterdir()} == {".mlflow-of-mine", "mlflow.db"}


def test_the_folder_of_a_store_is_made(make_config, tmp_path):
    store = tmp_path / "runs" / "all" / "mlflow.db"
    check_run(make_config(tracking_uri=f"sqlite:///{store}"), None)
    make_store(f"sqlite:///{store}")
    assert store.is_file()


def test_two_runs_that_make_one_store_both_have_their_record(make_config, tmp_path):
    store = f"sqlite:///{tmp_path}/shared.db"
    folders = [tmp_path / name for name in "ab"]
    processes = []
    for folder in folders:
        folder.mkdir()
        config = make_config(output_dir=str(folder), tracking_uri=store).to_flat()
        processes.append(start(open_and_die, config, 0, said=folder / "said"))
    for process in processes:
        process.join(timeout=60)
    client = MlflowClient(tracking_uri=store)
    for folder in folders:
        assert "does not answer" not in (folder / "said").read_text()
        run_id = (folder / "mlflow_run_id.txt").read_text()
        assert client.get_run(run_id).info.status == "FINISHED"
        assert [p.step for p in client.get_metric_history(run_id, "train/loss")] == [0]


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


def test_mlflow_tells_nobody_that_it_is_used():
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    assert MLFLOW_DISABLE_TELEMETRY.get()


def test_a_long_log_is_saved_piece_by_piece_as_the_text_that_transformers_would_write(prepare, tmp_path):
    state, names = prepare(save_steps=4).fit().state, [f"metric_{i}" for i in range(20)]
    state.log_history += [dict.fromkeys(names, 0.1) | {"step": step} for step in range(1000)]
    tracemalloc.start()
    state.save_to_json(str(tmp_path / "ours.json"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    TrainerState.save_to_json(state, str(tmp_path / "theirs.json"))
    ours, theirs = ((tmp_path / f"{whose}.json").read_bytes() for whose in ("ours", "theirs"))
    assert ours == theirs
    assert peak < len(ours) / 4
