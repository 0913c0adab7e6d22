"""Our settings as `transformers.TrainingArguments`, and what a launcher asked for against what the model got.

Accelerate hands its questionnaire down in environment variables, and on CPUs turns FSDP into plain DDP in silence.
"""

import logging
import math
import os
from collections.abc import Mapping
from copy import copy
from dataclasses import fields
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer, TrainingArguments, get_scheduler

from weighted_mtp.models import MTPModel
from weighted_mtp.training.config import RunConfig, fits
from weighted_mtp.training.errors import ConfigError, require
from weighted_mtp.training.settings import HIGHER_IS_BETTER, TrainConfig
from weighted_mtp.training.trainer_fields import check_trainer_args, reporters

logger = logging.getLogger(__name__)


class RunArguments(TrainingArguments):
    """`TrainingArguments` that tell every reporter our settings too, scheme and its options among them."""

    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What TensorBoard, Weights & Biases and the others write down as the run's configuration."""
        return super().to_dict() | self.settings


def training_arguments(config: RunConfig, evaluates: bool, quiet: bool = False) -> TrainingArguments:
    """Our settings as `transformers.TrainingArguments`, with what the method needs set on purpose."""
    check_trainer_args(config.train, config.model, evaluates)
    given: dict[str, Any] = {}
    for name, value in config.train.trainer_args.items():
        if (name, value) != ("fsdp", True):  # which transformers takes, and calls text
            _check_kind(name, value)
        # YAML reads a bare `no` as false
        given[name] = "no" if name.endswith("_strategy") and value is False else value
    try:
        args = RunArguments(**_our_settings(config, evaluates, quiet) | given)
    except Exception as error:  # of several libraries and kinds; whatever it is, the settings are the reason
        raise ConfigError(f"transformers refuses the settings: {_first_line(error)}") from None
    _check_scheduler(args)
    _check_optimizer(args)
    args.settings = {name: value for name, value in config.to_flat().items() if name != "trainer_args"}
    if "wandb" in reporters(config.train.trainer_args):
        os.environ.setdefault("WANDB_PROJECT", config.tracking.experiment_name)
        os.environ.setdefault("WANDB_DIR", config.train.output_dir)
    # One process drives one device: several GPUs in one process (DataParallel) cannot split our batches.
    if args.fp16 and not torch.cuda.is_available():
        raise ConfigError(
            "trainer_args sets fp16 to True, which a CPU does not compute in: give --bf16 true, or neither"
        )
    if args.n_gpu > 1:
        logger.warning("%d GPUs are visible and one is used; start one process per GPU with torchrun", args.n_gpu)
        args._n_gpu = 1
    return args


def _our_settings(config: RunConfig, evaluates: bool, quiet: bool) -> dict[str, Any]:
    train = config.train
    known = {f.name for f in fields(TrainingArguments)}
    own = {f.name: getattr(train, f.name) for f in fields(TrainConfig) if f.name in known}
    settings = own | {
        "eval_strategy": "steps" if evaluates and train.eval_steps else "no",
        "eval_steps": train.eval_steps or None,
        "eval_on_start": evaluates,  # a curve needs its first point
        "save_strategy": "steps" if train.save_steps else "no",
        "save_steps": train.save_steps or 500,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "run_name": config.run_name,
        "project": config.tracking.experiment_name,
        "disable_tqdm": quiet,
        "dataloader_pin_memory": torch.cuda.is_available(),
        # The model checkpoints its layers itself; the Trainer does it again, with these arguments.
        "activation_checkpointing": "activation_checkpointing_kwargs" in train.trainer_args,
        # Without it two processes on CPUs would each train alone.
        "use_cpu": not torch.accelerator.is_available(),
        # The unembedding is used by the loss, outside the forward: DDP must not take it for unused.
        "ddp_find_unused_parameters": False,
    }
    if not train.early_stopping_patience:
        return settings
    # Of all steps; with a warm-up the first one has rate 0, and what it leaves has learned nothing.
    few = min(train.max_steps, max(2, math.ceil(0.05 * train.max_steps))) if train.max_steps > 0 else 0.05
    every = train.eval_steps or few
    return settings | {
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,  # the best model is one that was saved
        "load_best_model_at_end": True,
        "metric_for_best_model": train.best_metric,
        "greater_is_better": train.best_metric in HIGHER_IS_BETTER,
    }


def _check_scheduler(args: TrainingArguments) -> None:
    """Raises where the schedule does not take its options: it is made, for a parameter that trains nothing."""
    kind, given = args.lr_scheduler_type, args.lr_scheduler_kwargs or {}
    require(isinstance(given, Mapping), f"lr_scheduler_kwargs of trainer_args is {given!r}: give names with values")
    options = dict(given)  # pyright: ignore[reportArgumentType, reportCallIssue]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    try:
        get_scheduler(kind, optimizer, num_warmup_steps=1, num_training_steps=10, scheduler_specific_kwargs=options)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"lr_scheduler_type {getattr(kind, 'value', kind)} does not work with lr_scheduler_kwargs {options} of "
            f"trainer_args: {_first_line(error)}"
        ) from None


def _check_optimizer(args: TrainingArguments) -> None:
    """Raises for options that the optimizer does not read: transformers drops them."""
    optim = getattr(args.optim, "value", args.optim)
    if args.optim_target_modules and not optim.startswith(("galore", "apollo")):
        raise ConfigError(
            f"trainer_args sets optim_target_modules, which optim {optim} does not read: give a galore or apollo "
            "optimizer, or remove it"
        )
    for option in filter(None, (args.optim_args or "").replace(" ", "").split(",")):
        if _optimizer_options(args, option) == _optimizer_options(args, None):
            raise ConfigError(f"trainer_args sets optim_args {option}, which changes nothing of optim {optim}")


