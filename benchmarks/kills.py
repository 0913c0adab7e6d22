"""kill -9 at random moments, resume, and what came of it beside the run that nobody killed.

python -m benchmarks.kills [--kills 20] [--worlds 1,2] [--arms baseline,critic,verifiable,rho1,packed]

Real processes on a tiny model. Every second moment is spread over the time of the run, the others over the file
operations of its saves. A run is killed up to four times before it ends. Takes a quarter of an hour on two busy
cores of 2025.
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from transformers import TrainerCallback

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
KILLS_OF_A_RUN = 4
FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
PRELOADED = ["weighted_mtp.training.run", "weighted_mtp.training.trainer", "mlflow.store.tracking.sqlalchemy_store"]


@dataclass
class Outcome:
    """Of one arm on so many processes."""

    kills: int = 0
    in_saves: int = 0
    """Kills that left a checkpoint or the final model half written, or half removed."""
    runs: int = 0
    equal: int = 0
    """Runs whose final weights are bitwise those of the uninterrupted one."""
    logged_once: int = 0
    """Runs whose store has the metrics of the uninterrupted one, each once per step, and one run, FINISHED."""


def make_inputs(folder: Path) -> None:
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


def measure(arm: str, world: int, kills: int, inputs: Path, folder: Path, seed: int = 0) -> Outcome:
    """Kills runs of an arm so many times, and compares each with the uninterrupted one."""
    outcome, chance = Outcome(), random.Random(f"{arm} {world} {seed}")
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
        outcome.logged_once += _record(run) == _record(whole)
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
        "max_steps": 8, "save_steps": 2, "logging_steps": 1, "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 4, "per_device_eval_batch_size": 8, "learning_rate": 1e-3,
    }  # fmt: skip
    return RunConfig.from_flat(base | ARMS[arm]).to_flat()


def _launch(settings: dict[str, Any], world: int, moment: tuple[bool, float, int] | None) -> bool:
    """Trains, on until the end or the moment; whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
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


class _Moment(TrainerCallback):
    """Counts time and file operations from the start of training, and kills at the given one."""

    def __init__(self, moment: tuple[bool, float] | None) -> None:
        self.moment, self.started, self.operations = moment, 0.0, 0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()
        sys.addaudithook(self._count)
        if self.moment is not None and self.moment[0]:
            timer = threading.Timer(self.moment[1], os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()

    def _count(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_OPERATIONS:
            self.operations += 1
            if self.moment is not None and self.moment == (False, self.operations):
                os.kill(os.getpid(), signal.SIGKILL)


def _train(settings: dict[str, Any], moment: tuple[bool, float] | None, ranks: dict[str, str]) -> None:
    from weighted_mtp.cli.quiet import quiet_libraries
    from weighted_mtp.training.run import train

    gc.freeze()  # every training begins with a search for garbage, and what was imported is none
    with open(settings["output_dir"] + ".stderr", "w") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(ranks)
    torch.set_num_threads(1)
    quiet_libraries()
    watch = _Moment(moment)
    train(RunConfig.from_flat(settings), "auto", quiet=True, callbacks=[watch])
    if ranks.get("RANK", "0") == "0":
        spent = [time.perf_counter() - watch.started, watch.operations]
        Path(settings["output_dir"] + ".json").write_text(json.dumps(spent))


def _is_half_written(run: Path, since: float) -> bool:
    half = [checkpoint for checkpoint in list_checkpoints(run) if not (checkpoint / MARKER).is_file()]
    half += [run / name for name in (".saving", ".saved") if (run / name).exists()]
    return any(folder.stat().st_mtime >= since for folder in half)


def _weights(run: Path) -> dict[str, bytes]:
    files = ("model.safetensors", "weighted_mtp.safetensors")
    tensors = {name: x for file in files if (run / file).is_file() for name, x in load_file(run / file).items()}
    return {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


def _record(run: Path) -> list[Any]:
    """Of every MLflow run its status, and how often it has which metric of which step."""
    client = MlflowClient(tracking_uri=f"sqlite:///{run}/mlflow.db")
    experiment = client.get_experiment_by_name("weighted-mtp")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return [[one.info.status, Counter(_points(client, one))] for one in found]


def _points(client: MlflowClient, run: Any) -> Iterator[tuple[str, int]]:
    for key in run.data.metrics:
        yield from ((key, point.step) for point in client.get_metric_history(run.info.run_id, key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each arm")
    parser.add_argument("--worlds", default="1,2", help="numbers of processes")
    parser.add_argument("--arms", default=",".join(ARMS))
    given = parser.parse_args()
    print("| arm | processes | kills | in saves | runs | bitwise equal | every metric once, `FINISHED` |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        for world in map(int, given.worlds.split(",")):
            for arm in given.arms.split(","):
                of = measure(arm, world, given.kills, inputs, Path(folder) / f"{arm}{world}")
                counts = (of.kills, of.in_saves, of.runs, of.equal, of.logged_once)
                print(f"| {arm} | {world} | {' | '.join(map(str, counts))} |", flush=True)


if __name__ == "__main__":
    main()
