"""What a run writes and takes up again: model, weighting and checkpoints, whole or not at all, and learning rates."""

import logging
import pickle
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import load_fsdp_model
from torch import Tensor
from torch.optim import Optimizer
from transformers import Trainer, set_seed

from weighted_mtp.data.chat import end_tokens, known_tokens, padding_token
from weighted_mtp.files import staged_save, told_when_full
from weighted_mtp.models import MTPModel
from weighted_mtp.training.checkpoints import CheckpointError, mark_complete, rotate, why_incomplete
from weighted_mtp.training.made_with import MadeWith
from weighted_mtp.training.nonfinite import NonFiniteRecord
from weighted_mtp.training.resume import agreed
from weighted_mtp.training.unlogged import load_unlogged, save_unlogged, write_state
from weighted_mtp.value_weighting import WeightingScheme

logger = logging.getLogger(__name__)

WEIGHTING_FILE = "weighting.pt"


class SavingTrainer(Trainer):
    """`transformers.Trainer` with an `MTPModel` and a scheme's statistics in every checkpoint; resumes exactly."""

    model: MTPModel
    scheme: WeightingScheme
    nonfinite: NonFiniteRecord
    new_learning_rate: float = 0.0
    """Of value head and label embedding; 0: that of the rest."""
    save_dtype: torch.dtype | None = None
    """Precision of the final model; None: the one that was trained, which checkpoints always keep."""
    made_with: MadeWith | None = None
    """What is written beside the weights, for a later resume to be checked against."""
    resumes_with_changes = False
    passed_over: Collection[Path] = ()
    """Checkpoints that are damaged, though they have a marker."""
    loss_from: int | None = None
    """The step behind which the sum of `train_loss` begins, where a checkpoint brought it."""
    _is_checkpoint = False
    _resumed_from: str | None = None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """`Trainer.save_model`, whose output is whole where FSDP's checkpoints are shards: it would be empty."""
        if self._saves_shards():
            state: Any = {} if self._is_checkpoint else self.accelerator.get_state_dict(self.model)
            self._save(output_dir, state)
        super().save_model(output_dir, _internal_call)

    def _saves_shards(self) -> bool:
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        return "SHARDED" in str(getattr(plugin, "state_dict_type", None))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = output_dir or self.args.output_dir
        assert folder is not None
        if self._is_checkpoint:  # its marker makes it whole
            self._write_model(Path(folder), state_dict, None)
            return
        with staged_save(folder) as staged, told_when_full(staged):
            self._write_model(staged, state_dict, self.save_dtype)

    def _write_model(self, folder: Path, state_dict: dict[str, Tensor] | None, dtype: torch.dtype | None) -> None:
        if self.processing_class is not None:
            _name_ends(self.model.hf_model, self.processing_class)
        if state_dict != {}:
            self.model.save_pretrained(folder, state_dict=state_dict, dtype=dtype)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        torch.save(self.scheme.state_dict(), folder / WEIGHTING_FILE)
        if self.made_with is not None:
            self.made_with.write(folder, finished=not self._is_checkpoint)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Saves only what is finite; the marker when every process has written; then older ones go, no sooner."""
        self.nonfinite.raise_if_any()
        folder, limit = Path(f"{self.args.output_dir}/checkpoint-{self.state.global_step}"), self.args.save_total_limit
        if self.args.should_save and folder.is_dir():  # damaged or interrupted; of parts of two saves nothing is whole
            shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()
        self.state.save_to_json = partial(write_state, self.state)
        self._is_checkpoint, self.args.save_total_limit = True, None
        try:
            with told_when_full(folder):
                super()._save_checkpoint(model, trial)
        finally:
            self._is_checkpoint, self.args.save_total_limit = False, limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(folder)
            self.passed_over = {*self.passed_over} - {folder}
            if limit:
                rotate(folder, max(2, limit), self.state.best_model_checkpoint, self.passed_over)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        with _readable(resume_from_checkpoint):
            if self._saves_shards():
                plugin = self.accelerator.state.fsdp_plugin
                load_fsdp_model(plugin, self.accelerator, self.model, resume_from_checkpoint)
            else:
                self.model.load_weights(resume_from_checkpoint)
            self.load_weighting(resume_from_checkpoint)

    def load_weighting(self, folder: str | Path) -> None:
        """Takes over the scheme's statistics that a run saved beside its model."""
        path = Path(folder) / WEIGHTING_FILE
        # By way of the host: torch does not know cpu:0, as the device of one of several processes on CPUs is called.
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # torch's text advises to load it without the check
            raise CheckpointError(f"{path} holds more than tensors and is not loaded: it is not ours") from error
        self.scheme.load_state_dict(state)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        assert best is not None
        [reason] = agreed(lambda: [why_incomplete(best)])
        if reason is not None:
            logger.warning("%s, the best, is not loaded: %s", best, reason)
            self.state.best_model_checkpoint = None
        elif self.is_deepspeed_enabled:
            super()._load_best_model()
            self.load_weighting(best)
        else:  # the Trainer would look for our tensors under other names, find none, and keep the last model
            self._load_from_checkpoint(best)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The state of a checkpoint; with changed settings, at the rates of now."""
        self._resumed_from = checkpoint
        fresh = _rates(self.optimizer) if checkpoint is not None and self.resumes_with_changes else None
        with _readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.is_deepspeed_enabled:  # whose engine loads the model
            self.load_weighting(checkpoint)
        if fresh is not None:
            _apply_rates(fresh, self.optimizer, self.lr_scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        """What every process has of its own: its random state, and its sums since the last log entry."""
        super()._save_rng_state(output_dir)
        save_unlogged(self, output_dir)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """`Trainer.log`; a resumed run's `train_loss` is that of all steps too."""
        if "train_loss" in logs and self.loss_from is not None:
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step - self.loss_from, 1)
        super().log(logs, start_time)

    def _load_scaler(self, checkpoint: str | None) -> None:
        """The gradient scaler's state, of float16, where there is one."""
        with _readable(checkpoint):
            if checkpoint is not None and self.accelerator.scaler is None and (Path(checkpoint) / "scaler.pt").exists():
                raise ValueError("it holds a scaler.pt, and this run has no gradient scaler (fp16)")
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The random states of as many processes, else new ones; sums since the last log entry, unless settings
        changed."""
        world = self.args.world_size
        if checkpoint is not None and not self.resumes_with_changes:
            with _readable(checkpoint):
                load_unlogged(self, checkpoint)
        if checkpoint is None or len([*Path(checkpoint).glob("rng_state*.pth")]) == world:
            with _readable(checkpoint):
                super()._load_rng_state(checkpoint)
        else:
            set_seed(self.args.seed + self.state.global_step * world + self.args.process_index)

    def try_checkpoint(self, checkpoint: Path) -> None:
        """Raises where a checkpoint does not fit; what it loads is loaded again when training starts."""
        self._load_from_checkpoint(str(checkpoint))
        if (checkpoint / "optimizer.pt").is_file():
            with _readable(str(checkpoint)):
                _check_state(self.create_optimizer(), checkpoint / "optimizer.pt")
            self.optimizer = None

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """The Trainer's, with the rate of new parts apart."""
        made = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if self.new_learning_rate and not made:
            separate_new_parts(optimizer, self.model, self.new_learning_rate)
        return optimizer

    def _run_epoch(self, **kwargs: Any) -> None:
        """Nothing where nothing is left (killed behind its last checkpoint): the Trainer would make one step more."""
        if not self.control.should_training_stop and self.state.global_step < self.state.max_steps:
            super()._run_epoch(**kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        """Such a run's `train_loss` is that of the steps before it, too."""
        if self._resumed_from is not None and self.state.global_step == self._initial_global_step:
            load_unlogged(self, self._resumed_from)
        return super()._finalize_training(*args, **kwargs)


@contextmanager
def _readable(checkpoint: str | None) -> Iterator[None]:
    """Says of files that are whole and cannot be loaded that they are not damaged: an older one would not help."""
    try:
        yield
    except Exception as error:
        if checkpoint is None:
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's text advises to load it without the check
            reason = "one of its files holds more than tensors and numbers, or none"
        raise CheckpointError(
            f"{checkpoint} is whole, but this run cannot load it: {reason}. Resume with the model, settings and "
            "versions of torch and transformers that it was saved with, or give another checkpoint by --resume PATH"
        ) from error


def _name_ends(hf_model: Any, tokenizer: Any) -> None:
    """Gives a model's configurations the end, begin and padding tokens that it was trained with; other tools read one
    or the other. config.json pads by the tokenizer's own token alone: its embedding never learns, so it is not the
    end's."""
    config, generation = hf_model.config.get_text_config(), hf_model.generation_config
    ends = end_tokens(tokenizer, generation.eos_token_id)
    known = known_tokens(tokenizer)
    for one in (config, generation):
        if ends:
            one.eos_token_id = ends[0] if len(ends) == 1 else list(ends)
        if tokenizer.bos_token_id is not None or one.bos_token_id not in known:
            one.bos_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    generation.pad_token_id = padding_token(tokenizer)


def separate_new_parts(optimizer: Optimizer, model: MTPModel, learning_rate: float) -> None:
    """Moves value head and label embedding of a fresh optimizer into groups with their own learning rate; in place.

    They start at zero, where the rate that suits pretrained weights leaves them for hundreds of steps (Adam moves a
    weight by about the rate). Schedulers scale every group's rate alike.
    """
    parts = (model.value_head, model.label_condition)
    new = {id(parameter) for part in parts if part is not None for parameter in part.parameters()}
    for group in list(optimizer.param_groups):
        taken = [parameter for parameter in group["params"] if id(parameter) in new]
        if not taken:
            continue
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in new]
        rest = {name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")}
        optimizer.add_param_group({"params": taken, "lr": learning_rate, **rest})
    # An emptied group in front would be the one whose learning rate is logged.
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def _rates(optimizer: Any) -> list[dict[str, Any]]:
    """Settings of every parameter group, `lr` the peak, as the scheduler was made with it."""
    return [
        {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
        | {"lr": float(group.get("initial_lr", group["lr"]))}
        for group in optimizer.param_groups
    ]


def _apply_rates(fresh: list[dict[str, Any]], optimizer: Any, scheduler: Any) -> None:
    """Puts the settings of now over those that a checkpoint brought, at the scheduler's step; in place."""
    peaks = [settings["lr"] for settings in fresh]
    factors = [factor(scheduler.last_epoch) for factor in getattr(scheduler, "lr_lambdas", [])] or [1.0] * len(peaks)
    for group, settings, factor in zip(optimizer.param_groups, fresh, factors, strict=True):
        group.update(settings | {"lr": settings["lr"] * factor, "initial_lr": settings["lr"]})
    scheduler.base_lrs = peaks
    scheduler._last_lr = [float(group["lr"]) for group in optimizer.param_groups]


def _check_state(optimizer: Optimizer, path: Path) -> None:
    """Raises ValueError unless an optimizer's saved state is of these parameters."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    groups, own = saved["param_groups"], optimizer.param_groups
    if [len(g["params"]) for g in groups] != [len(g["params"]) for g in own]:
        raise ValueError("the optimizer holds other groups of parameters")
    indices, parameters = (i for g in groups for i in g["params"]), (p for g in own for p in g["params"])
    for index, parameter in zip(indices, parameters, strict=True):
        for name, value in saved["state"].get(index, {}).items():
            if torch.is_tensor(value) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"the optimizer's {name} is of another shape")
