"""Every field of `transformers.TrainingArguments`, and what `trainer_args` does with it: ours, passed on, or refused
with the reason; one of a newer transformers is unknown. No transformers is imported, so that a mistake is told at
once."""

import importlib.util
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from weighted_mtp.choices import nearest, unknown
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.settings import ModelConfig, TrackingConfig, TrainConfig

OURS = {f.name: f.name for part in (TrainConfig, TrackingConfig) for f in fields(part)} | {
    "gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing",
    "resume_from_checkpoint": "resume",
    "load_best_model_at_end": "early_stopping_patience",
    "metric_for_best_model": "best_metric",
}
"""Fields that are settings of our own, and the setting's name."""

PASSED_ON = (
    # optimisation: the Trainer's optimizer, scheduler and training step are used as they are
    "lr_scheduler_kwargs", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "optim_target_modules", "fp16",
    "tf32", "torch_compile", "torch_compile_backend", "torch_compile_mode", "torch_empty_cache_steps",
    "activation_checkpointing_kwargs", "full_determinism", "use_cpu", "ignore_data_skip",
    # the order of the rows, and how they are loaded
    "data_seed", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers",
    "dataloader_prefetch_factor", "dataloader_multiprocessing_context",
    # when is logged, evaluated and saved
    "logging_strategy", "logging_first_step", "log_on_each_node", "log_level", "log_level_replica", "disable_tqdm",
    "include_num_input_tokens_seen", "skip_memory_metrics", "eval_strategy", "eval_delay", "eval_on_start",
    "save_strategy", "save_only_model", "save_on_each_node",
    # where it is reported
    "report_to", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
    # several processes
    "accelerator_config", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_backend", "ddp_timeout", "fsdp",
    "fsdp_config", "deepspeed", "debug",
)  # fmt: skip
"""Fields that reach the Trainer and have their effect."""

_LOSS = "the loss is ours: a weighted cross-entropy over global counts"
_HUB = "runs are not uploaded: give the finished directory to `hf upload`"
_ORDER = "the order of the rows is set by sampler"
_METRICS = "evaluation keeps sums of metrics and no predictions, so it would do nothing"
_LAUNCHER = "torchrun or accelerate launch sets it"

REFUSED: dict[str, tuple[Any, str]] = {
    "label_smoothing_factor": (
        0,
        f"{_LOSS}, without smoothing; scheme_options: {{entropy_floor: ...}} keeps weights flat",
    ),
    "average_tokens_across_devices": (True, f"{_LOSS} in any case"),
    "neftune_noise_alpha": (None, "no noise is put on the embeddings of this model"),
    "use_liger_kernel": (False, "it patches models of transformers only: give loss_backend: liger"),
    "liger_kernel_config": (None, "it is of use_liger_kernel: give loss_backend: liger"),
    "bf16_full_eval": (False, "the evaluation before the end would leave the saved model in half precision: give bf16"),
    "fp16_full_eval": (False, "the evaluation before the end would leave the saved model in half precision: give bf16"),
    "use_cache": (False, "training has no use for a cache of keys and values"),
    "auto_find_batch_size": (False, "the batch would be another than run.yaml says: lower per_device_train_batch_size"),
    "gradient_checkpointing_kwargs": (None, "give activation_checkpointing_kwargs, its present name"),
    "logging_nan_inf_filter": (False, "a loss that is not finite stops the run; it is never smoothed over"),
    "remove_unused_columns": (False, "the columns that the model does not read are what weights are made of"),
    "label_names": (None, "labels are found by tokenizing rows"),
    "train_sampling_strategy": ("random", f"{_ORDER}: shuffled, balanced, pairs, curriculum or length_balanced"),
    "length_column_name": ("length", f"{_ORDER}; lengths are counted"),
    "dataloader_drop_last": (False, "every row is used: leave those out of the file that should not be"),
    "dataloader_in_order": (True, "rows would come in another order each time, and no run could be resumed exactly"),
    "prediction_loss_only": (False, _METRICS),
    "eval_do_concat_batches": (True, _METRICS),
    "eval_use_gather_object": (False, _METRICS),
    "eval_accumulation_steps": (None, _METRICS),
    "include_for_metrics": ([], _METRICS),
    "batch_eval_metrics": (False, _METRICS),
    "enable_jit_checkpoint": (False, "SIGTERM saves a checkpoint and stops the run in any case"),
    "restore_callback_states_from_checkpoint": (False, "early stopping takes up its state in any case"),
    "push_to_hub": (False, _HUB),
    "hub_token": (None, _HUB),
    "hub_private_repo": (None, _HUB),
    "hub_model_id": (None, _HUB),
    "hub_strategy": ("every_save", _HUB),
    "hub_always_push": (False, _HUB),
    "hub_revision": (None, _HUB),
    "parallelism_config": (None, "tensor and context parallelism are not supported: give fsdp"),
    "ddp_find_unused_parameters": (False, "the unembedding works outside the forward pass, and would count as unused"),
    "ddp_static_graph": (None, "heads that warm up join the graph later"),
    "do_train": (True, "wmtp train trains"),
    "greater_is_better": (None, "it follows from best_metric"),
    "do_eval": (False, "give eval_file: it is evaluated every eval_steps and at the end"),
    "do_predict": (False, "use wmtp evaluate or wmtp score"),
    "local_rank": (-1, _LAUNCHER),
}
"""Fields that would do nothing, or harm: the one value that says what we do anyway, and why no other."""

