"""Whether a run may go on from what is there, by `made_with`: the same settings, rows and models, or changes that were
asked for. Other code is told, not refused."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from weighted_mtp.training.checkpoints import MARKER, CheckpointError, list_checkpoints
from weighted_mtp.training.made_with import MadeWith

logger = logging.getLogger(__name__)

Decided = TypeVar("Decided")

FREE_WHILE_TRAINING = ("save_dtype",)
"""These change what a finished run leaves, and nothing in a checkpoint."""
SAME_OPTIMIZER = ("adamw_torch", "adamw_torch_fused")
"""These keep the same state."""
DEALT = ("per_device_train_batch_size", "gradient_accumulation_steps", "processes")
"""Their product is the rows of an optimizer step."""


@dataclass(frozen=True)
class Resumption:
    """What the run that starts now is."""

    made_with: MadeWith
    """What it writes beside its weights."""
    checkpoint: Path | None = None
    """Where it goes on from; None starts from the beginning."""
    finished: bool = False
    """Nothing is left to be done."""
    changed: dict[str, list[Any]] | None = None
    """Name to [old, new] of what was changed for it, empty where the old is not known; None: nothing was."""


def settle_resume(
    now: MadeWith, checkpoint: Path | None, output_dir: str, resumes: bool, with_changes: bool
) -> Resumption:
    """Decides by what stands in the checkpoint and in the run's directory; writes nothing."""
    end = MadeWith.read(output_dir) if resumes else None
    if end is not None and (lost := end.lost(output_dir)):
        logger.warning("%s is finished, but lacks as it was saved: %s", output_dir, ", ".join(lost))
        end = None
    if end is not None and not end.differences(now):
        return Resumption(replace(now, changes=end.changes), finished=True)
    if checkpoint is None:
        if end is not None:
            raise CheckpointError(
                f"{output_dir} holds a finished run, made with other settings, rows or models "
                f"({_shown(end.differences(now))}), and no checkpoint: give another --output_dir"
            )
        if resumes and any((folder / MARKER).exists() for folder in list_checkpoints(output_dir)):
            raise CheckpointError(
                f"{output_dir} holds no checkpoint that can be resumed from, as is said of each above: bring the files "
                "back, or give another --output_dir"
            )
        if resumes and (Path(output_dir) / "config.json").exists():
            raise CheckpointError(
                f"{output_dir} holds a model and no checkpoint to resume from: give another --output_dir"
            )
        return Resumption(now)
    old = MadeWith.read(checkpoint)
    if old is None and not with_changes:
        raise CheckpointError(
            f"{checkpoint} does not say which settings, rows and models it was made with (an older version wrote "
            "it): give --resume_with_changes to go on with those of now"
        )
    if old is None:
        changes: list[dict[str, Any]] = [{"step": step_of(checkpoint), "changes": "unknown"}]
        return Resumption(replace(now, changes=changes), checkpoint, changed={})
    changes = list(old.changes)
    if code := old.other_code(now):
        changes.append({"step": step_of(checkpoint), "code": code})
        logger.warning("resumed at optimizer step %d under other code: %s", step_of(checkpoint), _shown(code))
    different = {name: pair for name, pair in old.differences(now).items() if name not in FREE_WHILE_TRAINING}
    if not different:
        return Resumption(replace(now, changes=changes), checkpoint)
    _require_same_layout(different, now, checkpoint)
    changes.append({"step": step_of(checkpoint), "changes": different})
    if different.keys() <= {*DEALT} and _rows_of_a_step(old) == _rows_of_a_step(now):
        logger.warning(
            f"resumed at optimizer step {step_of(checkpoint)} with {_shown(different)}: the rows of every step are the "
            "same, in the same order; dropout and random schemes draw anew"
        )
        return Resumption(replace(now, changes=changes), checkpoint)
    if not with_changes:
        raise CheckpointError(
            f"{checkpoint} was made with other settings, rows or models: {_shown(different)}. Resume as it was, or "
            "give --resume_with_changes to go on with the new ones"
        )
    return Resumption(replace(now, changes=changes), checkpoint, changed=different)


def _rows_of_a_step(made_with: MadeWith) -> int:
    return math.prod(made_with.facts.get(name, 0) for name in DEALT)


def _require_same_layout(different: dict[str, list[Any]], now: MadeWith, checkpoint: Path) -> None:
    """Refuses a checkpoint of whose optimizer the parts do not fit these processes."""
    if "sharded by" in different:
        old, new = (by or "nothing" for by in different["sharded by"])
        raise CheckpointError(
            f"{checkpoint} holds an optimizer sharded by {old}, which a run that is sharded by {new} cannot read: "
            "launch as before, or start a new run"
        )
    if now.facts.get("sharded by") == "DeepSpeed" and "processes" in different:
        old, new = different["processes"]
        raise CheckpointError(
            f"{checkpoint} is of {old} processes, and DeepSpeed resumes on as many alone: launch {old}, not {new}"
        )


def step_of(checkpoint: Path) -> int:
    """The optimizer step at which a checkpoint was saved."""
    return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])


def _shown(different: dict[str, list[Any]]) -> str:
    return ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in different.items())


def agreed(decide: Callable[[], Decided]) -> Decided:
    """What the first process decides, or its refusal, in every process."""
    if not torch.distributed.is_initialized():
        return decide()
    box: list[Any] = [None, None]
    if torch.distributed.get_rank() == 0:
        try:
            box = [decide(), None]
        except ValueError as error:
            box = [None, str(error)]
    torch.distributed.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise CheckpointError(box[1])
    return box[0]


def require_possible(trainer: Any, resumption: Resumption) -> None:
    """Has a `SavingTrainer` try what changed settings may have made impossible, before anything is written."""
    checkpoint, different = resumption.checkpoint, resumption.changed
    if checkpoint is None or different is None:
        return
    step, last = step_of(checkpoint), trainer.args.max_steps
    refusal = f"--resume_with_changes cannot go on from {checkpoint}: "
    if 0 < last < step:
        raise CheckpointError(f"{refusal}it is of optimizer step {step}, and max_steps is {last}")
    if "optim" in different and not set(different["optim"]) <= set(SAME_OPTIMIZER):
        old, new = different["optim"]
        raise CheckpointError(f"{refusal}the state of optimizer {old} does not fit {new}; start a new run")
    if "best_metric" in different and None not in different["best_metric"]:
        old, new = different["best_metric"]
        raise CheckpointError(f"{refusal}it was compared by best_metric {old}, not {new}; start a new run")
    try:
        trainer.try_checkpoint(checkpoint)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        because = _shown({name: pair for name, pair in different.items() if name != "base model"})
        reason = because or str(error).splitlines()[0]
        raise CheckpointError(f"{refusal}its weights or states do not fit ({reason}); start a new run") from None
    shown = _shown(different) or "what it was made with is not known"
    logger.warning("resumed at optimizer step %d with changes: %s", step, shown)
    if set(different) & {*DEALT, "training rows"}:
        logger.warning(
            f"the position in the rows is counted in optimizer steps of the new size: training goes on at step {step} "
            "of the new order, so that rows may be seen again or left out in this epoch"
        )
