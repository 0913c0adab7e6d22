"""The published scheme: clipped exponentials of TD errors or advantages, optionally whitened."""

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from weighted_mtp.checks import check_choice, check_number
from weighted_mtp.value_weighting.protocol import Signals
from weighted_mtp.value_weighting.schemes.exponential import Exponential, Whitening

Credit = Literal["td", "gae"]


class TD(Exponential):
    """Clipped exponential weights of the credit that a critic gives to each token.

        w = clip(exp(c / beta), min_weight, max_weight),   c = TD error or GAE, or its z-score

    Whether it matters how a batch is split: as for `Exponential`.

    Source: Peng et al. 2019 (arXiv 1910.00177) for the exponential; Schulman et al. 2015 (arXiv 1506.02438) for GAE.

    Args:
        beta: temperature in the unit of the credit; None: 0.9, or 1 where the credit is whitened.
        min_weight, max_weight, whitening, entropy_floor, unit_mean, ema_decay: as for `Exponential`.
        credit: `td`, or `gae`, which looks ahead by `lam`.
        lam: lambda of `gae`, in [0, 1].

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[True, True, True]])
        >>> values, reward = torch.tensor([[0.5, 0.7, 0.2]]), torch.tensor([0.0])
        >>> signals = Signals(mask=mask, valid=mask[..., None], values=values, rewards=reward)
        >>> [round(w, 3) for w in weigh(TD(beta=0.3), signals).flatten().tolist()]
        [1.948, 0.189, 0.513]
    """

    requires = ("values", "rewards")

    def __init__(
        self,
        beta: float | None = None,
        min_weight: float = 0.1,
        max_weight: float = 5.0,
        whitening: Whitening = "none",
        credit: Credit = "td",
        lam: float = 0.95,
        entropy_floor: float = 0.0,
        unit_mean: bool = False,
        ema_decay: float = 0.99,
    ) -> None:
        super().__init__(beta, min_weight, max_weight, whitening, entropy_floor, unit_mean, ema_decay)
        self.credit = check_choice("credit", credit, ("td", "gae"))
        self.lam = check_number("lam", lam, 0.0, 1.0)

    def weight_range(self, bounded_values: bool) -> tuple[float, float] | None:
        """clip(exp(+-1 / beta)) where TD errors lie in [-1, 1] (advantages then do too); else the clip bounds.

        Examples:
            >>> [round(w, 2) for w in TD().weight_range(True)], TD(beta=0.3).weight_range(True)
            ([0.33, 3.04], (0.1, 5.0))
        """
        clipped = super().weight_range(bounded_values)
        if clipped is None or not bounded_values or self.whitening != "none":
            return clipped
        furthest = math.exp(min(1 / self.beta, 700.0))  # a float64 holds no more
        low, high = clipped
        return min(max(low, 1 / furthest), high), max(min(high, furthest), low)

    def token_credit(self, signals: Signals) -> Float[Tensor, "batch seq"]:
        """TD errors or advantages."""
        return credit_of(signals, self.credit, self.lam)


def credit_of(signals: Signals, credit: str, lam: float) -> Float[Tensor, "batch seq"]:
    """Credit of every token: TD errors, or generalised advantages.

    Examples:
        >>> import torch
        >>> mask = torch.tensor([[True, True]])
        >>> values, reward = torch.tensor([[0.25, 0.5]]), torch.tensor([1.0])
        >>> signals = Signals(mask=mask, valid=mask[..., None], values=values, rewards=reward)
        >>> credit_of(signals, "td", 1.0).tolist(), credit_of(signals, "gae", 1.0).tolist()
        ([[0.25, 0.5]], [[0.75, 0.5]])
    """
    return signals.td_errors if credit == "td" else signals.advantages(lam)
