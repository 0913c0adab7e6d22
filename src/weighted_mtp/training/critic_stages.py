"""Stage 1 for the critics that are language models: what they minimise. Their values are read at evaluation only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.losses import implicit_reward_loss, value_bce
from weighted_mtp.models import UNTOLD, MTPModel
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.critics import (
    GenerativeCritic,
    ImplicitCritic,
    at_last_prompt_token,
    next_token_nll,
    prior_of,
)
from weighted_mtp.training.stages import Stage


@dataclass
class GenerativeStage(Stage):
    """Cross-entropy of every completion under its own label.

    Args:
        learned_prior: also learn P(success | prompt) from the state of the last prompt token, in a pass of each row
            that is told nothing; otherwise the prior is the share of right completions.
    """

    learned_prior: bool = False

    def forward(self, model: torch.nn.Module, batch: TokenBatch) -> dict[str, Tensor]:
        """States under the label, and value logits that have not seen it."""
        assert batch.rewards is not None, "the collator always gives rewards"
        told = (batch.rewards > 0.5).long()
        if not self.learned_prior:
            return model(batch.input_ids, batch.attention_mask, condition=told)
        outputs = model(
            batch.input_ids.repeat(2, 1),
            batch.attention_mask.repeat(2, 1),
            condition=torch.cat([told, torch.full_like(told, UNTOLD)]),
        )
        rows = len(told)
        return {
            "hidden_states": outputs["hidden_states"][:rows],
            "value_logits": outputs["value_logits"][rows:],
        }

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor | None:
        """Cross-entropy of the label at the last prompt token, where the prior is learned."""
        if not self.learned_prior:
            return None
        assert batch.rewards is not None, "the collator always gives rewards"
        logits = at_last_prompt_token(outputs["value_logits"].squeeze(-1), batch)[:, None]
        has_tokens = batch.mask.any(1, keepdim=True)
        return value_bce(logits, batch.rewards[:, None], has_tokens, normalizer=self.value_normalizer(counts))

    def value_normalizer(self, counts: BatchCounts) -> Tensor:
        """One label a row."""
        return counts.rows

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        return {} if model.training else GenerativeCritic(model).judge(batch)._asdict()


@dataclass
class ImplicitStage(Stage):
    """Cross-entropy of the label against the log-ratio to a frozen reference; no language-model loss.

    Args:
        reference: where the log-ratio is 0; the trained model starts from it.
        beta: log-odds per nat of log-ratio.
    """

    lm_coef: float = 0.0
    reference: MTPModel | None = None
    beta: float = 0.05

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor:
        """See `implicit_reward_loss`."""
        assert batch.rewards is not None, "the collator always gives rewards"
        return implicit_reward_loss(
            outputs["hidden_states"][..., :1, :],
            targets=batch.targets[..., :1],
            reference_nll=next_token_nll(self._reference(), batch)[..., None],
            rewards=batch.rewards,
            prior=prior_of(model),
            beta=self.beta,
            normalizer=self.value_normalizer(counts),
            **model.output_head(),
        )

    def value_normalizer(self, counts: BatchCounts) -> Tensor:
        """One label a row."""
        return counts.rows

    def frozen_models(self) -> list[MTPModel]:
        """The reference."""
        return [self._reference()]

    def _reference(self) -> MTPModel:
        assert self.reference is not None, "the stage is built with a reference"
        return self.reference

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        if model.training:
            return {}
        return ImplicitCritic(model, self._reference(), self.beta).judge(batch)._asdict()
