"""Whether a run may go on from what is there: the same settings, rows and models, or changes that were asked for."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from weighted_mtp.training.checkpoints import CheckpointError
from weighted_mtp.training.made_with import FREE_WHILE_TRAINING, MadeWith
from weighted_mtp.training.saving import SavingTrainer

logger = logging.getLogger(__name__)

SAME_OPTIMIZER = ("adamw_torch", "adamw_torch_fused")
"""These keep the same state."""
MOVE_THE_POSITION = ("per_device_train_batch_size", "gradient_accumulation_steps", "processes", "training rows")


@dataclass(frozen=True)
class Resumption:
    """What the run that starts now is.

    Args:
        made_with: what it writes beside its weights.
        checkpoint: where it goes on from; None starts from the beginning.
        finished: nothing is left to be done.
        changed: name to [old, new] of what was changed for it, empty where the old is not known; None: nothing was.
    """

    made_with: MadeWith
    checkpoint: Path | None = None
    finished: bool = False
    changed: dict[str, list[Any]] | None = None


def settle_resume(
    now: MadeWith, checkpoint: Path | None, output_dir: str, *, resumes: bool, with_changes: bool
) -> Resumption:
    """Decides by what stands in the checkpoint and in the run's directory; writes nothing.

    Raises:
        CheckpointError: settings, rows or models differ and `with_changes` was not given, or are not known.
    """
    end = MadeWith.read(output_dir) if resumes and holds_model(output_dir) else None
    if end is not None and not end.differences(now):
        return Resumption(replace(now, changes=end.changes), finished=True)
    if checkpoint is None:
        if end is not None:
            raise CheckpointError(
                f"{output_dir} holds a finished run, made with other settings, rows or models "
                f"({_shown(end.differences(now))}), and no checkpoint: give another --output_dir"
            )
        if resumes and (Path(output_dir) / "config.json").exists():
            raise CheckpointError(
                f"{output_dir} holds a model and no checkpoint to resume from: give another --output_dir"
            )
        return Resumption(now)
    old = MadeWith.read(checkpoint)
    if old is None:
        return _of_unknown(now, checkpoint, with_changes)
    different = {name: pair for name, pair in old.differences(now).items() if name not in FREE_WHILE_TRAINING}
    if not different:
        return Resumption(replace(now, changes=old.changes), checkpoint)
    if not with_changes:
        raise CheckpointError(
            f"{checkpoint} was made with other settings, rows or models: {_shown(different)}. Resume as it was, or "
            "give --resume_with_changes to go on with the new ones"
        )
    changes = [*old.changes, {"step": step_of(checkpoint), "changes": different}]
    return Resumption(replace(now, changes=changes), checkpoint, changed=different)


def holds_model(output_dir: str) -> bool:
    """Whether the weights of a finished run are there."""
    return any(Path(output_dir).glob("model*.safetensors"))


def _of_unknown(now: MadeWith, checkpoint: Path, with_changes: bool) -> Resumption:
    if not with_changes:
        raise CheckpointError(
            f"{checkpoint} does not say which settings, rows and models it was made with (an older version wrote "
            "it): give --resume_with_changes to go on with those of now"
        )
    changes: list[dict[str, Any]] = [{"step": step_of(checkpoint), "changes": "unknown"}]
    return Resumption(replace(now, changes=changes), checkpoint, changed={})


def step_of(checkpoint: Path) -> int:
    """The optimizer step at which a checkpoint was saved."""
    return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])


def _shown(different: dict[str, list[Any]]) -> str:
    return ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in different.items())


def agreed(decide: Callable[[], Resumption]) -> Resumption:
    """What the first process decides, or its refusal, in every process."""
    if not torch.distributed.is_initialized():
        return decide()
    box: list[Any] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            box = [decide()]
        except ValueError as error:
            box = [str(error)]
    torch.distributed.broadcast_object_list(box, src=0)
    if isinstance(box[0], str):
        raise CheckpointError(box[0])
    return box[0]


def require_possible(trainer: SavingTrainer, resumption: Resumption) -> None:
    """Tries what changed settings may have made impossible, before anything is written; says what they do.

    Raises:
        CheckpointError: the checkpoint's weights, statistics or optimizer do not fit the new settings.
    """
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
    if set(different) & set(MOVE_THE_POSITION):
        logger.warning(
            "the position in the rows is counted in optimizer steps of the new size: training goes on at step %d of "
            "the new order, so that rows may be seen again or left out in this epoch",
            step,
        )
