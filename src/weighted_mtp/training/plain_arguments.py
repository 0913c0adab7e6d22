"""What a `WeightedMTPTrainer` makes of what a plain Trainer is given: arguments, model, rows, collator."""

from collections.abc import Mapping
from copy import copy
from dataclasses import fields
from typing import Any

import torch
from transformers import TrainingArguments

from weighted_mtp.data import CompletionCollator, load_rows, tokenize_rows
from weighted_mtp.models import MTPModel
from weighted_mtp.training.errors import ConfigError, require
from weighted_mtp.training.stage import Stage
from weighted_mtp.training.trainer_fields import REFUSED

SET = {"remove_unused_columns": False, "logging_nan_inf_filter": False, "ddp_find_unused_parameters": False}
"""Fields of `TrainingArguments` with another default that would break the method: set on a copy."""
_HARMLESS = ("hub_", "push_to_hub", "do_", "local_rank", "greater_is_better", "gradient_checkpointing_kwargs")
"""Beginnings of fields that `trainer_args` refuses for reasons of the command."""
_ENCODED = ("input_ids", "labels", "reward", "prompt_id", "row_id")


def fitted(given: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """Keyword arguments of a Trainer in the form that ours needs; ConfigError says what cannot be had."""
    tokenizer, collator = given.get("processing_class"), given.get("data_collator")
    require(
        collator is not None or tokenizer is not None,
        "neither processing_class nor data_collator is given: give processing_class=tokenizer, or "
        "data_collator=CompletionCollator.from_tokenizer(tokenizer)",
    )
    rows = {name: _encoded(name, given[name], tokenizer) for name in ("train_dataset", "eval_dataset") if name in given}
    return {
        **given,
        **rows,
        "args": _arguments(given.get("args") or TrainingArguments()),
        "model": _model(given.get("model"), stage),
        "data_collator": collator or CompletionCollator.from_tokenizer(tokenizer),
    }


def _arguments(args: TrainingArguments) -> TrainingArguments:
    defaults = {f.name: f.default for f in fields(TrainingArguments)}
    for name, (neutral, reason) in REFUSED.items():
        value = getattr(args, name, neutral)
        if name not in SET and not name.startswith(_HARMLESS) and value not in (neutral, defaults.get(name)):
            raise ConfigError(f"args sets {name} to {value!r}: {reason}")
    args = copy(args)
    for name, value in SET.items():
        setattr(args, name, value)
    if args.n_gpu > 1:
        args._n_gpu = 1  # one process drives one device
    return args


def _model(model: Any, stage: Stage) -> MTPModel:
    if isinstance(model, MTPModel):
        return model
    require(
        isinstance(model, torch.nn.Module),
        f"model is a {type(model).__name__}: give an MTPModel, or a causal language model, which is wrapped",
    )
    return MTPModel.from_pretrained(model, value_head=stage.needs_value_head)


def _encoded(name: str, rows: Any, tokenizer: Any) -> Any:
    if rows is None:
        return None
    columns = getattr(rows, "column_names", None) or list(next(iter(rows), {}))
    missing = [column for column in _ENCODED if column not in columns]
    if not missing:
        return rows
    if "input_ids" in columns or tokenizer is None:
        raise ConfigError(
            f"{name} has no column {missing[0]!r}: give weighted_mtp.data.tokenize_rows(rows, tokenizer)[0], or "
            "rows of text with processing_class=tokenizer"
        )
    return tokenize_rows(load_rows(rows)[0], tokenizer)[0]
