"""Are a critic's values probabilities? Predicted against observed rates of success."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import explained_variance_score, mean_squared_error


@dataclass(frozen=True)
class ReliabilityBin:
    """The values above `low` and up to `high`, clipped to [0, 1], and how often they came true."""

    low: float
    high: float
    mean_value: float
    observed_rate: float
    count: int


def reliability(values: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Predicted and observed rate in bins of equal width over [0, 1], empty ones left out.

        B_m = {i : (m - 1) / M < V[i] <= m / M},   m = 1..M;   0 belongs to the first

    Values of proxies beyond [0, 1] are clipped. Outcomes may be soft (a discounted reward), which scikit-learn's
    `calibration_curve` refuses; nor does it count.

    Source: Guo et al. 2017, arXiv 1706.04599, section 2.

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
    filled = [(m, bin_of == m) for m in np.unique(bin_of)]
    return [
        ReliabilityBin(float(edges[m]), float(edges[m + 1]), float(v[at].mean()), float(r[at].mean()), int(at.sum()))
        for m, at in filled
    ]


def expected_calibration_error(values: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> float:
    """Mean gap between predicted and observed rate, in [0, 1]: the mean of |observed rate - mean value| over values.

    A critic that always says the base rate has none: calibrated is not informative, see `explained_variance`.

    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"; Guo et al. 2017,
    arXiv 1706.04599, equation 3.
    """
    filled = reliability(values, outcomes, bins)
    total = sum(b.count for b in filled)
    return sum(b.count / total * abs(b.observed_rate - b.mean_value) for b in filled)


def explained_variance(values: ArrayLike, outcomes: ArrayLike) -> float | None:
    """1 - Var(R - V) / Var(R): 0 for any constant, below 0 for values that are worse; None where all R are alike."""
    v, r = _checked(values, outcomes)
    return None if r.var() == 0 else float(explained_variance_score(r, v))


def brier(values: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean squared error of the values, which are taken as they are. Source: Brier 1950."""
    v, r = _checked(values, outcomes)
    return float(mean_squared_error(r, v))


def _checked(values: ArrayLike, outcomes: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both flat and in float64, or a ValueError."""
    v, r = np.asarray(values, np.float64), np.asarray(outcomes, np.float64)
    if v.shape != r.shape or not v.size:
        raise ValueError(f"values and outcomes are {v.shape} and {r.shape}: pairs are needed, at least one")
    if np.isnan(v).any() or np.isnan(r).any():
        raise ValueError(f"{np.isnan(v).sum()} values and {np.isnan(r).sum()} outcomes are NaN")
    return v.ravel(), r.ravel()
