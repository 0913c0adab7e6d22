"""Rho-1: teach only the predictions that a reference model finds worth learning."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from weighted_mtp.checks import check_choice, check_number, check_shape, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required

Mode = Literal["signed", "absolute", "reference"]
PARTS = 1_000_000


class Rho1(WeightingScheme):
    """Selects the predictions with the highest scores: weight 1 for the kept share, 0 for the rest.

        signed:     score = nll - reference nll    (the published excess loss)
        absolute:   score = |nll - reference nll|
        reference:  score = -reference nll         (what the reference model predicts best)

    The share is taken of the valid predictions of each head in the micro-batch, so it depends on how a batch
    is split. The mean of the weights is `keep_fraction`: a loss divided by the count of all predictions is
    that much smaller than the published one, which divides by the count of the kept ones.

    Source: Lin et al. 2024, Rho-1 (arXiv 2404.07965), sec. 2.2: excess loss and selective language modelling.

    Args:
        keep_fraction: share of the valid predictions of each head to keep, in (0, 1]; rounded up.
        mode: what the score is made of; `reference` does not read the model's own loss.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[True, True, True, False]])
        >>> nll, reference = torch.tensor([[3.0, 1.0, 2.0, 9.0]]), torch.tensor([[0.5, 1.0, 4.0, 0.0]])
        >>> losses = {"nll": nll[..., None], "reference_nll": reference[..., None]}
        >>> signals = Signals(mask=mask, valid=mask[..., None], **losses)
        >>> weigh(Rho1(keep_fraction=0.34), signals).flatten().tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, keep_fraction: float = 0.6, mode: Mode = "signed") -> None:
        super().__init__()
        self.keep_fraction = check_number("keep_fraction", keep_fraction, 0.0, 1.0, "(]")
        self.mode = check_choice("mode", mode, ("signed", "absolute", "reference"))
        self.requires = ("reference_nll",) if mode == "reference" else ("nll", "reference_nll")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """0 or 1."""
        return 0.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        reference = required(signals.reference_nll, "reference_nll")
        reference = reference.to(working_dtype(reference))
        if self.mode == "reference":
            return top_share(-reference, signals.valid, self.keep_fraction)
        excess = required(signals.nll, "nll").to(reference.dtype) - reference
        return top_share(excess.abs() if self.mode == "absolute" else excess, signals.valid, self.keep_fraction)


def top_share(
    scores: Shaped[Tensor, "batch seq n_future"], valid: Shaped[Tensor, "batch seq n_future"], share: float
) -> Float[Tensor, "batch seq n_future"]:
    """1 for the highest scores of each head, 0 for the others.

    Of N valid predictions of a head, ceil(share * N) are kept; of equal scores the earlier in the batch. A
    NaN score stays NaN and takes no part.

    Source: Lin et al. 2024, Rho-1 (arXiv 2404.07965), sec. 2.2.

    Args:
        scores: higher is kept.
        valid: non-zero where a prediction has a target.
        share: share to keep, in (0, 1], to a millionth.

    Examples:
        >>> scores = torch.tensor([[[1.0], [3.0], [2.0], [9.0]]])
        >>> top_share(scores, torch.tensor([[[1], [1], [1], [0]]]), 0.5).flatten().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    check_shape("valid", valid, tuple(scores.shape), "the shape of scores")
    share = check_number("share", share, 0.0, 1.0, "(]")
    scores = torch.where(valid.bool(), scores.to(working_dtype(scores)), 0.0)
    kept = _highest(scores.flatten(0, 1), (valid.bool() & ~scores.isnan()).flatten(0, 1), share)
    return torch.where(scores.isnan(), torch.nan, kept.view_as(scores).to(scores.dtype))


def _highest(
    scores: Float[Tensor, "rows n_future"], counted: Bool[Tensor, "rows n_future"], share: float
) -> Bool[Tensor, "rows n_future"]:
    # counts in whole numbers: 0.6 * 5 is a little more than 3 in floating point
    keep = -(-counted.sum(0) * round(share * PARTS) // PARTS)
    order = torch.where(counted, scores, -torch.inf).sort(dim=0, descending=True, stable=True).indices
    counted_in_order = counted.gather(0, order)
    kept_in_order = counted_in_order & (counted_in_order.cumsum(0) <= keep)
    return torch.zeros_like(counted).scatter(0, order, kept_in_order)
