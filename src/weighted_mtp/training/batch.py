"""What a collated batch says about its predictions: which exist, how many, and of which completions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weighted_mtp.data import NO_ROW
from weighted_mtp.losses import mtp_targets


@dataclass(frozen=True)
class TokenBatch:
    """One micro-batch on its device, with the targets of every head.

    Everything weight-like is prediction-aligned: index t belongs to the prediction of token t+1 made at t.
    """

    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Int[Tensor, "batch seq"]
    labels: Int[Tensor, "batch seq"]
    n_future: int
    rewards: Float[Tensor, " batch"] | None = None
    row_ids: Int[Tensor, " batch"] | None = None
    prompt_ids: Int[Tensor, " batch"] | None = None
    weights: Float[Tensor, "batch seq"] | None = None
    values: Float[Tensor, "batch seq"] | None = None
    credit: Float[Tensor, "batch seq"] | None = None

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Tensor], n_future: int) -> "TokenBatch":
        """Takes the collator's tensors; what the rows did not carry stays None."""
        optional = ("rewards", "row_ids", "prompt_ids", "weights", "values", "credit")
        return cls(
            inputs["input_ids"],
            inputs["attention_mask"],
            inputs["labels"],
            n_future,
            **{name: inputs.get(name) for name in optional},
        )

    @cached_property
    def targets(self) -> Int[Tensor, "batch seq n_future"]:
        """Token that head k predicts from t: labels[t+1+k], -100 where there is none."""
        return mtp_targets(self.labels, self.n_future)

    @cached_property
    def valid(self) -> Bool[Tensor, "batch seq n_future"]:
        """True where a head has something to predict."""
        return self.targets != -100

    @property
    def mask(self) -> Bool[Tensor, "batch seq"]:
        """The prediction mask: True where the next token is to be learned."""
        return self.valid[..., 0]

    def input_tokens(self) -> Int[Tensor, ""]:
        """Tokens read, without those of `NO_ROW`."""
        tokens = self.attention_mask.sum(1)
        return tokens.sum() if self.row_ids is None else torch.where(self.row_ids == NO_ROW, 0, tokens).sum()


@dataclass(frozen=True)
class BatchCounts:
    """Global denominators of one optimizer step: summed over its micro-batches and over all processes.

    They come from the labels alone, before the first backward pass, so that a batch equals its micro-batches
    and its ranks.
    """

    predictions: Tensor
    positions: Tensor
    pairs: Tensor
    rows: Tensor

    @classmethod
    def of(cls, batch: TokenBatch) -> "BatchCounts":
        """Counts one micro-batch: valid predictions of all heads, value positions, right-wrong pairs of a prompt, rows
        with a prediction."""
        return cls(batch.valid.sum(), batch.mask.sum(), _count_pairs(batch), batch.mask.any(1).sum())

    @classmethod
    def total(cls, counts: list["BatchCounts"]) -> "BatchCounts":
        """Sums over micro-batches."""
        return cls(*torch.stack([c.stacked() for c in counts]).sum(0).unbind())

    def stacked(self) -> Tensor:
        """The counts as one tensor, for one reduction over processes."""
        return torch.stack([self.predictions, self.positions, self.pairs, self.rows])


def _count_pairs(batch: TokenBatch) -> Tensor:
    """Right-wrong pairs of completions of the same prompt within the micro-batch."""
    if batch.rewards is None or batch.prompt_ids is None:
        return batch.mask.sum() * 0
    has_positions = batch.mask.any(-1)
    right, wrong = (batch.rewards > 0.5) & has_positions, (batch.rewards <= 0.5) & has_positions
    same_prompt = batch.prompt_ids[:, None] == batch.prompt_ids[None, :]
    return (same_prompt & right[:, None] & wrong[None, :]).sum()
