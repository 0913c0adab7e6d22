"""Importance-weighted fine-tuning: what the model has come to prefer over its reference teaches more."""

from typing import Literal

import torch
from torch import Tensor

from weighted_mtp.checks import check_choice, check_number, working_dtype
from weighted_mtp.value_weighting.episodes import episode_index, episode_sum
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required


class IwSFT(WeightingScheme):
    """Clipped likelihood ratio of the model to its reference, of the completion or of each token.

        row:    w = clip(exp(temperature * mean of c over the episode), min_weight, max_weight)
        token:  w = clip(exp(temperature * c), min_weight, max_weight),   c = reference nll - nll

    Made for curated rows: train with `keep: right`. The reference is the model that training starts from, so that all
    weights begin at 1. The mean is taken head by head. Whole batch = micro-batches = ranks.

    Source: Qin and Springenberg 2025, "Supervised Fine Tuning on Curated Data is Reinforcement Learning (and can be
    improved)" (arXiv 2507.12856); clips, and the mean where the paper has a sum, from the authors' code, which
    trains with the row form at temperature 1.

    Args:
        form: `row`, or `token`.
        temperature: power of the ratio, finite and above 0; the authors' token form has none (1).
        min_weight: lower clip bound; None: 0 for rows, .2 for tokens.
        max_weight: upper clip bound; None: 16 for rows, 1.8 for tokens.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, nll = torch.tensor([[True, True]]), torch.tensor([[0.0, 1.0]])
        >>> losses = {"nll": nll[..., None], "reference_nll": torch.ones(1, 2, 1)}
        >>> signals = Signals(mask=mask, valid=mask[..., None], **losses)
        >>> for form in ("row", "token"):
        ...     print([round(w, 3) for w in weigh(IwSFT(form), signals).flatten().tolist()])
        [1.649, 1.649]
        [1.8, 1.0]
    """

    requires = ("nll", "reference_nll")

    def __init__(
        self,
        form: Literal["row", "token"] = "row",
        temperature: float = 1.0,
        min_weight: float | None = None,
        max_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.form = check_choice("form", form, ("row", "token"))
        self.temperature = check_number("temperature", temperature, 0.0, float("inf"), "()")
        low, high = (0.0, 16.0) if form == "row" else (0.2, 1.8)
        self.max_weight = check_number(
            "max_weight", high if max_weight is None else max_weight, 0.0, float("inf"), "()"
        )
        self.min_weight = check_number("min_weight", low if min_weight is None else min_weight, 0.0, self.max_weight)

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """The clip bounds."""
        return self.min_weight, self.max_weight

    def clip_bounds(self) -> tuple[float, float]:
        """The clip bounds."""
        return self.min_weight, self.max_weight

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        reference = required(signals.reference_nll, "reference_nll")
        reference = reference.to(working_dtype(reference))
        ratio = torch.where(signals.valid, reference - required(signals.nll, "nll").to(reference.dtype), 0.0)
        if self.form == "row":
            index = None if signals.segment_ids is None else episode_index(signals.segment_ids)
            heads = zip(ratio.unbind(-1), signals.valid.to(ratio.dtype).unbind(-1), strict=True)
            means = [episode_sum(c, index) / episode_sum(counted, index).clamp(min=1.0) for c, counted in heads]
            ratio = torch.stack(means, -1).expand_as(ratio)
        return (self.temperature * ratio).exp().clamp(self.min_weight, self.max_weight)
