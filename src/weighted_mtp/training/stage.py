"""Stage 0, baseline, and the base of the others; `stage_table` lists them all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from weighted_mtp.losses import MTPLikelihoods, mtp_likelihoods, mtp_nll
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.value_weighting import Signals, align_to_heads


@dataclass
class Stage:
    """Stage 0, baseline, and the base of the others: signals from the batch alone, no value loss."""

    lm_coef: float = 1.0
    """Weight of the language-model loss."""
    value_coef: float = 0.0
    """Weight of the value loss."""
    gamma: float = 1.0
    """Discount per token, in [0, 1]."""
    supplies: tuple[str, ...] = ("rewards", "outcomes", "generator", "nll", "entropy", "entropy_top20")
    """Names of the signals that a scheme may ask for."""
    reference: MTPModel | None = None
    """Frozen model whose loss is `reference_nll`."""
    wanted: tuple[str, ...] = ()
    """What the scheme requires; likelihoods per prediction are computed only where they are named."""
    counted: ClassVar[str] = "positions"
    """Which of `BatchCounts` the value loss is divided by."""

    needs_value_head: ClassVar[bool] = False
    """Whether the trained model carries a value head, to be learned or read."""
    undiscounted: ClassVar[str | None] = None
    """Why gamma must be 1, if it must."""

    @property
    def reads_reference(self) -> bool:
        """Whether it, or its critic, is compared with the run's reference."""
        return self.reference is not None

    def prepare(self, model: MTPModel, rows: Dataset) -> None:
        """Readies a model for its training on these rows, before the first step."""

    def judged_by(self, model: MTPModel, rows: Dataset) -> Critic | None:
        """The critic by whose word these rows are weighed, which must then know something; None where there is none."""
        return None

    def forward(self, model: torch.nn.Module, batch: TokenBatch) -> dict[str, Tensor]:
        """The trained model's outputs, through whatever wraps it; hidden states lie as `batch.as_hidden` says."""
        return model(**batch.rows)

    def likelihoods(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> MTPLikelihoods | None:
        """What the model thinks of every prediction, where the scheme reads it; the loss is then made of it too."""
        if not {"nll", "entropy", "entropy_top20"} & set(self.wanted):
            return None
        entropies = {name: name in self.wanted for name in ("entropy", "entropy_top20")}
        targets = batch.hidden_targets
        return mtp_likelihoods(outputs["hidden_states"], targets=targets, **entropies, **model.output_head())

    def signals(
        self,
        batch: TokenBatch,
        outputs: Mapping[str, Tensor],
        model: MTPModel,
        generator: torch.Generator,
        likelihoods: MTPLikelihoods | None = None,
    ) -> Signals:
        """Everything that a weighting scheme may read about this batch, detached; likelihoods are made unless given."""
        if likelihoods is None:
            likelihoods = self.likelihoods(batch, outputs, model)
        made = {name: getattr(likelihoods, name, None) for name in ("nll", "entropy", "entropy_top20")}
        known: dict[str, Any] = {name: batch.by_row(signal) for name, signal in made.items() if signal is not None}
        return Signals(
            mask=batch.mask,
            valid=batch.valid,
            rewards=batch.paid,
            row_rewards=batch.rewards,
            pass_rate=batch.pass_rate,
            steps=batch.steps,
            weights=batch.weights,
            gamma=self.gamma,
            generator=generator,
            **self._known(batch, outputs, model),
            **known,
            reference_nll=self._reference_nll(batch),
        )

    @property
    def all_supplies(self) -> tuple[str, ...]:
        """`supplies`, and the loss of the reference where there is one."""
        return self.supplies if self.reference is None else (*self.supplies, "reference_nll")

    @torch.no_grad()
    def _reference_nll(self, batch: TokenBatch) -> Tensor | None:
        """[batch, seq, n_future], in nats; without a reference, the policy's. One head gives head k the next-token loss
        of the token that k predicts: it sees k tokens more, so the excess over it is an upper bound."""
        if "reference_nll" not in self.wanted:
            return None
        if self.reference is None:
            return None if batch.logprobs is None else align_to_heads(-batch.logprobs, batch.n_future)
        heads = min(self.reference.n_future, batch.n_future)
        hidden = self.reference(**batch.rows)["hidden_states"][..., :heads, :]
        targets = batch.hidden_targets[..., :heads]
        nll = batch.by_row(mtp_nll(hidden, targets=targets, **self.reference.output_head()))
        return nll if heads == batch.n_future else align_to_heads(nll[..., 0], batch.n_future)

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor | None:
        """Objective of the value head, or None where none is trained."""
        return None

    def frozen_models(self) -> list[MTPModel]:
        """Models that are read and never trained."""
        return [] if self.reference is None else [self.reference]

    def value_normalizer(self, counts: BatchCounts) -> Tensor:
        """The count that the value loss is divided by."""
        return getattr(counts, self.counted)

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        """The stage's own signals; pre-scored values and credit of the data are passed on."""
        return {"values": batch.values, "credit": batch.credit}


def load_reference(
    config: RunConfig, path: str, tokenizer: PreTrainedTokenizerBase, n_future: int | None = None
) -> MTPModel:
    """A frozen model to be compared with, as a plain language model."""
    require_same_tokenizer(path, tokenizer, "reference")
    settings = config.model
    return MTPModel.from_pretrained(
        path, n_future=n_future, critic=False, dtype=settings.dtype, attn_implementation=settings.attn_implementation
    )


def require_same_tokenizer(path: str, tokenizer: PreTrainedTokenizerBase, role: str) -> None:
    """Raises ConfigError unless a critic or reference reads the same tokens as the trained model."""
    other = load_tokenizer(path)
    if other.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"the {role} {path} has another tokenizer ({len(other)} tokens, the model's has {len(tokenizer)}): token "
            f"by token they cannot be compared; give a {role} that was made from the same base model"
        )
