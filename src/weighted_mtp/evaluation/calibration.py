"""Are a critic's values probabilities? Predicted against observed rates of success."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ReliabilityBin:
    """The values of one bin and how often they came true."""

    low: float
    """Lower edge, in [0, 1]; outside the bin, except in the first one."""
    high: float
    """Upper edge, in [0, 1]; inside the bin."""
    mean_value: float
    """Mean of the clipped values in the bin: the predicted rate."""
    observed_rate: float
    """Share of right outcomes."""
    count: int
    """How many values, at least 1."""


def reliability(values: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Predicted and observed rate in bins of equal width over [0, 1], empty ones left out.

        B_m = {i : (m - 1) / M < V[i] <= m / M},   m = 1..M;   0 belongs to the first
        mean value = mean of V over B_m,   observed rate = mean of R over B_m

    Values are clipped to [0, 1] first, since a head with identity link can leave it: read as a probability,
    1.2 says 1.

    Source: Guo et al. 2017, arXiv 1706.04599, section 2.

    Args:
        values: predictions, of any shape.
        outcomes: True (or 1) where right, of the same shape.
        bins: M, at least 1.

    Raises:
        ValueError: shapes that differ, no value, a NaN, or bins < 1.

    Examples:
        >>> for b in reliability([0.1, 0.2, 0.9, 1.2], [0, 1, 1, 1], bins=2):
        ...     print(b.low, b.high, round(b.mean_value, 3), b.observed_rate, b.count)
        0.0 0.5 0.15 0.5 2
        0.5 1.0 0.95 1.0 2
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}: at least 1 is needed")
    v, r = _checked(values, outcomes)
    v = v.clip(0.0, 1.0)
    edges = np.arange(bins + 1) / bins
    bin_of = np.digitize(v, edges[1:-1], right=True)
    return [
        ReliabilityBin(
            low=float(edges[m]),
            high=float(edges[m + 1]),
            mean_value=float(v[bin_of == m].mean()),
            observed_rate=float(r[bin_of == m].mean()),
            count=int((bin_of == m).sum()),
        )
        for m in np.unique(bin_of).tolist()
    ]


def expected_calibration_error(values: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> float:
    """Mean gap between predicted and observed rate, in [0, 1].

        ECE = sum over bins of count / N * |observed rate - mean value|

    Values are clipped to [0, 1]. A critic that always says the base rate has an ECE of 0: calibrated is not
    informative, see `explained_variance`.

    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"; Guo et al.
    2017, arXiv 1706.04599, equation 3.

    Args:
        values: predictions, of any shape.
        outcomes: True (or 1) where right, of the same shape.
        bins: number of bins of equal width.

    Raises:
        ValueError: as `reliability`.

    Examples:
        >>> round(expected_calibration_error([0.1, 0.2, 0.9, 1.0], [0, 1, 1, 1], bins=2), 3)  # (.35 + .05) / 2
        0.2
    """
    filled = reliability(values, outcomes, bins)
    total = sum(b.count for b in filled)
    return sum(b.count / total * abs(b.observed_rate - b.mean_value) for b in filled)


def explained_variance(values: ArrayLike, outcomes: ArrayLike) -> float | None:
    """Share of the outcomes' variance that the values explain, at most 1.

        EV = 1 - Var(R - V) / Var(R)

    0 for any constant, below 0 for values that are worse than one. Values are taken as they are. A constant
    offset costs nothing here; `brier` sees it.

    Source: the explained variance that RL libraries log for a value function (OpenAI Baselines,
    `math_util.explained_variance`).

    Args:
        values: predictions, of any shape.
        outcomes: True (or 1) where right, of the same shape.

    Returns:
        None where all outcomes are alike.

    Raises:
        ValueError: shapes that differ, no value, or a NaN.

    Examples:
        >>> explained_variance([0.0, 0.5, 0.5, 1.0], [0, 0, 1, 1])  # R - V = 0 -.5 .5 0: 1 - .125 / .25
        0.5
        >>> explained_variance([0.3, 0.3], [0, 1]), explained_variance([0.3, 0.4], [1, 1])
        (0.0, None)
    """
    v, r = _checked(values, outcomes)
    variance = float(r.var())
    return None if variance == 0 else 1 - float((r - v).var()) / variance


def brier(values: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean squared error of the values, at least 0.

        Brier = mean of (V - R)^2

    Values are taken as they are, so it exceeds 1 only for values outside [0, 1].

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".

    Args:
        values: predictions, of any shape.
        outcomes: True (or 1) where right, of the same shape.

    Raises:
        ValueError: shapes that differ, no value, or a NaN.

    Examples:
        >>> brier([0.5, 1.0], [0, 1])
        0.125
    """
    v, r = _checked(values, outcomes)
    return float(((v - r) ** 2).mean())


def _checked(values: ArrayLike, outcomes: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both flat and in float64, or a ValueError."""
    v, r = np.asarray(values, np.float64), np.asarray(outcomes, np.float64)
    if v.shape != r.shape or not v.size:
        raise ValueError(f"values and outcomes are {v.shape} and {r.shape}: pairs are needed, at least one")
    if np.isnan(v).any() or np.isnan(r).any():
        raise ValueError(f"{np.isnan(v).sum()} values and {np.isnan(r).sum()} outcomes are NaN")
    return v.ravel(), r.ravel()
