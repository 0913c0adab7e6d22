"""What each stage signals: the only place where stages 0 to 3 differ.

| stage        | signals beyond the mask               | value loss                  | default scheme |
|--------------|---------------------------------------|-----------------------------|----------------|
| 0 baseline   | columns of the data                   | none                        | uniform        |
| 1 critic     | values                                | value_coef * its objective  | uniform        |
| 2 verifiable | values (own head, detached, or critic)| value_coef * its objective  | td             |
| 3 rho1       | nll of the model and of a reference   | none                        | rho1           |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.losses import mtp_nll, pairwise_ranking, value_bce, value_mse
from weighted_mtp.models import MTPModel
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.critics import Critic
from weighted_mtp.value_weighting import Signals, align_to_heads, compute_lambda_returns


@dataclass
class Stage:
    """Stage 0, baseline, and the base of the others: signals from the batch alone, no value loss.

    Args:
        lm_coef: weight of the language-model loss.
        value_coef: weight of the value loss.
        gamma: discount per token, in [0, 1].
    """

    lm_coef: float = 1.0
    value_coef: float = 0.0
    gamma: float = 1.0

    supplies: tuple[str, ...] = ("rewards", "generator")

    def forward(self, model: torch.nn.Module, batch: TokenBatch) -> dict[str, Tensor]:
        """The trained model's outputs, through whatever wraps it."""
        return model(batch.input_ids, batch.attention_mask)

    def signals(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel, generator: torch.Generator
    ) -> Signals:
        """Everything that a weighting scheme may read about this batch, detached."""
        return Signals(
            mask=batch.mask,
            valid=batch.valid,
            rewards=batch.rewards,
            weights=batch.weights,
            gamma=self.gamma,
            generator=generator,
            **self._known(batch, outputs, model),
        )

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor | None:
        """Objective of the value head, or None where none is trained."""
        return None

    def frozen_models(self) -> list[MTPModel]:
        """Models that are read and never trained."""
        return []

    def value_normalizer(self, counts: BatchCounts) -> Tensor:
        """The count that the value loss is divided by."""
        return counts.positions

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        """The stage's own signals; pre-scored values and credit of the data are passed on."""
        return {"values": batch.values, "credit": batch.credit}


@dataclass
class ValueStage(Stage):
    """Stages 1 and 2: values from the model's own head (detached), from a frozen critic, or from the data.

    Args:
        critic: separate frozen critic, of any kind; None reads the trained model's own value head.
        value_objective: mse, bce, pairwise or lambda.
        lam: lambda of the lambda-returns, in [0, 1].
    """

    critic: Critic | None = None
    value_objective: str = "mse"
    lam: float = 0.95
    supplies: tuple[str, ...] = ("rewards", "generator", "values")

    def __post_init__(self) -> None:
        if self.critic is not None and self.critic.gives_credit:
            self.supplies = (*self.supplies, "credit")

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        if batch.values is not None:
            return super()._known(batch, outputs, model)
        if self.critic is not None:
            return self.critic.judge(batch)._asdict()
        return {"values": outputs["values"].detach().squeeze(-1)}

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor | None:
        """MSE or cross-entropy to the terminal reward, MSE to lambda-returns, or ranking within a prompt."""
        if "values" not in outputs:
            return None
        values, logits = outputs["values"].squeeze(-1), outputs["value_logits"].squeeze(-1)
        assert batch.rewards is not None, "the collator always gives rewards"
        if self.value_objective == "pairwise":
            assert batch.prompt_ids is not None, "the collator always gives prompt_ids"
            return pairwise_ranking(
                logits, batch.rewards, batch.prompt_ids, batch.mask, normalizer=self.value_normalizer(counts)
            )
        if self.value_objective == "lambda":
            returns = compute_lambda_returns(values.detach(), batch.rewards, batch.mask, self.gamma, self.lam)
        else:
            returns = batch.rewards[:, None].expand_as(values)
        if self.value_objective == "bce":
            return value_bce(logits, returns, batch.mask, normalizer=self.value_normalizer(counts))
        return value_mse(values, returns, batch.mask, normalizer=self.value_normalizer(counts))

    def value_normalizer(self, counts: BatchCounts) -> Tensor:
        """Pairs for the ranking objective, positions for the others."""
        return counts.pairs if self.value_objective == "pairwise" else counts.positions

    def frozen_models(self) -> list[MTPModel]:
        """Those of the separate critic, if there is one."""
        return [] if self.critic is None else self.critic.models()


@dataclass
class Rho1Stage(Stage):
    """Stage 3: the excess of the model's loss over a frozen reference's, prediction by prediction.

    A reference with a single head gives every head k the next-token loss of the token that head k predicts:
    the reference then sees k tokens more than the head, so the excess is an upper bound.
    """

    reference: MTPModel | None = None
    supplies: tuple[str, ...] = ("rewards", "generator", "nll", "reference_nll")

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        nll = mtp_nll(outputs["hidden_states"], targets=batch.targets, **model.output_head())
        return super()._known(batch, outputs, model) | {
            "nll": nll,
            "reference_nll": self._reference_nll(batch),
        }

    @torch.no_grad()
    def _reference_nll(self, batch: TokenBatch) -> Tensor:
        reference = self.reference
        assert reference is not None, "the stage is built with a reference"
        outputs = reference(batch.input_ids, batch.attention_mask)
        heads = min(reference.n_future, batch.n_future)
        hidden = outputs["hidden_states"][..., :heads, :]
        nll = mtp_nll(hidden, targets=batch.targets[..., :heads], **reference.output_head())
        if heads == batch.n_future:
            return nll
        return align_to_heads(nll[..., 0], batch.n_future)

    def frozen_models(self) -> list[MTPModel]:
        """The reference."""
        return [] if self.reference is None else [self.reference]
