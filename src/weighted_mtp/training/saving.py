"""What a run writes and takes up again: model, weighting and checkpoints, whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from weighted_mtp.files import staged_save
from weighted_mtp.models import MTPModel
from weighted_mtp.training.checkpoints import mark_complete
from weighted_mtp.training.ends import name_ends
from weighted_mtp.training.made_with import MadeWith
from weighted_mtp.training.nonfinite import NonFiniteRecord
from weighted_mtp.training.optimizer import apply_rates, check_state, rates
from weighted_mtp.value_weighting import WeightingScheme

WEIGHTING_FILE = "weighting.pt"


class SavingTrainer(Trainer):
    """`transformers.Trainer` with an `MTPModel` and a scheme's statistics in every checkpoint; resumes exactly."""

    model: MTPModel
    scheme: WeightingScheme
    nonfinite: NonFiniteRecord
    save_dtype: torch.dtype | None = None
    """Precision of the final model; None: the one that was trained, which checkpoints always keep."""
    made_with: MadeWith | None = None
    """What is written beside the weights, for a later resume to be checked against."""
    resumes_with_changes = False
    _is_checkpoint = False

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = output_dir or self.args.output_dir
        assert folder is not None
        if self._is_checkpoint:  # its marker makes it whole
            self._write_model(Path(folder), state_dict, None)
            return
        with staged_save(folder) as staged:
            self._write_model(staged, state_dict, self.save_dtype)

    def _write_model(self, folder: Path, state_dict: dict[str, Tensor] | None, dtype: torch.dtype | None) -> None:
        if self.processing_class is not None:
            name_ends(self.model.hf_model, self.processing_class)
        self.model.save_pretrained(folder, state_dict=state_dict, dtype=dtype)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        torch.save(self.scheme.state_dict(), folder / WEIGHTING_FILE)
        if self.made_with is not None:
            self.made_with.write(folder, finished=not self._is_checkpoint)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Saves only what is finite, and writes the completion marker when every process has written its part."""
        self.nonfinite.raise_if_any()
        self._is_checkpoint = True
        super()._save_checkpoint(model, trial)
        self._is_checkpoint = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(f"{self.args.output_dir}/checkpoint-{self.state.global_step}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        self.model.load_weights(resume_from_checkpoint)
        self.load_weighting(resume_from_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The state of a checkpoint; with changed settings, at the rates of now."""
        if checkpoint is None or not self.resumes_with_changes:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        fresh = rates(self.optimizer)
        super()._load_optimizer_and_scheduler(checkpoint)
        apply_rates(fresh, self.optimizer, self.lr_scheduler)

    def try_checkpoint(self, checkpoint: Path) -> None:
        """Raises where a checkpoint does not fit; what it loads is loaded again when training starts."""
        self._load_from_checkpoint(str(checkpoint))
        if (checkpoint / "optimizer.pt").is_file():
            check_state(self.create_optimizer(), checkpoint / "optimizer.pt")
            self.optimizer = None

    def _load_best_model(self) -> None:
        # The Trainer would look for our tensors under other names, find none, and keep the last model.
        assert self.state.best_model_checkpoint is not None
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _run_epoch(self, **kwargs: Any) -> None:
        """Nothing where nothing is left: the Trainer would make one step more before it looks.

        So it is with a run that was killed between its last checkpoint and its end, and is resumed.
        """
        if not self.control.should_training_stop and self.state.global_step < self.state.max_steps:
            super()._run_epoch(**kwargs)

    def load_weighting(self, folder: str | Path) -> None:
        """Takes over the scheme's statistics that a run saved beside its model."""
        path = Path(folder) / WEIGHTING_FILE
        # By way of the host: torch does not know cpu:0, as the device of one of several processes on CPUs is called.
        self.scheme.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
