"""Several gloo processes that train one run after another. Not a test; tests call `start_ranks`."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.forked import start
from weighted_mtp.cli.quiet import quiet_libraries
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.run import NonFiniteError, fit, make_trainer


def start_ranks(jobs: list[dict[str, Any]], folder: Path, world: int = 2) -> None:
    """Runs the jobs on that many processes; each leaves model.safetensors and history.json in its output_dir.

    A job that `breaks` leaves why_broken.txt instead, of every process its own.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said = [folder / f"rank{rank}.stderr" for rank in range(world)]
    processes = [
        start(_rank, jobs, said=file, environment=group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, file in enumerate(said)
    ]
    for process, patience in zip(processes, [240] + [20] * (world - 1), strict=True):
        process.join(timeout=patience)
        process.kill()
    errors = "\n".join(file.read_text() for file in said)
    assert [process.exitcode for process in processes] == [0] * world, errors[-4000:]


def _rank(jobs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    quiet_libraries()
    for job in jobs:
        config = RunConfig.from_flat(job["settings"])
        trainer = make_trainer(config, load_inputs(config), quiet=True)
        assert trainer.args.world_size == int(os.environ["WORLD_SIZE"])
        if job.get("breaks"):
            with pytest.raises(NonFiniteError) as broken:
                fit(trainer, config)
            (Path(config.train.output_dir) / f"why_broken{os.environ['RANK']}.txt").write_text(str(broken.value))
            continue
        fit(trainer, config, Path(job["resume"]) if job["resume"] else None)
        if trainer.is_world_process_zero():
            history = Path(config.train.output_dir) / "history.json"
            history.write_text(json.dumps(trainer.state.log_history))
    torch.distributed.destroy_process_group()