def _optimizer_options(args: TrainingArguments, options: str | None) -> str:
    changed = copy(args)
    changed.optim_args = options
    try:
        return str(Trainer.get_optimizer_cls_and_kwargs(changed)[1])
    except (ImportError, ValueError, KeyError, TypeError) as error:  # a model is needed, or an option is malformed
        return str(error)


_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _check_kind(name: str, value: Any) -> None:
    """Raises for a value of another kind than the field's: transformers takes any, and fails much later."""
    hint = get_type_hints(TrainingArguments)[name]
    union = get_origin(hint) in (Union, UnionType)
    kinds = [kind for kind in (get_args(hint) if union else (hint,)) if kind is not type(None)]
    if not all(kind in _KINDS for kind in kinds) or (value is None and union and type(None) in get_args(hint)):
        return
    if not fits(value, hint):
        wanted = " or ".join(_KINDS[kind] for kind in kinds)
        raise ConfigError(f"trainer_args sets {name} to {value!r}: give {wanted}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


SPLITS = {"tp": "tensor", "cp": "context", "sp": "sequence"}


def require_supported(args: TrainingArguments) -> None:
    """Refuses what no model of ours gets, before anything is made."""
    require(
        not _told("ACCELERATE_USE_MEGATRON_LM"),
        "Megatron-LM was asked for, which is not supported: launch with plain data parallelism, FSDP or DeepSpeed",
    )
    given: Any = args.fsdp_config or {}
    version = given.get("version", 2) if args.fsdp else os.environ.get("FSDP_VERSION", "1")
    require(
        sharded_by(args.fsdp, args.deepspeed) != "FSDP" or str(version) == "2",
        "FSDP 1 was asked for, whose parameters the loss cannot read: set fsdp_version (version in fsdp_config) to 2",
    )
    for name, size in _split_sizes(args).items():
        require(
            size <= 1,
            f"{SPLITS[name]} parallelism was asked for ({name}_size {size}), which is not supported: every process "
            "reads rows of its own; set it to 1, and shard the model by FSDP where it is too large for one device",
        )
    told = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if told not in ("1", "auto", str(args.gradient_accumulation_steps)):
        raise ConfigError(
            f"accelerate launch was told gradient_accumulation_steps {told}, and the run's is "
            f"{args.gradient_accumulation_steps}: give --gradient_accumulation_steps {told}, or launch without"
        )


def require_wrapped(args: TrainingArguments, model: torch.nn.Module) -> None:
    """Refuses to train a model that was wrapped in another way than was asked for."""
    kind, wanted = type(model).__name__, sharded_by(args.fsdp, args.deepspeed)
    if wanted == "FSDP":
        require(
            isinstance(model, FSDPModule),
            f"fsdp was asked for, but the model was wrapped as {kind} and is not sharded: run on an accelerator "
            "that supports FSDP, or remove fsdp from trainer_args and from what accelerate launch is told",
        )
        require(
            len({p.dtype for p in model.parameters() if p.requires_grad}) == 1,
            "fsdp splits trained parameters of one precision, and a value head is float32: give --dtype float32, and "
            "--bf16 true to compute in bfloat16",
        )
    if wanted == "DeepSpeed" and "DeepSpeedEngine" not in [base.__name__ for base in type(model).__mro__]:
        raise ConfigError(
            f"deepspeed was asked for, but the model was wrapped as {kind}: run on an accelerator that supports it, or "
            "remove deepspeed from trainer_args and from what accelerate launch is told"
        )
    engine: Any = model
    if wanted == "DeepSpeed" and engine.zero_optimization_stage() == 3:
        require(
            engine.zero_gather_16bit_weights_on_model_save(),
            "ZeRO-3 would leave shards and no model in output_dir: set stage3_gather_16bit_weights_on_model_save to "
            "true (zero3_save_16bit_model of accelerate launch)",
        )


def keep_whole(engine: Any, model: MTPModel) -> None:
    """Has ZeRO-3 keep what is read outside of its own module's forward on every process, the unembedding above all."""
    parts = (model.hf_model.get_output_embeddings(), model.value_head, model.label_condition)
    read: list[Any] = [p for part in parts if part is not None for p in part.parameters() if hasattr(p, "ds_id")]
    for parameter in read:
        parameter.ds_persist = parameter.is_external_param = True  # else its module lets go of it in the first pass
        engine.optimizer.persistent_parameters.append(parameter)
        parameter.all_gather()


def _told(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t")


def sharded_by(fsdp: Any, deepspeed: Any) -> str | None:
    """What splits the optimizer's state among processes, by these fields or by what a launcher was told."""
    if deepspeed or _told("ACCELERATE_USE_DEEPSPEED"):
        return "DeepSpeed"
    return "FSDP" if fsdp or _told("ACCELERATE_USE_FSDP") else None


def _split_sizes(args: TrainingArguments) -> dict[str, int]:
    """Over how many processes one row is split, by the kind of split."""
    sizes = {name: getattr(args.parallelism_config, f"{name}_size", 1) or 1 for name in SPLITS}
    if _told("ACCELERATE_USE_PARALLELISM_CONFIG"):
        told = {name: int(os.environ.get(f"PARALLELISM_CONFIG_{name.upper()}_SIZE", "1")) for name in SPLITS}
        sizes = {name: max(size, told[name]) for name, size in sizes.items()}
    return sizes
