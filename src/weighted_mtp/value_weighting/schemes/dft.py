"""Dynamic fine-tuning: a token teaches by the probability that the model gives it already."""

from torch import Tensor

from weighted_mtp.checks import working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required


class DFT(WeightingScheme):
    """The model's own probability of the token, without gradient.

        w = p = exp(-nll),   so that the gradient of w * nll is that of -p

    It takes from the gradient of the cross-entropy its factor 1 / p. Whole batch = micro-batches = ranks.

    Source: Wu et al. 2025, "On the Generalization of SFT: A Reinforcement Learning Perspective with Reward
    Rectification" (arXiv 2508.05629), their loss per token.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, nll = torch.tensor([[True, True]]), torch.tensor([[0.0, 0.6931472]])
        >>> weigh(DFT(), Signals(mask=mask, valid=mask[..., None], nll=nll[..., None])).flatten().tolist()
        [1.0, 0.5]
    """

    requires = ("nll",)

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """A probability."""
        return 0.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        nll = required(signals.nll, "nll")
        return (-nll.to(working_dtype(nll))).exp()
