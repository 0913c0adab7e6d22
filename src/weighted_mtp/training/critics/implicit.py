"""The implicit critic: a model whose log-ratio to a frozen reference tells right from wrong completions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from weighted_mtp.losses import implicit_reward_loss
from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import Critic, Judgement, next_token_nll, prior_of, start_prior
from weighted_mtp.training.errors import ConfigError, in_memory
from weighted_mtp.training.stage import Stage, load_reference
from weighted_mtp.value_weighting import values_from_credit


@dataclass(frozen=True)
class ImplicitCritic(Critic):
    """A model trained so that its log-ratio to a reference tells right from wrong completions.

        credit[t] = beta * (log p(x_t+1 | x_<=t) - log p_ref(x_t+1 | x_<=t))

    Source: Yuan et al. 2024, arXiv 2412.01981; Cui et al. 2025 (PRIME), arXiv 2502.01456.
    """

    reference: MTPModel
    beta: float
    gives_credit: ClassVar[bool] = True
    reads_reference: ClassVar[bool] = True

    @torch.no_grad()
    def judge(self, batch: TokenBatch) -> Judgement:
        """Values, a proxy before the last token, and credit."""
        credit = self.beta * (next_token_nll(self.reference, batch) - next_token_nll(self.model, batch))
        prior = prior_of(self.model)
        return Judgement(values_from_credit(credit, prior, batch.mask), credit)

    def models(self) -> list[MTPModel]:
        """The trained model and its reference."""
        return [self.model, self.reference]


@dataclass
class ImplicitStage(Stage):
    """Cross-entropy of the label against the log-ratio to a frozen reference; no language-model loss.

    The trained model starts from the reference, where the log-ratio is 0.
    """

    lm_coef: float = 0.0
    beta: float = 0.05
    """Log-odds per nat of log-ratio."""
    counted: ClassVar[str] = "rows"

    undiscounted = "an implicit critic learns P(success), undiscounted"
    needs_value_head = True  # the prior

    def prepare(self, model: MTPModel, rows: Dataset) -> None:
        """A fresh bias is the log-odds of the share of right rows, and is learned on."""
        start_prior(model, rows)

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor:
        """See `implicit_reward_loss`."""
        return implicit_reward_loss(
            outputs["hidden_states"][..., :1, :],
            targets=batch.hidden_targets[..., :1],
            reference_nll=batch.as_hidden(next_token_nll(self._reference(), batch)[..., None]),
            rewards=batch.rewards,
            prior=prior_of(model),
            beta=self.beta,
            normalizer=self.value_normalizer(counts),
            row_of=batch.row_of,
            **model.output_head(),
        )

    def _reference(self) -> MTPModel:
        assert self.reference is not None, "the stage is built with a reference"
        return self.reference

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        if model.training:
            return {}
        return ImplicitCritic(model, self._reference(), self.beta).judge(batch)._asdict()


def spec(config: RunConfig, tokenizer: Any) -> CriticSpec:
    """Scale and reference."""
    return CriticSpec("implicit", reward_beta=config.critic.reward_beta, reference=_reference_path(config))


def stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """Stage 1 of this critic, with its reference."""
    return ImplicitStage(
        reference=load_reference(config, _reference_path(config), tokenizer, n_future=1),
        beta=config.critic.reward_beta,
        gamma=config.weighting.gamma,
        value_coef=config.critic.value_coef,
    )


def read(model: MTPModel, path: str, dtype: str, reference: str | None) -> Critic:
    """The critic that its training left, with the reference that it names."""
    assert model.critic is not None, "its directory says that it is an implicit critic"
    where = reference or model.critic.reference
    if where is None:
        raise ConfigError(f"critic {path} names no reference: give its directory as `reference`")
    try:
        attention = model.config._attn_implementation
        frozen = MTPModel.from_pretrained(where, n_future=1, critic=False, dtype=dtype, attn_implementation=attention)
    except ValueError as error:
        raise ConfigError(
            f"critic {path} compares with the reference {where}, which cannot be read ({error}): give its "
            "directory as `reference`"
        ) from None
    if _same_weights(model, frozen):
        raise ConfigError(
            f"critic {path} was never trained (its weights are those of its reference {where}, so that its credit is 0 "
            "everywhere): train it with `wmtp train critic --critic implicit`, or give the `reference` that it was "
            "trained against"
        )
    return ImplicitCritic(model, frozen, model.critic.reward_beta)


def _same_weights(model: MTPModel, reference: MTPModel) -> bool:
    """Whether no weight of the two decoders differs; in another precision of one, the credit would be rounding."""
    own, other = (dict(decoder.hf_model.named_parameters()) for decoder in (model, reference))
    return own.keys() == other.keys() and all(
        p.shape == other[name].shape and torch.allclose(p.float(), other[name].float(), rtol=0, atol=1e-12)
        for name, p in own.items()
    )


def _reference_path(config: RunConfig) -> str:
    """An implicit critic is compared with the model that its training starts from, if no other is named."""
    path = config.reference.reference or config.model.model_name_or_path
    if in_memory(path):
        raise ConfigError(
            "an implicit critic is read beside its reference, and the model is in memory: give reference=DIR"
        )
    return str(Path(path).resolve()) if Path(path).exists() else path
