"""What position or length alone would say: how much of a critic's AUC needs no critic.

Every shortcut is a leave-one-out mean over a group: the tokens at one position, the completions of one length.
Leaving a row out keeps a group of one from knowing its own answer, but it turns the order within a group
around (the mean of the others falls as a row's own value rises). Rank them with `tied_groups`, as
`critic_quality` does: the group of a token is its position or its completion's length. Measured on 30 draws of
512 low-success chains with credit that ignores position: AUC of the position .44 without, .49 with tied
groups, .49 with means of 512 other chains (standard errors .01); one length for all: .00 against .50 for the
outcome.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def position_only(credit: ArrayLike, mask: ArrayLike) -> NDArray[np.float64]:
    """Each token's credit replaced by the mean credit at its position over the other completions.

        out[i, j] = mean of credit[k, j] over k != i with mask[k, j];   0 where there is no such k

    Args:
        credit: [N, T].
        mask: [N, T], True where a response token exists.

    Returns:
        [N, T], 0 outside the mask. `locate_errors` takes it with `tied_groups = position_groups(mask)`.

    Examples:
        >>> position_only([[1.0, 5.0], [2.0, 6.0], [6.0, 0.0]], [[True, True], [True, True], [True, False]])
        array([[4. , 6. ],
               [3.5, 5. ],
               [1.5, 0. ]])
    """
    valid = np.asarray(mask, np.bool_)
    own = np.where(valid, np.asarray(credit, np.float64), 0.0)
    return np.where(valid, _ratio(own.sum(0) - own, valid.sum(0) - 1), 0.0)


def length_only(credit: ArrayLike, mask: ArrayLike) -> NDArray[np.float64]:
    """Each token's credit replaced by the mean credit of the tokens of other completions of its length.

        out[i, j] = mean of credit[k, l] over k != i as long as i, and l with mask[k, l];   0 without such k

    Args:
        credit: [N, T].
        mask: [N, T], True where a response token exists.

    Returns:
        [N, T], 0 outside the mask. `locate_errors` takes it with `tied_groups = length_groups(mask)`.

    Examples:
        >>> length_only([[1.0, 3.0], [5.0, 7.0], [9.0, 0.0]], [[True, True], [True, True], [True, False]])
        array([[6., 6.],
               [2., 2.],
               [0., 0.]])
    """
    valid = np.asarray(mask, np.bool_)
    lengths = valid.sum(1)
    own = np.where(valid, np.asarray(credit, np.float64), 0.0).sum(1)
    others, n_others = _others_of_length(own, lengths)
    return np.where(valid, _ratio(others, n_others * lengths)[:, None], 0.0)


def length_only_values(lengths: ArrayLike, outcomes: ArrayLike) -> NDArray[np.float64]:
    """Each completion's value replaced by the share of right ones among the others of its length.

        out[i] = mean of outcomes[k] over k != i with lengths[k] = lengths[i];   0.5 without such k

    The fallback is one number and not the others' base rate, which again would order completions by their own
    outcome.

    Args:
        lengths: [N], in tokens.
        outcomes: [N], True (or 1) where the completion is right.

    Returns:
        [N], in [0, 1]. `auc` takes it with `tied_groups = lengths`.

    Examples:
        >>> length_only_values([3, 3, 3, 8], [True, True, False, True])
        array([0.5, 0.5, 1. , 0.5])
    """
    others, n_others = _others_of_length(np.asarray(outcomes, np.float64), np.asarray(lengths))
    return _ratio(others, n_others, fallback=0.5)


def position_groups(mask: ArrayLike) -> NDArray[np.int64]:
    """The position of every token, [N, T]."""
    n, width = np.shape(mask)
    return np.tile(np.arange(width), (n, 1))


def length_groups(mask: ArrayLike) -> NDArray[np.int64]:
    """The length of every token's completion, [N, T], in tokens."""
    valid = np.asarray(mask, np.bool_)
    return np.broadcast_to(valid.sum(1, keepdims=True), valid.shape)


def _others_of_length(
    own: NDArray[np.float64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum over, and number of, the other completions of the same length, both [N]."""
    group = np.unique(lengths, return_inverse=True)[1]
    return np.bincount(group, own)[group] - own, np.bincount(group)[group] - 1


def _ratio(total: NDArray[np.float64], count: NDArray[np.int64], fallback: float = 0.0) -> NDArray[np.float64]:
    """total / count where the count is above zero, else the fallback."""
    counts = np.broadcast_to(count, total.shape)
    return np.divide(total, counts, out=np.full(total.shape, fallback), where=counts > 0)
