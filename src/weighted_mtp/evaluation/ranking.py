"""How well scores rank: the area under the ROC curve, as a share of pairs."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def auc(scores: ArrayLike, positives: ArrayLike, tied_groups: ArrayLike | None = None) -> float | None:
    """Probability that a positive scores above a negative, ties counted half.

        AUC = P(s+ > s-) + P(s+ = s-) / 2 = (sum of the positives' ranks - n+ (n+ + 1) / 2) / (n+ n-)

    Ranks start at 1 and are averaged over ties. With `tied_groups`, pairs within a group count half whatever
    their scores. Leave-one-out means need that: among rows that share a group, the mean of the *others* falls
    as a row's own value rises, so their order is the reverse of the truth. Counting these pairs as ties gives
    leave-pair-out cross-validation, in which both rows of a pair are left out and score the same.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve";
    leave-pair-out: Airola et al. 2011, "An experimental comparison of cross-validation techniques for
    estimating the area under the ROC curve".

    Args:
        scores: numbers, infinite ones too, of any shape.
        positives: True (or 1) where an element is positive, of the same shape.
        tied_groups: a number for each element's group, of the same shape; None: pairs are tied by scores alone.

    Returns:
        a share in [0, 1], 0.5 for scores that know nothing; None where a class is empty.

    Raises:
        ValueError: shapes that differ, or a score that is NaN.

    Examples:
        >>> auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])  # 3 of 4 pairs
        0.75
        >>> auc([0.2, 0.2], [True, False]), auc([0.2, 0.3], [True, True])
        (0.5, None)
        >>> auc([0.0, 1.0], [True, False]), auc([0.0, 1.0], [True, False], tied_groups=[7, 7])
        (0.0, 0.5)
    """
    s, positive = np.asarray(scores, np.float64), np.asarray(positives, np.bool_)
    groups = np.zeros(s.shape, np.int64) if tied_groups is None else np.asarray(tied_groups)
    if not s.shape == positive.shape == groups.shape:
        raise ValueError(f"scores, positives and groups are {s.shape}, {positive.shape} and {groups.shape}")
    if np.isnan(s).any():
        raise ValueError(f"{np.isnan(s).sum()} of {s.size} scores are NaN: they have no rank")
    s, positive, groups = s.ravel(), positive.ravel(), groups.ravel()
    n_pairs = _count_pairs(positive)
    if n_pairs == 0:
        return None
    wins = _wins(s, positive)
    for group in () if tied_groups is None else np.unique(groups):
        inside = groups == group
        wins += _count_pairs(positive[inside]) / 2 - _wins(s[inside], positive[inside])
    return wins / n_pairs


def auc_by_position(values: ArrayLike, outcomes: ArrayLike, mask: ArrayLike) -> list[float | None]:
    """AUC of the outcome by the value, at each position: what a critic knows that early.

        AUC[j] = P(values[i, j] > values[k, j]),   outcome i right, outcome k wrong, mask[i, j] and mask[k, j]

    Args:
        values: [N, T]; values[i, j] is the value of the prefix before response token j, so j = 0 is the prompt.
        outcomes: [N], True (or 1) where the completion is right.
        mask: [N, T], True where a response token exists.

    Returns:
        one share in [0, 1] a position; None where all completions that are long enough came out alike.

    Raises:
        ValueError: shapes that differ, or a value under the mask that is NaN.

    Examples:
        >>> auc_by_position([[0.5, 0.9], [0.5, 0.2], [0.5, 0.0]], [1, 0, 0], [[1, 1], [1, 1], [1, 0]])
        [0.5, 1.0]
    """
    v, right, valid = np.asarray(values), np.asarray(outcomes), np.asarray(mask, np.bool_)
    if v.shape != valid.shape or right.shape != v.shape[:1]:
        raise ValueError(f"values, outcomes and mask are {v.shape}, {right.shape} and {valid.shape}")
    return [auc(v[at, j], right[at]) for j, at in enumerate(valid.T)]


def _count_pairs(positive: NDArray[np.bool_]) -> int:
    """How many pairs of a positive and a negative there are."""
    n_positive = int(positive.sum())
    return n_positive * (positive.size - n_positive)


def _wins(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Pairs that the positive wins, ties counted half: the Mann-Whitney U."""
    n_positive = int(positive.sum())
    return float(stats.rankdata(scores)[positive].sum()) - n_positive * (n_positive + 1) / 2
