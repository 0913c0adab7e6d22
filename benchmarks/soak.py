"""2,000 optimizer steps of a tiny model: memory, open handles, and what MLflow has of it.

python -m benchmarks.soak [--steps 2000] [--logging_steps 10] [--server 5]

Every tenth step is logged, every hundredth evaluated and saved. With `--server K` the metrics go to a real
`mlflow server` (sqlite, one worker), which is killed by SIGKILL and begun again K times. Memory and handles are taken
every tenth step; the first fifth is warm-up. Slopes are of a line by least squares, over all steps after it, and in
percent of what was there.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from transformers import TrainerCallback

from benchmarks.kill_training import make_training_inputs
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.run import train

EVERY = 10
PAGE = os.sysconf("SC_PAGE_SIZE")


class Health(TrainerCallback):
    """Resident memory and open handles at every tenth step."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.taken: dict[str, list[float]] = {"resident memory, MiB": [], "open handles": [], "threads": []}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % EVERY == 0:
            self.steps.append(state.global_step)
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20
            for values, value in zip(self.taken.values(), (resident, handles(), threading.active_count()), strict=True):
                values.append(value)

    def lines(self) -> list[str]:
        """A row of the table for each of them."""
        warm = len(self.steps) // 5
        steps, found = np.array(self.steps[warm:], dtype=float), []
        for name, values in self.taken.items():
            after = np.array(values[warm:])
            slope, start = np.polyfit(steps - steps[0], after, 1)
            change = 100 * slope * (steps[-1] - steps[0]) / start
            found.append(
                f"| {name} | {after[0]:.1f} | {after[-1]:.1f} | {after.min():.1f} to {after.max():.1f} | "
                f"{1000 * slope:+.3f} | {change:+.2f} % |"
            )
        return found


def handles() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


class Server:
    """`mlflow server` on sqlite with one worker, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begins it and waits until it answers."""
        store = f"sqlite:///{self._folder}/server.db"
        words = ["--backend-store-uri", store, "--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words, "--workers", "1", "--port", self._port],
                stdout=said, stderr=said, start_new_session=True,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # which begins seven more processes
            )  # fmt: skip
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=10):
                    return
            except OSError:
                assert self._process.poll() is None, (self._folder / "server.log").read_text()[-3000:]

    def kill(self) -> None:
        """SIGKILL to it and its worker."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Accidents(TrainerCallback):
    """Kills the server at some steps, in the midst of what it does, and begins it again some steps later."""

    def __init__(self, server: Server, steps: int, count: int) -> None:
        self._server, self._threads = server, []
        self._at = {steps * (i + 1) // (count + 2): i for i in range(count)}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self._at:
            self._threads.append(threading.Thread(target=self._accident))
            self._threads[-1].start()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for thread in self._threads:
            thread.join()

    def _accident(self) -> None:
        threading.Event().wait(random.uniform(0, 0.5))
        self._server.kill()
        self._server.start()


@contextmanager
def tracking(folder: Path, steps: int, kills: int) -> Iterator[tuple[str, list[TrainerCallback]]]:
    """The address of a store, and what befalls it."""
    if not kills:
        yield f"sqlite:///{folder}/mlflow.db", []
        return
    server = Server(folder)
    server.start()
    try:
        yield server.uri, [Accidents(server, steps, kills)]
    finally:
        server.kill()


def soak(folder: Path, steps: int, kills: int, logging_steps: int = 1) -> tuple[Health, dict[str, int]]:
    """Trains; gives what was taken, and counts of what MLflow has."""
    make_training_inputs(folder)
    health, out = Health(), folder / "run"
    with tracking(folder, steps, kills) as (uri, accidents):
        settings = {
            "stage": "verifiable", "scheme": "td", "model_name_or_path": str(folder / "critic"),
            "train_file": str(folder / "train.jsonl"), "eval_file": str(folder / "eval.jsonl"), "output_dir": str(out),
            "logging_steps": logging_steps,
            "max_steps": steps, "eval_steps": 100, "save_steps": 100, "tracking_uri": uri,
            "per_device_train_batch_size": 4,
        }  # fmt: skip
        train(RunConfig.from_flat(settings), quiet=True, callbacks=[health, *accidents])
        return health, of_mlflow(uri, out, steps)


def of_mlflow(uri: str, out: Path, steps: int) -> dict[str, int]:
    """How many values MLflow has, how many are missing beside what the run logged, and how many are there twice."""
    client, run_id = MlflowClient(tracking_uri=uri), (out / "mlflow_run_id.txt").read_text().strip()
    run = client.get_run(run_id)
    points = [(key, point.step) for key in run.data.metrics for point in client.get_metric_history(run_id, key)]
    logged = json.loads((out / f"checkpoint-{steps}" / "trainer_state.json").read_text())["log_history"]
    wanted = {
        (f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}", entry["step"])
        for entry in logged
        for key, value in entry.items()
        if isinstance(value, int | float) and key not in ("step", "epoch")
    }
    twice = sum(count - 1 for count in Counter(points).values())
    finished = int(run.info.status == "FINISHED")
    return {"values": len(points), "missing": len(wanted - {*points}), "twice": twice, "finished": finished}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--logging_steps", type=int, default=10)
    parser.add_argument("--server", type=int, default=0, help="kills of an MLflow server; 0: none, sqlite")
    given = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        health, counts = soak(Path(folder), given.steps, given.server, given.logging_steps)
    print(
        "| what | after warm-up | at the end | from, to | slope per 1,000 steps | in all |\n|---|---|---|---|---|---|"
    )
    print(*health.lines(), sep="\n")
    print(f"MLflow: {counts}")


if __name__ == "__main__":
    main()
