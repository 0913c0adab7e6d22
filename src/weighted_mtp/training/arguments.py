"""Our settings as `transformers.TrainingArguments`."""

import difflib
import logging
from dataclasses import fields
from typing import Any

import torch
from transformers import TrainingArguments

from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.settings import HIGHER_IS_BETTER, ConfigError, TrainConfig

logger = logging.getLogger(__name__)


def training_arguments(config: RunConfig, evaluates: bool, quiet: bool = False) -> TrainingArguments:
    """Our settings as `transformers.TrainingArguments`, with what the method needs set on purpose."""
    known = {f.name for f in fields(TrainingArguments)}
    for name in config.train.trainer_args:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"trainer_args has no field {name!r} of transformers.TrainingArguments{hint}")
    own = {f.name: getattr(config.train, f.name) for f in fields(TrainConfig) if f.name in known}
    settings: dict[str, Any] = own | {
        "eval_strategy": "steps" if evaluates and config.train.eval_steps else "no",
        "eval_steps": config.train.eval_steps or None,
        "eval_on_start": evaluates,  # a curve needs its first point
        "save_strategy": "steps" if config.train.save_steps else "no",
        "save_steps": config.train.save_steps or 500,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": quiet,
        "save_total_limit": config.train.save_total_limit,
        "dataloader_pin_memory": torch.cuda.is_available(),
        # Without it two processes on CPUs would each train alone.
        "use_cpu": not torch.accelerator.is_available(),
        # The unembedding is used by the loss, outside the forward: DDP must not take it for unused.
        "ddp_find_unused_parameters": False,
    }
    if config.train.early_stopping_patience:
        settings |= {
            "save_strategy": "steps",
            "save_steps": config.train.eval_steps,  # the best model is one that was saved
            "load_best_model_at_end": True,
            "metric_for_best_model": config.train.best_metric,
            "greater_is_better": config.train.best_metric in HIGHER_IS_BETTER,
        }
    try:
        args = TrainingArguments(**(settings | config.train.trainer_args))
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(str(error).splitlines()[0]) from None
    # One process drives one device: several GPUs in one process (DataParallel) cannot split our batches.
    if args.n_gpu > 1:
        logger.warning(
            "%d GPUs are visible and one is used; start one process per GPU with torchrun", args.n_gpu
        )
        args._n_gpu = 1
    return args
