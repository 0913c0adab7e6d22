"""What a checkpoint keeps of the log, and of the steps since its last entry: the next is of all, resumed or not."""

import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState


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


def write_state(state: TrainerState, json_path: str) -> None:
    """The very text of `TrainerState.save_to_json`, piece by piece: a long log, copied whole, is megabytes."""
    with open(json_path, "w", encoding="utf-8") as file:
        json.dump({f.name: getattr(state, f.name) for f in fields(state)}, file, indent=2, sort_keys=True)
        file.write("\n")
