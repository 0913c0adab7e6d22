"""Log-odds weights: a token counts by how much it moved a critic's log-odds of success."""

import math

from jaxtyping import Float, Shaped
from torch import Tensor

from weighted_mtp.checks import check_number, check_temperature, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, required
from weighted_mtp.value_weighting.schemes.exponential import Exponential, Whitening


class LogOdds(Exponential):
    """Clipped exponential weights of the log-odds that each token adds to success.

        w = clip(exp(c' / beta), min_weight, max_weight)
        c'[t] = credit[t] = log p(x[t+1] | prefix, right) - log p(x[t+1] | prefix, wrong), smoothed, whitened

    by Bayes' rule the change of logit P(success | prefix) at token t+1. Reads neither rewards nor values: what a
    completion's label has to say went into the critic. Whether it matters how a batch is split: as for `Exponential`.

    Source: Lin et al. 2024 (arXiv 2411.19943), cDPO, for the contrast of a model of right and one of wrong
    completions; Yuan et al. 2024 (arXiv 2412.01981) for credit as a log-ratio of two models; Peng et al. 2019
    (arXiv 1910.00177) for the exponential.

    Args:
        beta: temperature in the unit of the credit: standard deviations, or log-odds with whitening `none`.
        min_weight, max_weight, whitening: as for `Exponential`.
        smoothing: probability that a label is wrong, in [0, 0.5), by which both conditions are mixed
            (`smooth_log_odds`); bounds the credit by log((1 - smoothing) / smoothing).
        entropy_floor, unit_mean, ema_decay: as for `Exponential`.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, credit = torch.tensor([[True, True, True]]), torch.tensor([[0.5, -1.0, 9.0]])
        >>> signals = Signals(mask=mask, valid=mask[..., None], credit=credit)
        >>> [round(w, 3) for w in weigh(LogOdds(whitening="none"), signals).flatten().tolist()]
        [1.649, 0.368, 5.0]
        >>> weights = weigh(LogOdds(whitening="none", smoothing=0.25), signals)
        >>> [round(w, 3) for w in weights.flatten().tolist()]
        [1.279, 0.625, 2.999]
    """

    requires = ("credit",)

    def __init__(
        self,
        beta: float = 1.0,
        min_weight: float = 0.1,
        max_weight: float = 5.0,
        whitening: Whitening = "ema",
        smoothing: float = 0.0,
        entropy_floor: float = 0.0,
        unit_mean: bool = False,
        ema_decay: float = 0.99,
    ) -> None:
        beta = check_temperature("beta", beta)
        super().__init__(beta, min_weight, max_weight, whitening, entropy_floor, unit_mean, ema_decay)
        self.smoothing = check_number("smoothing", smoothing, 0.0, 0.5, "[)")

    def token_credit(self, signals: Signals) -> Float[Tensor, "batch seq"]:
        """The critic's credit, smoothed."""
        return smooth_log_odds(required(signals.credit, "credit"), self.smoothing)


def smooth_log_odds(credit: Shaped[Tensor, "*shape"], smoothing: float) -> Float[Tensor, "*shape"]:
    """Log-odds of evidence whose label is wrong with probability e.

        c' = log(((1 - e) exp(c) + e) / ((1 - e) + e exp(c)))
           = clamp(c, -B, B) + log1p(exp(-|c + B|)) - log1p(exp(-|c - B|)),   B = log((1 - e) / e)

    bounded by B and odd in c; e = 0 leaves c. The second form adds no large numbers that cancel: its error is
    a rounding of c', or about 1e-7, at any c. NaN stays NaN.

    Source: Hagenauer, Offer and Papke 1996, "Iterative decoding of binary block and convolutional codes",
    IEEE Transactions on Information Theory 42(2): the box-plus of two log-odds.

    Args:
        credit: log-odds, of any shape.
        smoothing: e, in [0, 0.5).

    Examples:
        >>> import torch
        >>> smooth_log_odds(torch.tensor([0.0, 1e4, -1e4]), 0.25)
        tensor([ 0.0000,  1.0986, -1.0986])
    """
    credit = credit.to(working_dtype(credit))
    if smoothing == 0:
        return credit
    bound = math.log1p(-smoothing) - math.log(smoothing)
    below, above = ((-(credit + sign * bound).abs()).exp().log1p() for sign in (1, -1))
    # in brackets, so that the rounding is odd as well
    return credit.clamp(-bound, bound) + (below - above)
