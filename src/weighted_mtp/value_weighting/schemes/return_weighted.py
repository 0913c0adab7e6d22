"""Reward-weighted regression: a sequence counts by what it earned, all its tokens alike."""

from jaxtyping import Float
from torch import Tensor

from weighted_mtp.value_weighting.protocol import Signals
from weighted_mtp.value_weighting.schemes.exponential import Exponential


class ReturnWeighted(Exponential):
    """Clipped exponential weights of the reward to come: what is left of `td` without a critic.

        w = clip(exp(G / beta), min_weight, max_weight),   G[t] = r[t] + gamma * G[n(t)],   G[T] = r[T]

    with n(t) the next valid position of the same episode and T its last valid one. A reward per row at gamma
    1 gives every token of the row the same weight: credit by sequence, against which credit by token is
    measured. Options, and whether it matters how a batch is split, as for `Exponential`.

    Source: Peters and Schaal 2007, "Reinforcement learning by reward-weighted regression for operational
    space control" (ICML); Peng et al. 2019 (arXiv 1910.00177), who start from it.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, reward = torch.tensor([[True, True], [True, False]]), torch.tensor([1.0, 0.0])
        >>> signals = Signals(mask=mask, valid=mask[..., None], rewards=reward)
        >>> [[round(w, 3) for w in row] for row in weigh(ReturnWeighted(), signals)[..., 0].tolist()]
        [[3.038, 3.038], [1.0, 0.0]]
    """

    requires = ("rewards",)

    def token_credit(self, signals: Signals) -> Float[Tensor, "batch seq"]:
        """The discounted reward to come: the advantage over values of 0."""
        return signals.returns
