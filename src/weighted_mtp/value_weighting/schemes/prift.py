"""PriFT: a token teaches by the probability that a frozen reference gives it."""

from torch import Tensor

from weighted_mtp.checks import working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required


class PriFT(WeightingScheme):
    """The reference's probability of the token: `dft` by a model that training does not move.

        w = p_ref = exp(-reference nll)

    The reference is the model that training starts from. Whole batch = micro-batches = ranks.

    Source: Wang et al. 2026, "PriFT: Prior-Support Guided Supervised Fine-Tuning" (arXiv 2606.09396): PriFT-prob.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, nll = torch.tensor([[True, True]]), torch.tensor([[0.0, 0.6931472]])
        >>> weigh(PriFT(), Signals(mask=mask, valid=mask[..., None], reference_nll=nll[..., None])).flatten().tolist()
        [1.0, 0.5]
    """

    requires = ("reference_nll",)

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """A probability."""
        return 0.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        nll = required(signals.reference_nll, "reference_nll")
        return (-nll.to(working_dtype(nll))).exp()
