"""ProFit: learn only the tokens that the model finds likely already."""

import torch
from torch import Tensor

from weighted_mtp.checks import check_number, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required


class ProFit(WeightingScheme):
    """1 for a token whose probability is above a threshold, 0 for the others.

        w = 1[p > tau],   p = exp(-nll)

    A token of low probability is taken for one of many ways to say the same. The loss stays divided by the count of
    all predictions, as in the authors' code, which keeps p = tau too. Whole batch = micro-batches = ranks.

    Source: Liu et al. 2026, "ProFit: Leveraging High-Value Signals in SFT via Probability-Guided Token Selection"
    (arXiv 2601.09195); tau .1 from the authors' code.

    Args:
        tau: threshold, in [0, 1).

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, nll = torch.tensor([[True, True]]), torch.tensor([[0.7, 3.0]])
        >>> weigh(ProFit(), Signals(mask=mask, valid=mask[..., None], nll=nll[..., None])).flatten().tolist()
        [1.0, 0.0]
    """

    requires = ("nll",)

    def __init__(self, tau: float = 0.1) -> None:
        super().__init__()
        self.tau = check_number("tau", tau, 0.0, 1.0, "[)")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """0 or 1."""
        return 0.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction; NaN stays NaN."""
        nll = required(signals.nll, "nll")
        nll = nll.to(working_dtype(nll))
        return torch.where(nll.isnan(), nll, ((-nll).exp() > self.tau).to(nll.dtype))
