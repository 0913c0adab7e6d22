"""From a configuration to a trained directory: rows, model, stage, scheme, Trainer, and a clean end.

Each function is one step; `train` is their sequence. Experiments that hold models and rows in memory enter at
`make_trainer`.
"""

import difflib
import gc
import logging
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from weighted_mtp.data import CompletionCollator, load_rows, make_sampler, tokenize_rows
from weighted_mtp.losses.liger import require_liger
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.callbacks import CompactProgress, InterruptCallback
from weighted_mtp.training.checkpoints import resolve_resume
from weighted_mtp.training.config import ConfigError, RunConfig, TrainConfig
from weighted_mtp.training.nonfinite import NonFiniteError
from weighted_mtp.training.stages import Rho1Stage, Stage, ValueStage
from weighted_mtp.training.tracking import MLflowLogger
from weighted_mtp.training.trainer import WeightedMTPTrainer
from weighted_mtp.value_weighting import WeightingScheme, make_scheme

logger = logging.getLogger(__name__)


class Interrupted(Exception):
    """Training was stopped by a signal after saving; the message says how to go on."""


@dataclass(frozen=True)
class Inputs:
    """What a configuration names, loaded."""

    model: MTPModel
    tokenizer: PreTrainedTokenizerBase
    train_dataset: Dataset
    eval_dataset: Dataset | None
    stage: Stage


def train(config: RunConfig, resume: str | None = None) -> Path:
    """Runs one stage from its files to its output directory, and returns that directory."""
    checkpoint, passed_over = resolve_resume(resume, config.train.output_dir)
    for sentence in passed_over:
        logger.warning(sentence)
    inputs = load_inputs(config)
    trainer = make_trainer(config, inputs)
    config.save()
    try:
        fit(trainer, config, checkpoint)
    finally:
        # A process that exits with its group's threads running aborts now and then ("terminate called"). The wrapped
        # model holds the group, and cycles hold the trainer.
        if torch.distributed.is_initialized():
            del trainer, inputs
            gc.collect()
            torch.distributed.destroy_process_group()
    return Path(config.train.output_dir)


def load_inputs(config: RunConfig) -> Inputs:
    """Reads tokenizer, rows and models; every mistake in their names surfaces here, before any training."""
    tokenizer = load_tokenizer(config.model.tokenizer_name_or_path or config.model.model_name_or_path)
    train_dataset = load_dataset(config, config.data.train_file, tokenizer, keep=config.data.keep)
    eval_file = config.data.eval_file
    eval_dataset = load_dataset(config, eval_file, tokenizer) if eval_file else None
    # Initialisation of heads follows the seed; the Trainer seeds only what comes after it.
    torch.manual_seed(config.train.seed)
    stage = load_stage(config, tokenizer)
    model = load_model(config, stage)
    return Inputs(model, tokenizer, train_dataset, eval_dataset, stage)


def load_dataset(
    config: RunConfig, path: str, tokenizer: PreTrainedTokenizerBase, keep: str = "all"
) -> Dataset:
    """Rows of a file as token ids; malformed, cut and dropped rows are reported."""
    rows, report = load_rows(path, on_bad_row=config.data.on_bad_row)
    if report.kept < report.read:
        logger.warning("%s", report.summary())
    dataset, tokenized = tokenize_rows(
        rows, tokenizer, max_length=config.data.max_length, on_bad_row=config.data.on_bad_row
    )
    logger.log(
        logging.INFO if tokenized.kept == len(rows) and not tokenized.truncated else logging.WARNING,
        "%s: %s", path, tokenized.summary(),
    )  # fmt: skip
    return dataset if keep == "all" else _only_right(dataset, path)


def _only_right(dataset: Dataset, path: str) -> Dataset:
    """Rows labelled right, under the numbers that they have among all rows."""
    right = [i for i, reward in enumerate(dataset["reward"]) if reward > 0.5]
    if not right:
        raise ConfigError(f"{path} has no row labelled right, so keep: right leaves nothing to train on")
    return dataset.select(right)


def load_model(config: RunConfig, stage: Stage) -> MTPModel:
    """The model to train, with a value head where the stage learns one."""
    settings = config.model
    model = MTPModel.from_pretrained(
        settings.model_name_or_path,
        n_future=settings.n_future,
        value_head=isinstance(stage, ValueStage) and stage.critic is None,
        value_link=settings.value_link,
        dtype=settings.dtype,
    )
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if config.stage == "critic" and config.critic.freeze_trunk:
        model.freeze_trunk()
    return model


