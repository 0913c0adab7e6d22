"""Weighted REINFORCE: wrong completions are taught away, and right ones taught a little."""

import math

import torch
from torch import Tensor

from weighted_mtp.checks import check_number, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required

LARGEST = 20.0  # log-ratios end here, for the sake of float32


class WReinforce(WeightingScheme):
    """A small weight for right completions, -1 for wrong ones.

        w = A = right * R - (1 - R),   R = the episode's reward, clipped to [0, 1]
        with clip e:  w = A * rho where A > 0 and rho <= 1 + e, or A < 0 and rho >= 1 - e, else 0
                      rho = exp(reference nll - nll)

    The second is the gradient of the clipped surrogate that the authors train, max(-A rho, -A clip(rho, 1 - e, 1 + e)):
    their guard, which needs the policy that wrote the rows as the reference (their e is .2). Without it the rows count
    as the model's own, rho = 1, and `floor` alone is the guard. Rewards between 0 and 1 are ours. Whole batch =
    micro-batches = ranks.

    Source: Zhu et al. 2025, "The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning" (arXiv
    2506.01347), W-REINFORCE, lambda .1; Schulman et al. 2017 (arXiv 1707.06347) for the clip.

    Args:
        right: lambda, the weight of right completions, at least 0; 0 learns from wrong ones alone (NSR).
        clip: e, in (0, 1); None: no ratio, and no reference is read.
        floor: probability below which a token is pushed down no further (`stop_at_floor`), in (0, 1).

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, nll = torch.tensor([[True, True], [True, True]]), torch.tensor([[1.0, 6.0], [1.0, 6.0]])
        >>> signals = Signals(mask=mask, valid=mask[..., None], rewards=torch.tensor([1.0, 0.0]), nll=nll[..., None])
        >>> [[round(w, 3) for w in row] for row in weigh(WReinforce(), signals)[..., 0].tolist()]
        [[0.1, 0.1], [-1.0, 0.0]]
    """

    def __init__(self, right: float = 0.1, clip: float | None = None, floor: float = 0.01) -> None:
        super().__init__()
        self.right = check_number("right", right, 0.0, float("inf"), "[)")
        self.clip = None if clip is None else check_number("clip", clip, 0.0, 1.0, "()")
        self.floor = check_number("floor", floor, 0.0, 1.0, "()")
        self.requires = ("outcomes", "nll") if clip is None else ("outcomes", "nll", "reference_nll")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """-1 to lambda; with a clip times what rho may be, which has no bound upwards that would bind."""
        return (-1.0, self.right) if self.clip is None else (-math.exp(LARGEST), self.right * (1.0 + self.clip))

    def forward(self, signals: Signals) -> Tensor:
        """Weights per token, or with a clip per prediction."""
        right = required(signals.outcomes, "outcomes").clamp(0.0, 1.0)
        advantage = self.right * right - (1.0 - right)
        if self.clip is None:
            return advantage.expand(signals.mask.shape)
        reference = required(signals.reference_nll, "reference_nll")
        reference = reference.to(working_dtype(reference))
        ratio = (reference - required(signals.nll, "nll").to(reference.dtype)).clamp(max=LARGEST).exp()
        advantage = advantage[..., None]
        beyond = ((advantage > 0) & (ratio > 1.0 + self.clip)) | ((advantage < 0) & (ratio < 1.0 - self.clip))
        return torch.where(beyond, 0.0, advantage * ratio)
