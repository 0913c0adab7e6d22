"""From a configuration to what it names: rows, models, and the stage with its frozen models."""

import copy
import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from weighted_mtp.data import is_right, load_rows, tokenize_rows
from weighted_mtp.models import MTPModel, load_tokenizer, require_readable
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.critics.table import critic_kind
from weighted_mtp.training.early_checks import require_all_read, require_columns, require_reference_read
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.settings import ModelConfig
from weighted_mtp.training.stage import Stage, load_reference
from weighted_mtp.training.stage_table import stage_row
from weighted_mtp.value_weighting import Signals, WeightingScheme, make_scheme

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What a configuration names, loaded."""

    model: MTPModel
    tokenizer: PreTrainedTokenizerBase
    train_dataset: Dataset
    eval_dataset: Dataset | None
    stage: Stage
    scheme: WeightingScheme | None = None
    """None: it is made as the configuration says."""


@dataclass(frozen=True)
class InMemory:
    """What a caller has loaded already, which is then not read; None: it is."""

    model: Any = None
    tokenizer: Any = None
    rows: Any = None
    eval_rows: Any = None
    critic: Critic | None = None
    scheme: WeightingScheme | None = None


NOTHING = InMemory()


def load_inputs(config: RunConfig, *, trains: bool = True, memory: InMemory = NOTHING) -> Inputs:
    """Reads tokenizer, rows and models; every mistake in their names surfaces here, before any training.

    `trains` is False for a finished run that is looked at: its model is read as stored, and odd settings do no harm.
    """
    if trains:
        require_all_read(config)
    data = config.data
    tokenizer = memory.tokenizer
    if tokenizer is None:
        tokenizer = load_tokenizer(config.model.tokenizer_name_or_path or config.model.model_name_or_path)
    required = _requires(config, memory.scheme)
    by_policy = "reference_nll" in (required or ()) and config.reference.reference is None
    train_dataset = load_dataset(config, data.train_file, tokenizer, data.keep, memory.rows, by_policy)
    eval_dataset = None
    read = [(data.train_file, train_dataset)]
    if data.eval_file:
        eval_dataset = load_dataset(config, data.eval_file, tokenizer, rows=memory.eval_rows, by_policy=by_policy)
        read.append((data.eval_file, eval_dataset))
    elif data.eval_share:
        train_dataset, eval_dataset = hold_out(train_dataset, data.eval_share)
        read = [(data.train_file, train_dataset), (data.train_file, eval_dataset)]
    # Initialisation of heads follows the seed; the Trainer seeds only what comes after it.
    torch.manual_seed(config.train.seed)
    stage = load_stage(config, tokenizer, memory)
    if trains and required is not None:
        require_reference_read(config, stage.reads_reference)
    columns = {file: dataset.column_names for file, dataset in read}
    require_columns(config, columns, set(required or ()) - set(stage.all_supplies), trains=trains)
    model = load_model(config, stage, trains=trains, loaded=memory.model, tokenizer=tokenizer)
    for reader in (model, *stage.frozen_models()):
        for file, dataset in read:
            require_rows_fit(reader, tokenizer, dataset, file)
    if trains:
        stage.wanted = tuple(required or ())
        stage.prepare(model, train_dataset)
        if "weights" in train_dataset.column_names and config.scheme == "uniform":
            logger.warning("%s has weights, which scheme uniform does not read: scheme column does", data.train_file)
    scheme = copy.deepcopy(memory.scheme)  # its statistics are the run's own
    return Inputs(model, tokenizer, train_dataset, eval_dataset, stage, scheme)


def load_dataset(
    config: RunConfig,
    path: str,
    tokenizer: PreTrainedTokenizerBase,
    keep: str = "all",
    rows: Any = None,
    by_policy: bool = False,
) -> Dataset:
    """Rows of a file, or in memory, as token ids; malformed, cut and dropped rows are reported. `by_policy`: what wrote
    the rows is the reference, if they have its `logprobs`."""
    data, source = config.data, path if rows is None else rows
    rows, report = load_rows(source, on_bad_row=data.on_bad_row, split=data.split, stream=data.stream)
    if report.kept < report.read or report.set_aside:
        logger.warning("%s", report.summary())
    policy = by_policy and any("logprobs" in row for row in rows)
    dataset, tokenized = tokenize_rows(
        rows, tokenizer, max_length=data.max_length, on_bad_row=data.on_bad_row, turns=data.turns, policy=policy
    )
    if policy:
        logger.info("%s: the reference is what wrote the rows, by their `logprobs`", path)
    level = logging.INFO if tokenized.is_whole else logging.WARNING
    logger.log(level, "%s: %s", path, tokenized.summary())
    if keep == "all":
        return dataset
    least = torch.tensor(data.keep_above).item()  # in the precision of rewards
    right = [i for i, reward in enumerate(dataset["reward"]) if reward > least]
    logger.info("%s: %d of %d rows are above %g and kept", path, len(right), len(dataset), data.keep_above)
    if not right:
        raise ConfigError(
            f"{path} has no row labelled right (reward above {data.keep_above:g}), so keep: right leaves nothing to "
            "train on"
        )
    return dataset.select(right)  # under the numbers that they have among all rows


def hold_out(rows: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows: a share of the prompts, at least one of each, the same whatever the run's seed; of
    up to 20 draws the first that leaves right and wrong rows on both sides, which a critic needs; else the last."""
    prompts = np.unique(rows["prompt_id"])
    if len(prompts) < 2:
        raise ConfigError("eval_share holds out prompts, and all rows are of one: give --eval_file")
    count = min(max(1, round(share * len(prompts))), len(prompts) - 1)
    rng, right = np.random.default_rng(0), is_right(np.asarray(rows["reward"]))
    held = np.zeros(len(rows), bool)
    for _ in range(20):
        held = np.isin(rows["prompt_id"], rng.permutation(prompts)[:count])
        if all(0 < right[side].mean() < 1 for side in (held, ~held)):
            break
    return rows.select(np.flatnonzero(~held)), rows.select(np.flatnonzero(held))


