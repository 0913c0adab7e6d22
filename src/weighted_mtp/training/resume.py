"""Whether a run may go on from what is there: the same settings, rows and models, or changes that were asked for.

What a run is made with, its settings and fingerprints of its rows and models, stands in every checkpoint and beside the
finished model. Paths are not compared, contents are, so that files may move.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset

from weighted_mtp.models import MTPModel
from weighted_mtp.training.arguments import sharded_by
from weighted_mtp.training.checkpoints import MADE_WITH_FILE, MARKER, CheckpointError, list_checkpoints
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import Inputs
from weighted_mtp.training.stage_table import stage_row

logger = logging.getLogger(__name__)

Decided = TypeVar("Decided")

COMPARED_BY_CONTENT = (
    "model_name_or_path",
    "tokenizer_name_or_path",
    "train_file",
    "eval_file",
    "split",
    "stream",
    "reference",
)
FREE = (
    "output_dir", "logging_steps", "save_steps", "save_total_limit", "tracking_uri", "experiment_name", "run_name",
    "on_bad_row",  # the rows that came of it are compared
)  # fmt: skip
FREE_WHILE_TRAINING = ("save_dtype",)
"""These change what a finished run leaves, and nothing in a checkpoint."""
FREE_UNLESS_STOPPING_EARLY = ("eval_steps", "per_device_eval_batch_size", "best_metric")
FREE_TRAINER_ARGS = (
    "logging_", "log_", "save_", "hub_", "push_to_hub", "dataloader_num_workers", "dataloader_pin_memory",
    "dataloader_persistent_workers", "dataloader_prefetch_factor", "report_to", "run_name", "project", "trackio_",
    "disable_tqdm", "include_num_input_tokens_seen", "skip_memory_metrics",
)  # fmt: skip
"""Beginnings of names."""
SAMPLES_PER_TENSOR = 4096


@dataclass(frozen=True)
class MadeWith:
    """What decides the outcome of a run, by name, and what was changed on the way."""

    facts: dict[str, Any]
    """Settings, and digests of rows and models."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Of every resume with other facts, the step and {name: [old, new]}."""
    finished: bool = False
    """Whether it stands beside the model of a finished run."""

    @classmethod
    def of(cls, config: RunConfig, inputs: Inputs) -> "MadeWith":
        """Of a run that has not trained yet, in this group of processes."""
        facts = compared_settings(config)
        facts["training rows"] = fingerprint_rows(inputs.train_dataset)
        facts["evaluation rows"] = None if inputs.eval_dataset is None else fingerprint_rows(inputs.eval_dataset)
        facts["base model"] = fingerprint_model(inputs.model)
        frozen = [fingerprint_model(model) for model in inputs.stage.frozen_models()]
        facts["critic or reference"] = ", ".join(frozen) or None
        facts["processes"] = int(os.environ.get("WORLD_SIZE", "1"))
        facts["sharded by"] = sharded_by(*map(config.train.trainer_args.get, ("fsdp", "deepspeed")))
        return cls(json.loads(json.dumps(facts, default=str)))

    @classmethod
    def read(cls, folder: str | Path) -> "MadeWith | None":
        """What stands in a checkpoint or a finished run; None where nothing readable does."""
        try:
            return cls(**json.loads((Path(folder) / MADE_WITH_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: str | Path, *, finished: bool) -> None:
        """Puts it beside the weights."""
        content = {"facts": self.facts, "changes": self.changes, "finished": finished}
        (Path(folder) / MADE_WITH_FILE).write_text(json.dumps(content, indent=1))

    def differences(self, now: "MadeWith") -> dict[str, list[Any]]:
        """Name to [old, new] of every fact that is another now."""
        names = dict.fromkeys([*self.facts, *now.facts])
        pairs = {name: [self.facts.get(name), now.facts.get(name)] for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def compared_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide the outcome, `trainer_args` one by one."""
    left_out, free = {*FREE, *COMPARED_BY_CONTENT, "trainer_args"}, FREE_TRAINER_ARGS
    if not config.train.early_stopping_patience:
        left_out |= {*FREE_UNLESS_STOPPING_EARLY}
        free = (*free, "eval_")
    if config.train.max_steps > 0:
        left_out.add("num_train_epochs")
    if not stage_row(config.stage).trains_critic:
        left_out.add("critic")  # a path
    given = config.train.trainer_args
    extra = {f"trainer_args.{name}": value for name, value in given.items() if not name.startswith(free)}
    return {name: value for name, value in config.to_flat().items() if name not in left_out} | extra


def fingerprint_rows(rows: Dataset) -> str:
    """A digest of the rows as they are encoded, in their order."""
    digest = hashlib.sha256(repr((rows.column_names, len(rows))).encode())
    for part in rows.with_format("arrow").iter(batch_size=1000):
        table: Any = part
        for name in table.column_names:
            _feed(digest, table.column(name).combine_chunks())
    return digest.hexdigest()[:16]


def _feed(digest: Any, values: Any) -> None:
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        digest.update(pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False).tobytes())  # pyright: ignore
        _feed(digest, values.flatten())
    elif values.null_count == 0 and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    else:
        digest.update(repr(values.to_pylist()).encode())


def fingerprint_model(model: MTPModel) -> str:
    """A digest of every parameter's name, shape and type, and of up to 4,096 of its values, spread evenly.

    Another model differs in some whole tensor, so that it shows; all values of a large one would take minutes.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        values = parameter.detach().flatten()
        some = values[:: max(1, values.numel() // SAMPLES_PER_TENSOR)]
        digest.update(some.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


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
    ended = resumes and any(Path(output_dir).glob("model*.safetensors"))
    end = MadeWith.read(output_dir) if ended else None
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
    different = {name: pair for name, pair in old.differences(now).items() if name not in FREE_WHILE_TRAINING}
    if not different:
        return Resumption(replace(now, changes=old.changes), checkpoint)
    _require_same_layout(different, now, checkpoint)
    changes = [*old.changes, {"step": step_of(checkpoint), "changes": different}]
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
