"""Gated credit: a critic's credit as far as it has shown skill, and the outcome alone for the rest."""

from jaxtyping import Float
from torch import Tensor

from weighted_mtp.checks import check_number, check_temperature
from weighted_mtp.value_weighting.protocol import Signals, required
from weighted_mtp.value_weighting.schemes.exponential import Exponential, Whitening


class Gated(Exponential):
    """Rejection sampling and whitened credit, mixed by the critic's skill out of fold.

        w = s * clip(exp(z / beta), min_weight, max_weight) + (1 - s) * R
        z = z-score of the critic's credit (its TD error, where it has none),   R = the episode's reward in [0, 1]

    s = 0 is training on right completions alone, s = 1 is `log_odds` (of a value head, `td` whitened). Whitening gives
    credit unit variance, signal or noise. If rho is the correlation of a standardised estimate with the truth, the
    best guess of the standardised truth is E[truth | z] = rho z (regression to the mean). So s is to be rho: the square
    root of the share of the outcome's deviance that the critic explains beyond prompt and length, on completions of
    prompts that it was not trained on; and of that the lower bound of a 95 % interval, so that chance opens no gate.
    The rest falls back on the outcome, not on 1, since that is what is known for certain. `wmtp score --cross_fit`
    measures s (`critic_skill`) into `skill.json`. Whole batch = micro-batches = ranks with whitening `none` and `ema`.

    Source: ours; Galton 1886, "Regression towards mediocrity in hereditary stature", for the shrinkage; McFadden 1974
    for the share of deviance.

    Args:
        skill: s, in [0, 1]; None: as measured for the critic that a run reads, else 0, with a warning.
        beta: as for `LogOdds`.
        min_weight, max_weight, whitening, ema_decay: as for `Exponential`.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, values = torch.ones(2, 2, dtype=torch.bool), torch.full((2, 2), 0.5)
        >>> credit, rewards = torch.tensor([[0.5, -1.0], [0.5, -1.0]]), torch.tensor([1.0, 0.0])
        >>> signals = Signals(mask=mask, valid=mask[..., None], values=values, credit=credit, rewards=rewards)
        >>> for skill in (0.0, 0.5):
        ...     weights = weigh(Gated(skill, whitening="none"), signals)[..., 0]
        ...     print([[round(w, 2) for w in row] for row in weights.tolist()])
        [[1.0, 1.0], [0.0, 0.0]]
        [[1.32, 0.68], [0.82, 0.18]]
    """

    requires = ("values", "rewards")

    def __init__(
        self,
        skill: float | None = None,
        beta: float = 1.0,
        min_weight: float = 0.1,
        max_weight: float = 5.0,
        whitening: Whitening = "ema",
        ema_decay: float = 0.99,
    ) -> None:
        super().__init__(check_temperature("beta", beta), min_weight, max_weight, whitening, ema_decay=ema_decay)
        self.skill = None if skill is None else check_number("skill", skill, 0.0, 1.0)

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """The bounds of the mixture."""
        s = self.skill or 0.0
        return s * self.min_weight, s * self.max_weight + 1 - s

    def clip_bounds(self) -> None:
        """None: what is clipped is one of two terms."""

    def token_credit(self, signals: Signals) -> Float[Tensor, "batch seq"]:
        """The critic's credit, or its TD error."""
        return signals.td_errors if signals.credit is None else signals.credit

    def forward(self, signals: Signals) -> Tensor:
        """Weights per token."""
        s = self.skill or 0.0
        return s * super().forward(signals) + (1 - s) * required(signals.outcomes, "outcomes").clamp(0.0, 1.0)
