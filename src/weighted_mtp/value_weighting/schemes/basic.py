"""The schemes that need no signal of their own."""

import torch
from torch import Tensor

from weighted_mtp.checks import check_number, working_dtype
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

    Whole batch = micro-batches = ranks.

    Args:
        floor: probability below which a negative weight pushes no further (`stop_at_floor`), in (0, 1); None, where
            the column has no negative weight.

    Examples:
        >>> mask = torch.tensor([[True, True]])
        >>> Column()(Signals(mask=mask, valid=mask[..., None], weights=torch.tensor([[2, 3]]))).tolist()
        [[2.0, 3.0]]
    """

    column = "weights"

    def __init__(self, floor: float | None = None) -> None:
        super().__init__()
        self.floor = None if floor is None else check_number("floor", floor, 0.0, 1.0, "()")
        self.requires = (self.column,) if floor is None else (self.column, "nll")

    def forward(self, signals: Signals) -> Tensor:
        """The column itself."""
        weights = required(getattr(signals, self.column), self.column)
        return weights.to(working_dtype(weights))