def require_rows_fit(model: MTPModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, path: str) -> None:
    """Raises ValueError where the model cannot read a row (see `require_readable`)."""
    require_readable(model, tokenizer, rows["input_ids"], lambda i: f"{path}: row {rows[i]['row_id']}")


def load_model(
    config: RunConfig, stage: Stage, *, trains: bool = True, loaded: Any = None, tokenizer: Any = None
) -> MTPModel:
    """The model to train, or to look at, with a value head where the stage has one; one in memory is wrapped."""
    settings, trains_critic = config.model, stage_row(config.stage).trains_critic
    if settings.attn_implementation == "flex_attention" and not torch.accelerator.is_available():
        raise ConfigError(
            "attn_implementation is flex_attention, which has no backward pass on a CPU: give sdpa or eager"
        )
    head_alone = trains_critic and config.critic.freeze_trunk
    frozen = head_alone or settings.lora_rank > 0 or settings.freeze is not None
    dtype = _dtype(settings, frozen) if trains else "auto"
    model = MTPModel.from_pretrained(
        settings.model_name_or_path if loaded is None else loaded,
        n_future=settings.n_future,
        value_head=stage.needs_value_head or (None if settings.freeze else False),  # None: as it is there
        value_link=settings.value_link if stage.needs_value_head else None,
        value_hidden=settings.value_hidden or None,
        critic=(critic_kind(config.critic.kind).spec(config, tokenizer) if trains_critic else None) or False,
        dtype=dtype if loaded is None else "auto",
        attn_implementation=settings.attn_implementation if trains else None,
        load_in_4bit=settings.load_in_4bit,
        heads=settings.heads,
    )
    if not trains:
        return model
    if loaded is not None and dtype != "auto":
        model.hf_model.to(getattr(torch, dtype))
        model.extra_heads.to(getattr(torch, dtype))
    if frozen:
        # The base stays as it is stored, but for float16, whose range activations and gradients leave; extra heads are
        # copies of its last layer, which adapters train, and what is saved is the sum of both.
        if model.dtype == torch.float16:
            model.float()
        model.extra_heads.float()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if settings.lora_rank:
        model.add_lora(
            settings.lora_rank,
            settings.lora_alpha,
            settings.lora_target_modules,
            settings.lora_dropout,
            base=settings.model_name_or_path.removeprefix("hub:") if loaded is None else None,
        )
    if head_alone or settings.freeze:
        model.freeze_trunk(settings.freeze is not None)
    return model


