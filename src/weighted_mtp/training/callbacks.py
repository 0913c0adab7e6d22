"""What happens around optimizer steps: statistics are committed, interrupts are honoured, progress is shown."""

import signal
import threading
from types import FrameType
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback


class StepCallback(TrainerCallback):
    """Ends each optimizer step for the weighting scheme, logs the last one, and checks how the model was wrapped."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuses a run that asked for FSDP and got something else (Accelerate on CPU silently gives DDP).

        Raises:
            ValueError: FSDP was configured and the model is not sharded.
        """
        if self.trainer.args.fsdp and not _is_sharded(self.trainer.model_wrapped):
            raise ValueError(
                f"fsdp was asked for, but the model was wrapped as {type(self.trainer.model_wrapped).__name__} and is "
                "not sharded: run on an accelerator that supports FSDP, or remove fsdp from trainer_args"
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Logs the last step too: the steps since the last full window would be lost."""
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Commits the scheme's statistics: they stay frozen within an optimizer step."""
        self.trainer.scheme.commit()


def _is_sharded(model: torch.nn.Module) -> bool:
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    return any(isinstance(module, FSDPModule | FullyShardedDataParallel) for module in model.modules())


class InterruptCallback(TrainerCallback):
    """Turns Ctrl-C and SIGTERM into a checkpoint and a clean stop after the current optimizer step.

    With several processes the wish is shared at logging steps, where all of them meet. A second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self.interrupted = False
        self._previous: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Installs the handlers (main thread only, as signals require)."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)

    def restore(self) -> None:
        """Puts the previous signal handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks the Trainer to save and stop."""
        if args.world_size > 1 and state.global_step % int(args.logging_steps) == 0:
            wish = torch.tensor(int(self.requested), device=args.device)
            torch.distributed.all_reduce(wish, op=torch.distributed.ReduceOp.MAX)
            self.interrupted = bool(wish)
        elif args.world_size == 1:
            self.interrupted = self.requested
        if self.interrupted and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class CompactProgress(ProgressCallback):
    """The Trainer's progress bar, with one short line per log entry instead of a dictionary."""

    SHOWN = (
        "loss",
        "eval_loss",
        "ce_head_0",
        "eval_ce_head_0",
        "value_loss",
        "weight_mean",
        "grad_norm",
        "learning_rate",
    )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Writes the few numbers that one watches; MLflow has the rest."""
        if not state.is_world_process_zero or not logs:
            return
        shown = [f"{name} {logs[name]:.4g}" for name in self.SHOWN if name in logs]
        if shown:
            tqdm.write(f"step {state.global_step:>6}  " + "  ".join(shown))
