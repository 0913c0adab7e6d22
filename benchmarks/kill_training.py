"""kill -9 of trainings: weights and metrics of the resumed run, beside those of the run that nobody killed."""

import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from transformers import TrainerCallback

from benchmarks.moments import KILLS_OF_A_RUN, At, Moment, Outcome, die
from weighted_mtp.data import EASY, chain_tokenizer, make_chains
from weighted_mtp.demo.draw import tiny_llama
from weighted_mtp.models import MTPModel
from weighted_mtp.training.checkpoints import MARKER, list_checkpoints
from weighted_mtp.training.config import RunConfig

ARMS: dict[str, dict[str, Any]] = {
    "baseline": {"stage": "baseline", "n_future": 2},
    "critic": {"stage": "critic"},
    "verifiable": {"stage": "verifiable", "scheme": "td", "scheme_options": {"whitening": "ema", "beta": 1.0}},
    "rho1": {"stage": "rho1"},
    "packed": {"stage": "baseline", "packing": True, "max_length": 40, "per_device_train_batch_size": 2},
}
OF_TIME = ("_per_second", "runtime")
"""How the names of metrics end whose values are those of a clock."""


def make_training_inputs(folder: Path) -> None:
    """A tiny model, the same with a value head, rows, and an empty MLflow store, which takes long to make."""
    tokenizer = chain_tokenizer()
    torch.manual_seed(0)
    MTPModel(tiny_llama(tokenizer)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    critic = MTPModel.from_pretrained(folder / "base", value_head=True)
    assert critic.value_head is not None
    torch.nn.init.normal_(critic.value_head.weight, std=0.2)  # stands for one that has learned something
    critic.save_pretrained(folder / "critic")
    tokenizer.save_pretrained(folder / "critic")
    rows = make_chains(EASY, seed=0, n_train_traces=120, n_test_prompts=8).train
    for name, some in (("train", rows[:96]), ("eval", rows[96:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").search_experiments()


def kill_training(arm: str, world: int, kills: int, inputs: Path, folder: Path, seed: int = 0) -> Outcome:
    """Kills runs of an arm so many times, and compares each with the uninterrupted one."""
    outcome, chance = Outcome(logged_once=0), random.Random(f"{arm} {world} {seed}")
    whole = _fresh(folder / "whole", inputs)
    _launch(_settings(arm, whole, inputs), world, None)
    seconds, operations = json.loads((folder / "whole.json").read_text())
    while outcome.kills < kills:
        run = _fresh(folder / f"killed{outcome.runs}", inputs)
        settings, of_this_run = _settings(arm, run, inputs), 0
        while of_this_run < min(KILLS_OF_A_RUN, kills - outcome.kills):
            in_time = (outcome.kills + of_this_run) % 2 == 0
            at = chance.uniform(0, seconds) if in_time else chance.randint(1, operations)
            began = time.time()
            if not _launch(settings, world, (in_time, at, chance.randrange(world))):
                break
            of_this_run += 1
            outcome.in_saves += _is_half_written(run, began)
        outcome.kills += of_this_run
        ended = _launch(settings, world, None)
        assert not ended, "nobody killed it"
        outcome.runs += 1
        outcome.equal += _weights(run) == _weights(whole)
        outcome.logged_once = (outcome.logged_once or 0) + (_record(run) == _record(whole))
    return outcome


def _fresh(folder: Path, inputs: Path) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(inputs / "mlflow.db", folder)
    return folder


def _settings(arm: str, run: Path, inputs: Path) -> dict[str, Any]:
    base = {
        "model_name_or_path": str(inputs / ("critic" if arm == "verifiable" else "base")),
        "train_file": str(inputs / "train.jsonl"), "eval_file": str(inputs / "eval.jsonl"), "eval_steps": 4,
        "output_dir": str(run), "reference": str(inputs / "base") if arm == "rho1" else None,
        "max_steps": 8, "save_steps": 2, "logging_steps": 3, "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "learning_rate": 1e-3,
    }  # fmt: skip
    return RunConfig.from_flat(base | ARMS[arm]).to_flat()


def _launch(settings: dict[str, Any], world: int, moment: tuple[bool, float, int] | None) -> bool:
    """Trains, on until the end or the moment; whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if world > 1 else {}
    processes = []
    for rank in range(world):
        own = moment[:2] if moment is not None and moment[2] == rank else None
        ranks = group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {}
        processes.append(context.Process(target=_train, args=(settings, own, ranks)))
        processes[-1].start()
    remaining = {process.sentinel: process for process in processes}
    while remaining:
        for sentinel in wait([*remaining]):
            if remaining.pop(int(sentinel)).exitcode != 0:  # type: ignore[call-overload]
                for process in remaining.values():  # as launchers do
                    process.kill()
    codes = [process.exitcode for process in processes]
    killed = moment is not None and codes[moment[2]] == -signal.SIGKILL
    assert killed or codes == [0] * world, f"{codes}: {Path(settings['output_dir'] + '.stderr').read_text()[-3000:]}"
    return killed


class _Watch(TrainerCallback):
    """Begins to count when training does."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.moment.begin()


def _train(settings: dict[str, Any], at: At | None, ranks: dict[str, str]) -> None:
    from weighted_mtp.reports.quiet import quiet_libraries
    from weighted_mtp.training.run import train

    gc.freeze()  # every training begins with a search for garbage, and what was imported is none
    with open(settings["output_dir"] + ".stderr", "w") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(ranks)
    torch.set_num_threads(1)
    quiet_libraries()
    moment = Moment(at, die)
    train(RunConfig.from_flat(settings), "auto", quiet=True, callbacks=[_Watch(moment)])
    if ranks.get("RANK", "0") == "0":
        Path(settings["output_dir"] + ".json").write_text(json.dumps(moment.spent()))


def _is_half_written(run: Path, since: float) -> bool:
    half = [checkpoint for checkpoint in list_checkpoints(run) if not (checkpoint / MARKER).is_file()]
    half += [run / name for name in (".saving", ".saved") if (run / name).exists()]
    return any(folder.stat().st_mtime >= since for folder in half)


def _weights(run: Path) -> dict[str, bytes]:
    files = ("model.safetensors", "weighted_mtp.safetensors")
    tensors = {name: x for file in files if (run / file).is_file() for name, x in load_file(run / file).items()}
    return {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


def _record(run: Path) -> list[Any]:
    """Of every MLflow run its status, and how often it has which value of which metric of which step."""
    client = MlflowClient(tracking_uri=f"sqlite:///{run}/mlflow.db")
    experiment = client.get_experiment_by_name("weighted-mtp")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return [[one.info.status, Counter(_points(client, one))] for one in found]


def _points(client: MlflowClient, run: Any) -> Iterator[tuple[str, int, float]]:
    for key in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, key):
            yield key, point.step, 0.0 if key.endswith(OF_TIME) else point.value
