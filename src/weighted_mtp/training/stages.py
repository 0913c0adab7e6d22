"""Stages as a configuration names them, with their frozen models; `stage_table` says which function loads which."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.critics.table import critic_kind, load_critic
from weighted_mtp.training.critics.value_head import ValueStage
from weighted_mtp.training.early_checks import require_trained_with
from weighted_mtp.training.errors import in_memory
from weighted_mtp.training.stage import Stage, load_reference, require_same_tokenizer


def load_baseline(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """Stage 0."""
    return Stage(gamma=config.weighting.gamma)


def load_critic_stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """Stage 1, of the kind that the configuration names."""
    return critic_kind(config.critic.kind).stage(config, tokenizer)


def load_verifiable(config: RunConfig, tokenizer: PreTrainedTokenizerBase, critic: Critic | None = None) -> Stage:
    """Stage 2, with its own value head or with a separate frozen critic, perhaps a loaded one."""
    settings = config.critic
    value: dict[str, Any] = {
        "gamma": config.weighting.gamma,
        "value_objective": settings.value_loss,
        "lam": settings.value_lam,
    }
    require_trained_with(settings.critic or config.model.model_name_or_path, config.weighting.gamma)
    if settings.critic is None:
        coef = 0.0 if config.model.freeze else settings.value_coef
        return ValueStage(value_coef=coef, reads_own_head=True, **value)
    if not in_memory(settings.critic):
        require_same_tokenizer(settings.critic, tokenizer, "critic")
    if critic is None:
        model = config.model
        critic = load_critic(settings.critic, model.dtype, config.reference.reference, model.attn_implementation)
    return ValueStage(critic=critic, **value)


def load_rho1(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """Stage 3: a reference's loss is a signal that any stage supplies; here it is a must."""
    path = config.reference.reference
    assert path is not None, "checked by RunConfig"
    return Stage(gamma=config.weighting.gamma, reference=load_reference(config, path, tokenizer))