_LOG_LEVELS = ("passive", "detail", "debug", "info", "warning", "error", "critical")
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "log_level": (_LOG_LEVELS.__contains__, ", ".join(_LOG_LEVELS)),
    "log_level_replica": (_LOG_LEVELS.__contains__, ", ".join(_LOG_LEVELS)),
    "data_seed": (lambda x: x is None or (type(x) is int and x >= 0), "a whole number from 0 on"),
    "ddp_backend": (
        lambda x: os.environ.get("WORLD_SIZE", "1") != "1" and x in ("nccl", "gloo", "mpi", "ccl", "hccl"),
        "nccl, gloo, mpi, ccl or hccl, in processes that torchrun or accelerate launch started",
    ),
    "optim_args": (
        lambda x: x is None or all(pair.count("=") == 1 for pair in str(x).split(",")),
        "name=value,name=value",
    ),
    "report_to": (lambda x: x not in ("", []), "one or several names, or none"),
}
"""Fields of which transformers takes any value, and fails later or in other words; and what is needed."""

_LOADER_OF_ACCELERATE = ("non_blocking", "gradient_accumulation_kwargs")


def unknown_setting(name: str, known: Collection[str]) -> str:
    """What is no setting: a field of `trainer_args`, where a command has them, or a mistyped name."""
    if "trainer_args" not in known or name not in {*PASSED_ON, *OURS, *REFUSED}:
        return unknown("setting", name, known)
    if name in PASSED_ON:
        where = f"it goes under trainer_args, {{{name}: ...}} in a file and --trainer_args.{name} as a flag"
    else:
        where = REFUSED[name][1] if name in REFUSED else f"give {OURS[name]}"
    return f"unknown setting {name!r}: {where}"


def check_trainer_args(train: TrainConfig, model: ModelConfig, evaluates: bool) -> None:
    """Raises for what would be taken and dropped, or needs a package that is not there."""
    given = train.trainer_args
    for name, value in given.items():
        _check_name(name, value)
    _check_values(given, model, evaluates)
    check_packages(train.optim, reporters(given), given.get("deepspeed"))
    if model.load_in_4bit:
        _check("load_in_4bit is true", "", Package("bitsandbytes", "bitsandbytes"))


def _check_name(name: str, value: Any) -> None:
    if name in OURS and name not in PASSED_ON:
        raise ConfigError(f"trainer_args sets {name}, which is a setting of its own: give --{OURS[name]}")
    if name in REFUSED:
        neutral, reason = REFUSED[name]
        if value != neutral or isinstance(value, bool) != isinstance(neutral, bool):
            raise ConfigError(f"trainer_args sets {name} to {value!r}: {reason}")
    elif name not in PASSED_ON:
        near = nearest(str(name), [*PASSED_ON, *OURS, *REFUSED])
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"trainer_args has no field {name!r} of transformers.TrainingArguments that we know{hint}")


def _check_values(given: Mapping[str, Any], model: ModelConfig, evaluates: bool) -> None:
    """What depends on the value, or on another setting."""
    for name, (fits, needed) in _VALUES.items():
        if name in given and not fits(given[name]):
            raise ConfigError(f"trainer_args sets {name} to {given[name]!r}: give {needed}")
    config = given.get("accelerator_config")
    unknown = sorted(set(config) - set(_LOADER_OF_ACCELERATE)) if isinstance(config, Mapping) else [config]
    if config is not None and unknown:
        raise ConfigError(
            f"trainer_args sets accelerator_config to {config!r}: how batches are cut and dealt to processes is ours; "
            f"give {' or '.join(_LOADER_OF_ACCELERATE)}, nothing else"
        )
    if config is not None and "num_steps" in (config.get("gradient_accumulation_kwargs") or {}):
        raise ConfigError("trainer_args sets num_steps in accelerator_config: give --gradient_accumulation_steps")
    if "activation_checkpointing_kwargs" in given and not model.gradient_checkpointing:
        raise ConfigError("trainer_args sets activation_checkpointing_kwargs: give --gradient_checkpointing true too")
    for name in ("eval_strategy", "eval_on_start", "eval_delay"):
        if given.get(name, "no") not in ("no", False, 0) and not evaluates:
            raise ConfigError(
                f"trainer_args sets {name} to {given[name]!r}, but there are no held-out rows: give --eval_file FILE"
            )
    if evaluates and given.get("eval_strategy") in ("no", False):  # YAML reads a bare `no` as false
        raise ConfigError(
            "trainer_args sets eval_strategy to 'no', but held-out rows are evaluated at the start and the end: leave "
            "eval_file and eval_share out to evaluate nothing, or eval_steps for these two alone"
        )
    if "tpu_metrics_debug" in str(given.get("debug", "")):
        raise ConfigError("debug is tpu_metrics_debug: TPUs are not supported; give underflow_overflow")
    if given.get("fsdp_config") and not given.get("fsdp"):
        raise ConfigError("trainer_args sets fsdp_config, which is of fsdp: add that or remove it")
    for name in given:
        if name.startswith(("trackio_", "project")) and "trackio" not in reporters(given):
            raise ConfigError(f"trainer_args sets {name}, which is of report_to: trackio; add that or remove it")