def load_stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """The stage with its frozen models."""
    critic, gamma = config.critic, config.weighting.gamma
    if config.stage == "baseline":
        return Stage(gamma=gamma)
    if config.stage == "rho1":
        assert config.reference.reference is not None, "checked by RunConfig"
        _require_same_tokenizer(config.reference.reference, tokenizer, "reference")
        return Rho1Stage(
            gamma=gamma, reference=_load_frozen(config, config.reference.reference, n_future=None)
        )
    value = {"gamma": gamma, "value_objective": critic.value_loss, "lam": critic.value_lam}
    if config.stage == "critic":
        lm_coef = 0.0 if critic.freeze_trunk else critic.lm_coef
        return ValueStage(lm_coef=lm_coef, value_coef=critic.value_coef, **value)
    if critic.critic is None:
        return ValueStage(value_coef=critic.value_coef, **value)
    _require_same_tokenizer(critic.critic, tokenizer, "critic")
    frozen = _load_frozen(config, critic.critic, n_future=1)
    if frozen.value_head is None:
        raise ConfigError(f"critic {critic.critic} has no value head: train it with `wmtp train critic`")
    return ValueStage(critic=frozen, **value)


def _load_frozen(config: RunConfig, path: str, n_future: int | None) -> MTPModel:
    return MTPModel.from_pretrained(path, n_future=n_future, dtype=config.model.dtype)


def _require_same_tokenizer(path: str, tokenizer: PreTrainedTokenizerBase, role: str) -> None:
    other = load_tokenizer(path)
    if other.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"the {role} {path} has another tokenizer ({len(other)} tokens, the model's has {len(tokenizer)}): token "
            f"by token they cannot be compared; give a {role} that was made from the same base model"
        )


def load_scheme(config: RunConfig, stage: Stage, columns: list[str]) -> WeightingScheme:
    """The weighting scheme, checked against what the stage and the rows can supply."""
    try:
        scheme = make_scheme(config.scheme, **config.weighting.scheme_options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"scheme {config.scheme}: {error}") from None
    supplied = {*stage.supplies, *(name for name in ("weights", "values") if name in columns)}
    missing = [name for name in scheme.requires if name not in supplied and name not in ("mask", "valid")]
    if missing:
        raise ConfigError(
            f"scheme {config.scheme} needs {', '.join(missing)}, but stage {config.stage} supplies only "
            f"{', '.join(sorted(supplied))}: use stage verifiable for values, rho1 for reference_nll, or rows with a "
            "weights column for column"
        )
    return scheme


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


def make_trainer(
    config: RunConfig,
    inputs: Inputs,
    *,
    quiet: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    tags: dict[str, str] | None = None,
) -> WeightedMTPTrainer:
    """The Trainer of a run, with MLflow, progress and interrupts attached."""
    columns = list(inputs.train_dataset.column_names)
    args = training_arguments(config, inputs.eval_dataset is not None, quiet)
    if config.train.loss_backend == "liger":
        require_liger(args.device)
    # Made again when training starts; here so that rows it cannot order are told before anything is written.
    make_sampler(config.data.sampler, inputs.train_dataset, config.train.per_device_train_batch_size)
    trainer = WeightedMTPTrainer(
        model=inputs.model,
        stage=inputs.stage,
        scheme=load_scheme(config, inputs.stage, columns),
        head_warmup_steps=config.model.head_warmup_steps,
        loss_backend=config.train.loss_backend,
        sampler=config.data.sampler,
        args=args,
        train_dataset=inputs.train_dataset,
        eval_dataset=inputs.eval_dataset,
        data_collator=CompletionCollator.from_tokenizer(inputs.tokenizer),
        processing_class=inputs.tokenizer,
        callbacks=[MLflowLogger(config, tags), InterruptCallback(), *(callbacks or [])],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if not quiet:
        trainer.add_callback(CompactProgress())
    return trainer


def fit(trainer: WeightedMTPTrainer, config: RunConfig, checkpoint: Path | None = None) -> None:
    """Trains, evaluates and saves; ends the MLflow run in every case.

    Raises:
        Interrupted: a signal stopped the run; a checkpoint was saved.
        NonFiniteError: the loss or its gradient was not finite; nothing broken was saved.
    """
    tracker = next(c for c in trainer.callback_handler.callbacks if isinstance(c, MLflowLogger))
    interrupt = next(c for c in trainer.callback_handler.callbacks if isinstance(c, InterruptCallback))
    status = "FAILED"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if interrupt.interrupted and trainer.state.global_step < trainer.state.max_steps:
            status = "KILLED"
            raise Interrupted(
                f"interrupted at optimizer step {trainer.state.global_step} of {trainer.state.max_steps}; a checkpoint "
                f"is in {config.train.output_dir}. Continue with: wmtp train {config.stage} --config "
                f"{config.train.output_dir}/run.yaml --resume auto"
            )
        if trainer.eval_dataset is not None:
            trainer.evaluate()
        trainer.save_model(config.train.output_dir)
        status = "FINISHED"
    finally:
        interrupt.restore()
        tracker.close(status)


__all__ = ["Inputs", "Interrupted", "NonFiniteError", "fit", "load_inputs", "make_trainer", "train"]
