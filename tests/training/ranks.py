"""Several gloo processes that train one run after another. Not a test; tests call `start_ranks`."""

import json
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from tests.forked import start
from weighted_mtp.models.architecture import decoder_layers
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training import run as run_module
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.made_with import MadeWith
from weighted_mtp.training.resume import agreed, settle_resume
from weighted_mtp.training.run import NonFiniteError, fit, make_trainer


def start_ranks(jobs: list[dict[str, Any]], folder: Path, world: int = 2, shards: str | None = None) -> None:
    """Runs the jobs on that many processes; each leaves model.safetensors and history.json in its output_dir.

    A job that `breaks` leaves why_broken.txt instead, of every process its own. `shards` says what the model must be
    wrapped as: FSDP2, ZeRO-2 or ZeRO-3.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said = [folder / f"rank{rank}.stderr" for rank in range(world)]
    processes = [
        start(_rank, jobs, shards, said=file, environment=group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, file in enumerate(said)
    ]
    for process, patience in zip(processes, [240] + [20] * (world - 1), strict=True):
        process.join(timeout=patience)
        process.kill()
    errors = "\n".join(file.read_text() for file in said)
    assert [process.exitcode for process in processes] == [0] * world, errors[-4000:]


def _rank(jobs: list[dict[str, Any]], shards: str | None) -> None:
    torch.set_num_threads(1)
    quiet_libraries()
    if shards == "FSDP2":
        take_for_accelerators()
    for job in jobs:
        config = RunConfig.from_flat(job["settings"])
        inputs = load_inputs(config)
        trainer = make_trainer(config, inputs, quiet=True)
        assert trainer.args.world_size == int(os.environ["WORLD_SIZE"])
        if job.get("breaks"):
            with pytest.raises(NonFiniteError) as broken:
                fit(trainer, config)
            (Path(config.train.output_dir) / f"why_broken{os.environ['RANK']}.txt").write_text(str(broken.value))
            continue
        checkpoint, made_with = job["resume"] and Path(job["resume"]), MadeWith.of(config, inputs)
        folder, resumes = config.train.output_dir, checkpoint is not None
        decided = agreed(partial(settle_resume, made_with, checkpoint, folder, resumes, with_changes=False))
        trainer.made_with = decided.made_with
        fit(trainer, config, decided.checkpoint)
        assert shards_of(trainer) == shards
        if trainer.is_world_process_zero():
            history = Path(config.train.output_dir) / "history.json"
            history.write_text(json.dumps(trainer.state.log_history))
    torch.distributed.destroy_process_group()


def take_for_accelerators() -> None:
    """Has Accelerate take processes on CPUs for such on GPUs, to which alone it gives FSDP."""
    make = run_module.training_arguments

    def made(*args: Any) -> Any:
        arguments = make(*args)
        assert arguments.device.type == "cpu"
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        return arguments

    run_module.training_arguments = made


def shards_of(trainer: Any) -> str | None:
    """What the model was wrapped as, if every part of it is."""
    wrapped = trainer.model_wrapped
    if isinstance(wrapped, FSDPModule):
        parts = [*decoder_layers(trainer.model.hf_model), *trainer.model.extra_heads]
        assert all(isinstance(part, FSDPModule) for part in parts)
        assert all(isinstance(parameter, DTensor) for parameter in trainer.model.parameters())
        return "FSDP2"
    stage = wrapped.zero_optimization_stage() if hasattr(wrapped, "zero_optimization_stage") else None
    return f"ZeRO-{stage}" if stage else None