def reporters(given: Mapping[str, Any]) -> list[str]:
    """The names under `report_to`."""
    named = given.get("report_to") or []
    return [name for name in ([named] if isinstance(named, str) else list(named)) if name != "none"]


# What settings need beyond our own dependencies: named with its pip command.


class Package(NamedTuple):
    """A package that a choice needs: its import name, and what pip calls it."""

    module: str
    pip: str


_IN_BACKWARD = (
    "updates within the backward pass, before the gradient's norm is known: neither clipping nor the stop at a broken "
    "gradient would work"
)
OPTIMIZERS: dict[str, Package | str | None] = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"), None),
    "adamw_torch_xla": Package("torch_xla", "torch_xla"),
    "adamw_torch_npu_fused": Package("torch_npu", "torch_npu"),
    "adamw_anyprecision": Package("torchdistx", "torchdistx"),
    **dict.fromkeys(("adamw_torch_4bit", "adamw_torch_8bit"), Package("torchao", "torchao")),
    **dict.fromkeys(
        (
            "ademamix", "adamw_bnb_8bit", "adamw_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit", "paged_adamw_32bit",
            "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit",
            "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
        ),
        Package("bitsandbytes", "bitsandbytes"),
    ),
    **dict.fromkeys(("galore_adamw", "galore_adamw_8bit", "galore_adafactor"), Package("galore_torch", "galore-torch")),
    **dict.fromkeys(
        (
            "galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "lomo", "adalomo",
            "apollo_adamw_layerwise",
        ),
        _IN_BACKWARD,
    ),
    "apollo_adamw": Package("apollo_torch", "apollo-torch"),
    "grokadamw": Package("grokadamw", "grokadamw"),
    "stable_adamw": Package("optimi", "torch-optimi"),
    **dict.fromkeys(
        ("schedule_free_radam", "schedule_free_adamw", "schedule_free_sgd"),
        "trains other weights than the averaged ones that should be saved",
    ),
}  # fmt: skip
"""Each optimizer of transformers: works as it is (None), needs a package, or is refused with the reason."""

_MLFLOW = "is on by itself: set tracking_uri to the store, or to none to switch it off"
REPORTERS: dict[str, Package | str] = {
    **{
        name: Package(name, name)
        for name in (
            "tensorboard", "wandb", "comet_ml", "trackio", "swanlab", "clearml", "neptune", "dvclive", "codecarbon",
        )
    },
    "azure_ml": Package("azureml", "azureml-core"),
    "flyte": Package("flytekit", "flytekit"),
    "kubeflow": Package("kubeflow", "kubeflow"),
    "mlflow": f"mlflow {_MLFLOW}",
    "dagshub": f"dagshub is a store of MLflow, which {_MLFLOW}",
    "all": "all depends on what happens to be installed: name them, as [tensorboard, wandb]",
}  # fmt: skip
"""What `report_to` may name: needs a package, or is refused with the reason."""


def check_packages(optim: str, report_to: Sequence[str], deepspeed: Any = None) -> None:
    """Raises where an optimizer or a reporter needs a package that is not installed, or cannot be had; optimizers in no
    table are left to transformers, which lists its own."""
    _check(f"optim is {optim}", "it ", OPTIMIZERS.get(optim))
    for name in report_to:
        if name not in REPORTERS:
            known = ", ".join(known for known, entry in REPORTERS.items() if isinstance(entry, Package))
            raise ConfigError(f"report_to is {name!r}: give one or several of {known}, or none")
        _check(f"report_to is {name}", "", REPORTERS[name])
    if deepspeed:
        _check("deepspeed is set", "", Package("deepspeed", "deepspeed"))


def _check(what: str, subject: str, entry: Package | str | None) -> None:
    if isinstance(entry, str):
        raise ConfigError(f"{what}: {subject}{entry}")
    if entry is not None and importlib.util.find_spec(entry.module) is None:
        raise ConfigError(f"{what}, but {entry.module} is not installed: pip install {entry.pip}")
