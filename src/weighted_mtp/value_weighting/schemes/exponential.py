"""Clipped exponentials of a credit per token, optionally whitened: what several schemes share."""

from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from weighted_mtp.checks import check_choice, check_number, check_temperature
from weighted_mtp.value_weighting.entropy_floor import entropy_floor_temperature
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme
from weighted_mtp.value_weighting.td_weighting import build_weights, check_clip_bounds
from weighted_mtp.value_weighting.whitening import EMAWhitener, whiten

Whitening = Literal["none", "batch", "ema"]


class Exponential(WeightingScheme):
    """Clipped exponential weights of a credit per token; a subclass says of which, in `token_credit`.

        w = clip(exp(c / beta), min_weight, max_weight),   c = credit, or its z-score

    Whole batch = micro-batches = ranks with whitening `none` and `ema`; `batch` uses the statistics of the
    micro-batch at hand. With `unit_mean` the clipped weights are divided by the running mean of earlier
    steps' weights, so that they average 1 and change the mix of tokens but not the step size.

    Source: Peng et al. 2019 (arXiv 1910.00177), Algorithm 1.

    Args:
        beta: temperature in the unit of the credit; None: 0.9, or 1 where the credit is whitened.
        min_weight: lower clip bound.
        max_weight: upper clip bound.
        whitening: `none`; `batch`: z-scores by this micro-batch; `ema`: by running statistics (`EMAWhitener`).
        entropy_floor: share of the greatest entropy that each sequence keeps, in [0, 1); raises beta where
            needed (`entropy_floor_temperature`); 0 switches it off.
        unit_mean: divide by the running mean of the weights.
        ema_decay: weight of the past in the running statistics, in [0, 1).

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> class Alternating(Exponential):
        ...     '''Credit 1 at even positions, 0 at odd ones.'''
        ...
        ...     def token_credit(self, signals):
        ...         return (torch.arange(signals.mask.shape[1]) % 2 == 0).float().expand(signals.mask.shape)
        >>> mask = torch.tensor([[True, True, False]])
        >>> weights = weigh(Alternating(beta=0.5), Signals(mask=mask, valid=mask[..., None]))
        >>> [round(w, 3) for w in weights.flatten().tolist()]
        [5.0, 1.0, 0.0]
    """

    def __init__(
        self,
        beta: float | None = None,
        min_weight: float = 0.1,
        max_weight: float = 5.0,
        whitening: Whitening = "none",
        entropy_floor: float = 0.0,
        unit_mean: bool = False,
        ema_decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.whitening = check_choice("whitening", whitening, ("none", "batch", "ema"))
        default_beta = 0.9 if whitening == "none" else 1.0
        self.beta = check_temperature("beta", default_beta if beta is None else beta)
        check_clip_bounds(min_weight, max_weight)
        self.min_weight, self.max_weight = min_weight, max_weight
        self.entropy_floor = check_number("entropy_floor", entropy_floor, 0.0, 1.0, "[)")
        self.whitener = EMAWhitener(ema_decay) if whitening == "ema" else None
        self.level = EMAWhitener(ema_decay) if unit_mean else None

    def token_credit(self, signals: Signals) -> Shaped[Tensor, "batch seq"]:
        """Credit of each token, prediction-aligned; what it is outside the mask does not matter."""
        raise NotImplementedError(f"{type(self).__name__} needs a method token_credit(signals)")

    def forward(self, signals: Signals) -> Tensor:
        """Weights per token."""
        credit = self.whitened(self.token_credit(signals), signals)
        beta = self.beta
        if self.entropy_floor > 0:
            tau = entropy_floor_temperature(credit, self.entropy_floor, beta, signals.mask, signals.segment_ids)
            credit, beta = credit / tau, 1.0
        weights = build_weights(credit, beta, self.min_weight, self.max_weight, mask=signals.mask)
        if self.level is None:
            return weights
        if self.level.training and signals.training:
            # weights of a credit that has no unit yet are not those of later steps
            settled = True if self.whitener is None else self.whitener.weight > 0
            self.level.observe(weights, signals.mask.bool() & settled)
        return weights / self.scale()

    def weight_range(self, bounded_values: bool) -> tuple[float, float] | None:
        """The clip bounds; none where the weights are divided by their mean."""
        return (self.min_weight, self.max_weight) if self.level is None else None

    def scale(self) -> Tensor | float:
        """What the clipped weights are divided by: their running mean with `unit_mean`, else 1."""
        if self.level is None:
            return 1.0
        # no step yet, or all weights 0
        return torch.where((self.level.weight > 0) & (self.level.mean > 0), self.level.mean, 1.0)

    def clip_bounds(self) -> tuple[Tensor | float, Tensor | float] | None:
        """The clip bounds, divided like the weights."""
        if self.level is None:
            return self.min_weight, self.max_weight
        # A number over a tensor may round otherwise than the weights did, which would then miss their bound.
        scale = torch.as_tensor(self.scale())
        low, high = (torch.full_like(scale, bound) / scale for bound in (self.min_weight, self.max_weight))
        return low, high

    def whitened(self, credit: Tensor, signals: Signals) -> Tensor:
        """The credit in the unit that `whitening` asks for."""
        if self.whitening == "batch":
            return whiten(credit, signals.mask)
        if self.whitener is None:
            return credit
        if self.whitener.training and signals.training:
            self.whitener.observe(credit, signals.mask)
        return self.whitener.whiten(credit, signals.mask)
