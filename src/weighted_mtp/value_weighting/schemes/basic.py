"""The schemes that need no signal of their own."""

import torch
from torch import Tensor

from weighted_mtp.checks import working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required


class Uniform(WeightingScheme):
    """Weight 1 everywhere: plain fine-tuning, the baseline of every comparison.

    Source: the baseline of Gloeckle et al. 2024 (arXiv 2404.19737).

    Examples:
        >>> mask = torch.tensor([[True, False]])
        >>> Uniform()(Signals(mask=mask, valid=mask[..., None])).tolist()
        [[1.0, 1.0]]
    """

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """1."""
        return 1.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Ones."""
        return torch.ones_like(signals.mask, dtype=torch.float32)


class Column(WeightingScheme):
    """Weights that came with the data, taken as they are: scored once, ahead of training.

    Examples:
        >>> mask = torch.tensor([[True, True]])
        >>> Column()(Signals(mask=mask, valid=mask[..., None], weights=torch.tensor([[2, 3]]))).tolist()
        [[2.0, 3.0]]
    """

    requires = ("weights",)

    def forward(self, signals: Signals) -> Tensor:
        """The column itself."""
        weights = required(signals.weights, "weights")
        return weights.to(working_dtype(weights))
