"""From a configuration to what it names: rows, models, and the stage with its frozen models."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from weighted_mtp.data import load_rows, tokenize_rows
from weighted_mtp.models import CriticSpec, MTPModel, load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critic_stages import GenerativeStage, ImplicitStage
from weighted_mtp.training.critics import load_critic
from weighted_mtp.training.settings import ConfigError
from weighted_mtp.training.stages import Rho1Stage, Stage, ValueStage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What a configuration names, loaded."""

    model: MTPModel
    tokenizer: PreTrainedTokenizerBase
    train_dataset: Dataset
    eval_dataset: Dataset | None
    stage: Stage


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
    start_prior(model, train_dataset)
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
        value_head=config.stage == "critic" or (isinstance(stage, ValueStage) and stage.critic is None),
        value_link=settings.value_link,
        value_hidden=settings.value_hidden or None,
        critic=critic_spec(config) or False,
        dtype=settings.dtype,
    )
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if settings.lora_rank:
        model.add_lora(settings.lora_rank, settings.lora_alpha)
    if config.stage == "critic" and config.critic.freeze_trunk:
        model.freeze_trunk()
    return model


def critic_spec(config: RunConfig) -> CriticSpec | None:
    """What stage 1 makes of the model beyond a value head."""
    settings = config.critic
    if config.stage != "critic" or settings.kind == "value_head":
        return None
    if settings.kind == "implicit":
        return CriticSpec("implicit", reward_beta=settings.reward_beta, reference=_reference_path(config))
    if settings.label_tags is None:
        return CriticSpec("generative", settings.prior)
    tokenizer = load_tokenizer(config.model.tokenizer_name_or_path or config.model.model_name_or_path)
    right, wrong = tokenizer(settings.label_tags, add_special_tokens=False)["input_ids"]
    opening = tokenizer(settings.label_tags[0])["input_ids"][:1]
    bos = tokenizer.bos_token_id if opening == [tokenizer.bos_token_id] else None
    return CriticSpec("generative", settings.prior, {"right": right, "wrong": wrong}, bos)


def _reference_path(config: RunConfig) -> str:
    """An implicit critic is compared with the model that its training starts from, if no other is named."""
    path = config.reference.reference or config.model.model_name_or_path
    return str(Path(path).resolve()) if Path(path).exists() else path


def start_prior(model: MTPModel, rows: Dataset) -> None:
    """Lets a fresh generative or implicit critic start from the share of right rows.

    A generative critic whose prior is the base rate keeps it; an implicit one learns its bias on; a prior that is
    read from the prompt learns the whole head.

    Raises:
        ConfigError: all rows are right, or all are wrong.
    """
    spec, head = model.critic, model.value_head
    if spec is None or head is None:
        return
    share = sum(reward > 0.5 for reward in rows["reward"]) / len(rows)
    if share in (0.0, 1.0):
        which = "right" if share else "wrong"
        raise ConfigError(
            f"all {len(rows)} rows are {which}: a {spec.kind} critic needs right and wrong ones"
        )
    if not (head.weight.any() or head.bias.any()):  # else it was learned before
        torch.nn.init.constant_(head.bias, math.log(share / (1 - share)))
    if spec.prior == "base_rate":
        head.weight.requires_grad_(False)
        head.bias.requires_grad_(spec.kind == "implicit")


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
    if config.stage == "critic":
        return _critic_stage(config, tokenizer)
    value: dict[str, Any] = {"gamma": gamma, "value_objective": critic.value_loss, "lam": critic.value_lam}
    if critic.critic is None:
        return ValueStage(value_coef=critic.value_coef, **value)
    _require_same_tokenizer(critic.critic, tokenizer, "critic")
    frozen = load_critic(critic.critic, config.model.dtype, config.reference.reference)
    return ValueStage(critic=frozen, **value)


def _critic_stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    critic = config.critic
    common: dict[str, Any] = {"gamma": config.weighting.gamma, "value_coef": critic.value_coef}
    if critic.kind == "generative":
        return GenerativeStage(learned_prior=critic.prior == "head", lm_coef=critic.lm_coef, **common)
    if critic.kind == "implicit":
        path = _reference_path(config)
        _require_same_tokenizer(path, tokenizer, "reference")
        reference = _load_frozen(config, path, n_future=1)
        return ImplicitStage(reference=reference, beta=critic.reward_beta, **common)
    lm_coef = 0.0 if critic.freeze_trunk else critic.lm_coef
    return ValueStage(value_objective=critic.value_loss, lam=critic.value_lam, lm_coef=lm_coef, **common)


def _load_frozen(config: RunConfig, path: str, n_future: int | None) -> MTPModel:
    return MTPModel.from_pretrained(path, n_future=n_future, critic=False, dtype=config.model.dtype)


def _require_same_tokenizer(path: str, tokenizer: PreTrainedTokenizerBase, role: str) -> None:
    other = load_tokenizer(path)
    if other.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"the {role} {path} has another tokenizer ({len(other)} tokens, the model's has {len(tokenizer)}): token "
            f"by token they cannot be compared; give a {role} that was made from the same base model"
        )
