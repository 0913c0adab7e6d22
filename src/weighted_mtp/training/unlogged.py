"""What a checkpoint keeps of the steps since the last log entry, so that the next is of all of them, resumed or not."""

import time
from pathlib import Path
from typing import Any

import torch


def save_unlogged(trainer: Any, folder: str | Path) -> None:
    """Writes this process's sums, those of transformers' own loss too, beside its random state."""
    state = {
        "window": trainer.windows["train"].state_dict(),
        "loss": trainer._tr_loss,
        "total_loss": trainer._total_loss_scalar,
        "logged_step": trainer._globalstep_last_logged,
        "first_step": trainer._initial_global_step if trainer.loss_from is None else trainer.loss_from,
        "seconds": time.perf_counter() - trainer.window_start,
    }
    torch.save(state, Path(folder) / f"unlogged_{trainer.args.process_index}.pt")


def load_unlogged(trainer: Any, folder: str | Path) -> None:
    """Goes on from them; of another number of processes each takes an equal part. Nothing where none were written."""
    files = sorted(Path(folder).glob("unlogged_*.pt"))
    if not files:
        return
    states = [torch.load(file, map_location="cpu", weights_only=True) for file in files]
    rank, world, any_one = trainer.args.process_index, trainer.args.world_size, states[0]
    own = states[rank::world]
    trainer.windows["train"].load_state_dicts([state["window"] for state in own])
    for state in own:  # every process's loss is times their number
        trainer._tr_loss += state["loss"].to(trainer._tr_loss.device) * (world / len(states))
    trainer._total_loss_scalar, trainer._globalstep_last_logged = any_one["total_loss"], any_one["logged_step"]
    trainer.loss_from = any_one["first_step"]
    trainer.window_start = time.perf_counter() - any_one["seconds"]
