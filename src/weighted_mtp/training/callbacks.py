"""What happens around optimizer steps: statistics are committed, training is stopped, progress is shown."""

import logging
import signal
import threading
from itertools import islice
from types import FrameType
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ProgressCallback

from weighted_mtp.terminal import leave_closed_terminal
from weighted_mtp.training.arguments import keep_whole, require_wrapped
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.nonfinite import not_finite
from weighted_mtp.value_weighting import EMAWhitener, Signals, WeightingScheme, weigh

logger = logging.getLogger(__name__)


class StepCallback(TrainerCallback):
    """Ends each optimizer step for the weighting scheme, logs the last one, and checks how the model was wrapped."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self._evaluated_at = trainer, -1

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refuses what is not finite, and a model that was wrapped in another way than was asked for."""
        self._require_finite()
        require_wrapped(self.trainer.args, self.trainer.model_wrapped)
        keep_whole(self.trainer.model_wrapped, self.trainer.model)
        # A checkpoint brings its own intervals; and a best model may only be one that this run saves.
        state.compute_steps(args, state.max_steps)
        if state.global_step == 0:
            take_first_statistics(self.trainer)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Logs the last step too: the steps since the last full window would be lost. An epoch is logged and evaluated
        before the checkpoint of its last step, not behind: a resumed run would go on without it."""
        ends_epoch = state.epoch is not None and float(state.epoch).is_integer()
        control.should_log |= (ends_epoch and args.logging_strategy == "epoch") or state.global_step >= state.max_steps
        control.should_evaluate |= ends_epoch and args.eval_strategy == "epoch" and args.eval_delay <= state.epoch

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remembers that this step was evaluated."""
        self._evaluated_at = state.global_step

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evaluates no step twice."""
        control.should_evaluate &= self._evaluated_at != state.global_step

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Commits the scheme's statistics, which stay frozen within a step, and looks at what the update left."""
        self.trainer.scheme.commit()
        self.trainer.nonfinite.observe_update(state.global_step, self._state(only_trained=True))

    def _state(self, *, only_trained: bool = False) -> dict[str, torch.Tensor]:
        named = self.trainer.model.named_parameters()
        parameters = {name: p for name, p in named if p.requires_grad or not only_trained}
        scheme = self.trainer.scheme.state_dict()
        return parameters | {f"weighting.{name}": x for name, x in scheme.items() if torch.is_tensor(x)}

    def _require_finite(self) -> None:
        names, bad = not_finite(self._state())
        broken = [name for name, is_bad in zip(names, bad.tolist(), strict=True) if is_bad]
        if broken:
            raise ConfigError(
                f"{len(broken)} of {len(names)} tensors are not finite before the first update, {broken[0]} first: "
                "give another model, or resume from an earlier checkpoint"
            )


FIRST_STEPS = 8
"""Optimizer steps whose batches are looked at, forward only; their mean is that of 8 batches, not of one."""


def take_first_statistics(trainer: Any) -> None:
    """Shows the scheme the first batches, as training will, so that the first weights are in the unit of later ones.

    Steps end where they do in training, so that ranks equal one process, and no randomness is used up. A scheme that
    has its statistics, from a checkpoint, is left alone."""
    scheme: WeightingScheme = trainer.scheme
    if not scheme.needs_statistics():
        return
    device = trainer.args.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        rows, steps = _signals_of_first_steps(trainer)
    for _ in range(2):  # the level of weights wants weights of a credit that has its unit
        _observe_what_is_missing(scheme, steps)
    logger.info("scheme statistics taken from %d rows before the first step", rows)
    trainer.log({"statistics_rows": rows})


def _observe_what_is_missing(scheme: WeightingScheme, steps: list[list[Signals]]) -> None:
    scheme.train()
    for part in scheme.modules():
        if isinstance(part, EMAWhitener):
            part.train(part.needs_statistics())
    if not scheme.needs_statistics():
        return
    for step in steps:
        for signals in step:
            weigh(scheme, signals)
        scheme.commit()


def _signals_of_first_steps(trainer: Any) -> tuple[int, list[list[Signals]]]:
    """How many rows, and the signals of each step's micro-batches, by the model in training mode."""
    accumulation, loader = trainer.args.gradient_accumulation_steps, trainer.train_batches()
    n_batches = min(FIRST_STEPS, trainer.state.max_steps) * accumulation
    model = trainer.model_wrapped if trainer.is_deepspeed_enabled else trainer.model
    was_training = model.training
    model.train()
    found = []
    for inputs in islice(loader, n_batches):
        batch = TokenBatch.from_inputs(inputs, trainer.model.n_future, trainer.args.device)
        outputs = trainer.stage.forward(model, batch)
        with trainer.accelerator.autocast():
            found.append(trainer.stage.signals(batch, outputs, trainer.model, trainer.seeded_generator()))
    model.train(was_training)
    dealt = loader.batch_sampler
    rows = min(len(dealt.sampler), len(found) * dealt.world * dealt.batch_size)
    return rows, [found[i : i + accumulation] for i in range(0, len(found), accumulation)]


class InterruptCallback(TrainerCallback):
    """Turns Ctrl-C, SIGTERM and SIGHUP (a terminal that closed) into a checkpoint and a stop after the optimizer step.

    Several processes share the wish at logging steps. A second Ctrl-C stops at once; an ignored signal (nohup) stays
    so."""

    def __init__(self) -> None:
        self.requested = 0  # the signal's number
        self.interrupted = 0
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Installs the handlers (main thread only, as signals require)."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._request)

    def restore(self) -> None:
        """Puts the previous signal handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks the Trainer to save and stop."""
        # the state's interval, since that of the arguments may be a fraction of all steps
        if args.world_size > 1 and state.global_step % max(1, int(state.logging_steps)) == 0:
            wish = torch.tensor(self.requested, device=args.device)
            torch.distributed.all_reduce(wish, op=torch.distributed.ReduceOp.MAX)
            self.interrupted = int(wish)
        elif args.world_size == 1:
            self.interrupted = self.requested
        if self.interrupted and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An epoch that was cut is not over: the resumed run logs and evaluates it."""
        if self.interrupted and state.global_step < state.max_steps:
            control.should_log &= args.logging_strategy != "epoch"
            control.should_evaluate = control.should_save = False

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = self.requested or number
        if number == signal.SIGHUP:
            leave_closed_terminal()


class LastStepEvaluation(TrainerCallback):
    """Evaluates before the last checkpoint, which then knows how good the finished model is."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks the Trainer to evaluate."""
        control.should_evaluate |= state.global_step >= state.max_steps


class LogLines(TrainerCallback):
    """One short line per log entry; MLflow has the rest."""

    EVALUATED = (
        "loss", "ce_head_0", "value_loss", "value_explained_variance", "outcome_auc", "weight_mean", "weight_std",
        "weight_clip_fraction",
    )  # fmt: skip

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Writes the few numbers that one watches, those of an evaluation under their names in MLflow."""
        if not state.is_world_process_zero or not logs:
            return
        names = [*self.EVALUATED, "grad_norm", "learning_rate", *(f"eval_{name}" for name in self.EVALUATED)]
        shown = [f"{name.replace('eval_', 'eval/')} {logs[name]:.4g}" for name in names if name in logs]
        if shown:
            tqdm.write(f"step {state.global_step:>6}  " + "  ".join(shown))


class ProgressBar(ProgressCallback):
    """The Trainer's progress bar, without a dictionary per log entry."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `LogLines` writes."""
