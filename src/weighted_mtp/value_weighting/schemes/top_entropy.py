"""High-entropy minority tokens: learn where the model is at a fork."""

from torch import Tensor

from weighted_mtp.checks import check_number
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required
from weighted_mtp.value_weighting.schemes.rho1 import top_share


class TopEntropy(WeightingScheme):
    """1 for the share of the predictions with the highest entropy, 0 for the rest.

        w = 1[H >= the (1 - share) quantile of H],   H = -sum over the vocabulary of p log p

    The share is taken of the valid predictions of each head in the micro-batch, as in the paper, so it depends on how
    a batch is split. The mean of the weights is the share: the loss stays divided by the count of all predictions.

    Source: Wang et al. 2025, "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement
    Learning for LLM Reasoning" (arXiv 2506.01939): 20 %, there of policy gradients.

    Args:
        share: share of the predictions to keep, in (0, 1]; rounded up.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, entropy = torch.tensor([[True, True, True]]), torch.tensor([[0.1, 2.0, 0.3]])
        >>> signals = Signals(mask=mask, valid=mask[..., None], entropy=entropy[..., None])
        >>> weigh(TopEntropy(), signals).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    requires = ("entropy",)

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        self.share = check_number("share", share, 0.0, 1.0, "(]")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """0 or 1."""
        return 0.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        return top_share(required(signals.entropy, "entropy"), signals.valid, self.share)
