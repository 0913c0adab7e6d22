"""Early stopping: by which evaluations a run stops, which model it keeps, and what it says of both."""

import math
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.settings import HIGHER_IS_BETTER, LOWER_IS_BETTER
from weighted_mtp.training.stage_table import stage_row

OF_BOTH = " (that of a critic does, where its held-out rows are both right and wrong)"


class EarlyStopping(EarlyStoppingCallback):
    """Stops training after `early_stopping_patience` evaluations without a better metric, resumed runs included.

    An evaluation whose metric comes with its standard error (`outcome_auc`) is as good as the highest where it is no
    more than that error below it, unless it is below what it was before training: the highest of many is partly luck,
    and later models have learned more. NaN is never better. The evaluation before training is no candidate, having no
    checkpoint, but is remembered.

    Source: Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3, for the rule of one standard
    error; there it picks the smallest model.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float = 0.0) -> None:
        super().__init__(early_stopping_patience, early_stopping_threshold)
        self.before_training: float | None = None
        self.metric: str | None = None
        self.highest: float | None = None
        self._training = False

    @property
    def exhausted(self) -> bool:
        """Whether the patience is at its end."""
        return self.early_stopping_patience_counter >= self.early_stopping_patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        kept = super().state()
        kept["attributes"] |= {"before_training": self.before_training, "metric": self.metric, "highest": self.highest}
        return kept

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Takes over what the checkpoint kept, with the patience of now, and ends a run that had stopped there."""
        # Absent where the checkpoint is of a run without early stopping; the Trainer would then fail to save.
        callbacks: Any = state.stateful_callbacks
        kept = callbacks.setdefault(type(self).__name__, self.state())
        vars(self).update(kept["attributes"])
        if state.global_step == 0:  # a Trainer may be told to train again
            self.early_stopping_patience_counter, self.highest = 0, None
        if self.metric not in (None, args.metric_for_best_model):
            raise ConfigError(
                f"best_metric is {args.metric_for_best_model!r}, but the checkpoint was compared by {self.metric!r}: "
                f"resume with --best_metric {self.metric}"
            )
        self.metric = args.metric_for_best_model
        if state.best_metric is None:
            state.best_metric = -math.inf if args.greater_is_better else math.inf
        best = Path(str(args.output_dir)) / f"checkpoint-{state.best_global_step}"
        if best.is_dir():  # the run's directory may have been moved or copied
            state.best_model_checkpoint = str(best)
        control.should_training_stop |= self.exhausted
        self._training = True

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any) -> None:
        """Counts the evaluation; a stop also logs the steps since the last full window."""
        metric = str(args.metric_for_best_model)
        value = metrics.get(f"eval_{metric}")
        # A head that begins at weight 0 is not evaluated before training.
        warming_up = state.global_step == 0 and metric.startswith("ce_head_")
        if value is None and not warming_up:
            names = [name.removeprefix("eval_") for name in metrics]
            ordered = (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)
            candidates = [name for name in names if name in ordered or name.startswith("ce_head_")]
            raise ConfigError(
                f"best_metric is {metric!r}, which the evaluation of this run does not have"
                f"{OF_BOTH if metric == 'outcome_auc' else ''}: give one of {', '.join(candidates)}"
            )
        if state.global_step == 0:
            self.before_training = value
            return
        error = metrics.get(f"eval_{metric}_error")
        if error is not None and self._training:
            self._weigh_up(state, float(metrics[f"eval_{metric}"]), error)
        super().on_evaluate(args, state, control, metrics, **kwargs)
        control.should_log |= self.exhausted

    def _weigh_up(self, state: TrainerState, value: float, error: float) -> None:
        """Lowers the best metric just below an evaluation that is as good, so that the Trainer takes it for better."""
        best = -math.inf if state.best_metric is None else state.best_metric
        self.highest = highest = max(best if self.highest is None else self.highest, value)
        before = self.before_training
        least = -math.inf if before is None or before > highest else before
        if value >= max(highest - error, least):
            state.best_metric = min(best, math.nextafter(value, -math.inf))

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What is evaluated from here on is compared with nothing."""
        super().on_train_end(args, state, control, **kwargs)
        self._training = False

    def outcome(self, args: TrainingArguments, state: TrainerState) -> str:
        """One line for the user: where training ended, and which step's model is kept."""
        metric, best, before = args.metric_for_best_model, state.best_metric, self.before_training
        line = f"trained to the end, optimizer step {state.global_step}"
        if state.global_step < state.max_steps:
            line = (
                f"stopped early at optimizer step {state.global_step} of {state.max_steps}, after "
                f"{self.early_stopping_patience_counter} evaluations without "
                f"{'a better' if self.highest is None else 'as good an'} {metric}"
            )
        if state.best_global_step is None or best is None:
            return f"{line}; {metric} was never a number, so the last model is kept"
        if state.best_model_checkpoint is None:
            return f"{line}; checkpoint-{state.best_global_step}, the best, is gone, so the last model is kept"
        line += f"; the model of step {state.best_global_step} is kept, {metric} {best:.4g}"
        if self.highest is not None and self.highest > best:
            line += f", within its standard error of the highest, {self.highest:.4g}"
        if before is not None and (before > best if args.greater_is_better else before < best):
            line += f", though before training it was better, {before:.4g}"
        return line


def stopping_lines(config: RunConfig) -> list[str]:
    """That a critic trains to its last step, where no rows are held out by which it would stop."""
    if not stage_row(config.stage).trains_critic or config.data.evaluates:
        return []
    return ["no rows are held out, by which a critic stops before it overfits: give --eval_share .1, or --eval_file"]
