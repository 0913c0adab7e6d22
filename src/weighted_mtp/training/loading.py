"""From a configuration to what it names: rows, models, and the stage with its frozen models."""

import logging
from dataclasses import dataclass

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from weighted_mtp.data import load_rows, tokenize_rows
from weighted_mtp.models import MTPModel, load_tokenizer, require_readable
from weighted_mtp.training.columns import require_columns
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.table import critic_kind
from weighted_mtp.training.frozen import load_frozen, require_same_tokenizer
from weighted_mtp.training.precision import loaded_dtype, settle_frozen_base
from weighted_mtp.training.settings import ConfigError
from weighted_mtp.training.stage import Stage
from weighted_mtp.training.stage_table import stage_row
from weighted_mtp.training.unread import require_all_read, require_reference_read
from weighted_mtp.value_weighting import make_scheme

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What a configuration names, loaded."""

    model: MTPModel
    tokenizer: PreTrainedTokenizerBase
    train_dataset: Dataset
    eval_dataset: Dataset | None
    stage: Stage


def load_inputs(config: RunConfig, *, trains: bool = True) -> Inputs:
    """Reads tokenizer, rows and models; every mistake in their names surfaces here, before any training.

    Args:
        config: names them.
        trains: False for a finished run that is only looked at: its model is read as it is stored, and settings that
            it never read, of another version's, do no harm.
    """
    if trains:
        require_all_read(config)
    tokenizer = load_tokenizer(config.model.tokenizer_name_or_path or config.model.model_name_or_path)
    train_dataset = load_dataset(config, config.data.train_file, tokenizer, keep=config.data.keep)
    eval_file = config.data.eval_file
    eval_dataset = load_dataset(config, eval_file, tokenizer) if eval_file else None
    # Initialisation of heads follows the seed; the Trainer seeds only what comes after it.
    torch.manual_seed(config.train.seed)
    stage = load_stage(config, tokenizer)
    required = _requires(config)
    if trains and required is not None:
        require_reference_read(config, stage.reads_reference)
    columns = {config.data.train_file: train_dataset.column_names}
    if eval_dataset is not None and eval_file is not None:
        columns[eval_file] = eval_dataset.column_names
    require_columns(config, columns, set(required or ()) - set(stage.all_supplies), trains=trains)
    model = load_model(config, stage, trains=trains)
    for reader in (model, *stage.frozen_models()):
        require_rows_fit(reader, tokenizer, train_dataset, config.data.train_file)
        if eval_dataset is not None and eval_file is not None:
            require_rows_fit(reader, tokenizer, eval_dataset, eval_file)
    if trains:
        stage.prepare(model, train_dataset)
    return Inputs(model, tokenizer, train_dataset, eval_dataset, stage)


def load_dataset(config: RunConfig, path: str, tokenizer: PreTrainedTokenizerBase, keep: str = "all") -> Dataset:
    """Rows of a file as token ids; malformed, cut and dropped rows are reported."""
    rows, report = load_rows(path, on_bad_row=config.data.on_bad_row)
    if report.kept < report.read:
        logger.warning("%s", report.summary())
    dataset, tokenized = tokenize_rows(
        rows, tokenizer, max_length=config.data.max_length, on_bad_row=config.data.on_bad_row
    )
    logger.log(
        logging.INFO if tokenized.is_whole else logging.WARNING,
        "%s: %s", path, tokenized.summary(),
    )  # fmt: skip
    return dataset if keep == "all" else _only_right(dataset, path)


def require_rows_fit(model: MTPModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, path: str) -> None:
    """Raises ValueError where the model cannot read a row (see `require_readable`)."""
    require_readable(model, tokenizer, rows["input_ids"], lambda i: f"{path}: row {rows[i]['row_id']}")


def _only_right(dataset: Dataset, path: str) -> Dataset:
    """Rows labelled right, under the numbers that they have among all rows."""
    right = [i for i, reward in enumerate(dataset["reward"]) if reward > 0.5]
    if not right:
        raise ConfigError(f"{path} has no row labelled right, so keep: right leaves nothing to train on")
    return dataset.select(right)


def load_model(config: RunConfig, stage: Stage, *, trains: bool = True) -> MTPModel:
    """The model to train, or to look at, with a value head where the stage has one."""
    settings, trains_critic = config.model, stage_row(config.stage).trains_critic
    head_alone = trains_critic and config.critic.freeze_trunk
    frozen = head_alone or settings.lora_rank > 0
    model = MTPModel.from_pretrained(
        settings.model_name_or_path,
        n_future=settings.n_future,
        value_head=stage.needs_value_head,
        value_link=settings.value_link if stage.needs_value_head else None,
        value_hidden=settings.value_hidden or None,
        critic=(critic_kind(config.critic.kind).spec(config) if trains_critic else None) or False,
        dtype=loaded_dtype(settings, frozen) if trains else "auto",
    )
    if not trains:
        return model
    if frozen:
        settle_frozen_base(model)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if settings.lora_rank:
        model.add_lora(settings.lora_rank, settings.lora_alpha)
    if head_alone:
        model.freeze_trunk()
    return model


def load_stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """The stage with its frozen models; a reference is one where the scheme asks for its loss."""
    stage: Stage = stage_row(config.stage).load(config, tokenizer)
    path = config.reference.reference
    if path is not None and stage.reference is None and "reference_nll" in (_requires(config) or ()):
        require_same_tokenizer(path, tokenizer, "reference")
        stage.reference = load_frozen(config, path, n_future=None)
    return stage


def _requires(config: RunConfig) -> tuple[str, ...] | None:
    """What the scheme reads; None: its name or options are mistaken, which is told where it is made for training."""
    try:
        return make_scheme(config.scheme, **config.weighting.scheme_options).requires
    except (ValueError, TypeError):
        return None