def _dtype(settings: ModelConfig, frozen: bool) -> Literal["auto", "float32", "bfloat16", "float16"]:
    """The precision in which the model is read for training; frozen: all that the checkpoint holds stays as it is."""
    if settings.dtype == "bfloat16" and not frozen:
        logger.warning(
            "parameters train in bfloat16, as dtype says: updates smaller than 1/256 of a weight round away, which "
            "at usual learning rates are most. dtype: auto trains float32 parameters; bf16: true keeps the speed"
        )
    return "float32" if settings.dtype == "auto" and not frozen else settings.dtype


def load_stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase, memory: InMemory = NOTHING) -> Stage:
    """The stage with its frozen models; a reference is one where the scheme asks for its loss."""
    stage: Stage = stage_row(config.stage).load(config, tokenizer, memory.critic)
    path = config.reference.reference
    if path is not None and stage.reference is None and "reference_nll" in (_requires(config, memory.scheme) or ()):
        stage.reference = load_reference(config, path, tokenizer)
    return stage


def scheme_of(config: RunConfig | ScoreConfig, loaded: WeightingScheme | None = None) -> WeightingScheme:
    """The weighting scheme that a configuration names, with its options, unless it is loaded."""
    if loaded is not None:
        return loaded
    try:
        return make_scheme(config.scheme, **config.scheme_options)
    except (ValueError, TypeError) as error:
        said = str(error)
        named = f"weighting scheme {config.scheme!r}" in said
        raise ConfigError(said if named else f"scheme {config.scheme}: {said}") from None


def load_scheme(
    config: RunConfig, stage: Stage, rows: Dataset, loaded: WeightingScheme | None = None
) -> WeightingScheme:
    """The weighting scheme, checked against what the stage and the rows can supply."""
    scheme = scheme_of(config, loaded)
    of_rows = ("weights", "values", "credit", "steps", "pass_rate")
    supplied = {*stage.all_supplies, *(name for name in of_rows if name in rows.column_names)}
    supplied |= {"reference_nll"} if "logprobs" in rows.column_names else set()
    missing = [name for name in scheme.requires if name not in supplied and name not in ("mask", "valid")]
    if none := [name for name in missing if not hasattr(Signals, name)]:
        raise ConfigError(
            f"scheme {config.scheme} needs {', '.join(none)}, which is no signal: there are "
            f"{', '.join(sorted(supplied))}; columns of your own do not reach a scheme, weights do, in a column "
            "`weights`, with scheme column"
        )
    if missing:
        raise ConfigError(
            f"scheme {config.scheme} needs {', '.join(missing)}, but stage {config.stage} supplies only "
            f"{', '.join(sorted(supplied))}: use stage verifiable for values, with a generative or implicit critic for "
            "credit, a --reference or rows with `logprobs` (wmtp sample --logprobs true) for reference_nll, or rows "
            "with weights or steps for the schemes column and steps"
        )
    for name in ("weights", "steps"):  # that are weights as they are, unless the scheme bounds what it makes of them
        taken_as_is = name in scheme.requires and scheme.floor is None and scheme.weight_range(False) is None
        if taken_as_is and any(x < 0 for row in rows[name] for x in row):
            raise ConfigError(
                f"{name} holds a negative number, so that the loss can go to minus infinity: give the probability "
                "below which a token is pushed down no further, --scheme_options '{\"floor\": 0.01}'"
            )
    return scheme


def _requires(config: RunConfig, loaded: WeightingScheme | None) -> tuple[str, ...] | None:
    """What the scheme reads; None: its name or options are mistaken, which is told where it is made for training."""
    try:
        return scheme_of(config, loaded).requires
    except ConfigError:
        return None
