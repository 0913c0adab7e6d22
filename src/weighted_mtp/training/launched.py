"""What `accelerate launch` or `trainer_args` asked for, against what the model got: the two may differ in silence.

Accelerate hands its questionnaire down in environment variables, and on CPUs turns FSDP into plain DDP.
"""

import os

import torch
from transformers import TrainingArguments

from weighted_mtp.training.settings import ConfigError, require

SPLITS = {"tp": "tensor", "cp": "context", "sp": "sequence"}


def require_supported(args: TrainingArguments) -> None:
    """Refuses what no model of ours gets, before anything is made.

    Raises:
        ConfigError: Megatron, tensor, context or sequence parallelism, or another number of micro-batches than the
            settings name.
    """
    require(
        not _told("ACCELERATE_USE_MEGATRON_LM"),
        "Megatron-LM was asked for, which is not supported: launch with plain data parallelism, FSDP or DeepSpeed",
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
    """Refuses to train a model that was wrapped in another way than was asked for.

    Raises:
        ConfigError: FSDP was asked for and nothing is sharded, or DeepSpeed and there is no engine.
    """
    kind = type(model).__name__
    if (args.fsdp or _told("ACCELERATE_USE_FSDP")) and not _is_sharded(model):
        raise ConfigError(
            f"fsdp was asked for, but the model was wrapped as {kind} and is not sharded: run on an accelerator that "
            "supports FSDP, or remove fsdp from trainer_args and from what accelerate launch is told"
        )
    if _wants_deepspeed(args) and "DeepSpeedEngine" not in [base.__name__ for base in type(model).__mro__]:
        raise ConfigError(
            f"deepspeed was asked for, but the model was wrapped as {kind}: run on an accelerator that supports it, or "
            "remove deepspeed from trainer_args and from what accelerate launch is told"
        )


def _told(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t")


def _wants_deepspeed(args: TrainingArguments) -> bool:
    return bool(args.deepspeed) or _told("ACCELERATE_USE_DEEPSPEED")


def _split_sizes(args: TrainingArguments) -> dict[str, int]:
    """Over how many processes one row is split, by the kind of split."""
    sizes = {name: getattr(args.parallelism_config, f"{name}_size", 1) or 1 for name in SPLITS}
    if _told("ACCELERATE_USE_PARALLELISM_CONFIG"):
        told = {name: int(os.environ.get(f"PARALLELISM_CONFIG_{name.upper()}_SIZE", "1")) for name in SPLITS}
        sizes = {name: max(size, told[name]) for name, size in sizes.items()}
    return sizes


def _is_sharded(model: torch.nn.Module) -> bool:
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    return any(isinstance(module, FSDPModule | FullyShardedDataParallel) for module in model.modules())
