"""Entropy-adaptive fine-tuning: a prediction teaches by how unsure the model is, whatever the token."""

from torch import Tensor

from weighted_mtp.checks import check_number, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required

NATS = 3.0  # about ln 20, which the authors divide by


class EAFT(WeightingScheme):
    """Entropy of the model's 20 likeliest tokens, renormalised, over 3 nats, to a power.

        w = (H / 3) ^ alpha,   H = -sum over the top 20 of q log q,   q = p / (sum of the top 20 of p)

    A model that is sure of another token is left alone. Since ln 20 is 2.996, w <= (ln 20 / 3) ^ alpha, just below
    1. Whole batch = micro-batches = ranks.

    Source: Diao et al. 2026, "Entropy-Adaptive Fine-Tuning: Resolving Confident Conflicts to Mitigate Forgetting"
    (arXiv 2601.02151), and the authors' loss in LLaMA-Factory, for the 3.

    Args:
        alpha: power, above 0.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, entropy = torch.tensor([[True, True]]), torch.tensor([[0.0, 1.5]])
        >>> signals = Signals(mask=mask, valid=mask[..., None], entropy_top20=entropy[..., None])
        >>> weigh(EAFT(alpha=2.0), signals).flatten().tolist()
        [0.0, 0.25]
    """

    requires = ("entropy_top20",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = check_number("alpha", alpha, 0.0, float("inf"), "()")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """Up to 1, all but .2 % of it."""
        return 0.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        entropy = required(signals.entropy_top20, "entropy_top20")
        # a rounding below 0 has no power
        return (entropy.to(working_dtype(entropy)).clamp(min=0.0) / NATS) ** self.alpha
