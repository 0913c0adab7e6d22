"""Does a critic point at the token that went wrong? Credit against the first wrong token of each completion."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weighted_mtp.evaluation.intervals import RESAMPLES, Interval, percentile_interval
from weighted_mtp.evaluation.ranking import auc


@dataclass(frozen=True)
class Localisation:
    """How well low credit points at the first wrong tokens, in [0, 1]; None where nothing can be compared."""

    auc: float | None
    """Probability that a first wrong token has less credit than another token of any completion."""
    auc_within_wrong: float | None
    """The same within completions that hold an error: to know which ones are wrong is no help here."""
    top1: float | None
    """Share of the completions with an error whose token of least credit is the first wrong one."""
    n_completions: int
    n_with_error: int
    """Completions with a wrong token."""
    n_tokens: int
    """Response tokens, later errors included."""
    interval: Interval | None = None
    """Of `auc_within_wrong`, 95 %, by a bootstrap over prompts; None where the prompts were not given."""


def locate_errors(
    credit: ArrayLike,
    token_error: ArrayLike,
    mask: ArrayLike,
    tied_groups: ArrayLike | None = None,
    prompts: ArrayLike | None = None,
) -> Localisation:
    """How well low credit points at the first wrong token of each completion; all arguments but prompts are [N, T].

        first[i] = min {j : mask[i, j] and token_error[i, j]}
        AUC      = P(-credit of a first wrong token > -credit of a negative) + P(equal) / 2
        top-1    = mean over i of 1[first[i] in A[i]] / |A[i]|,   A[i] = argmin over j of credit[i, j]

    Negatives of the AUC are all other response tokens but the later errors (j > first[i] that are wrong too): after the
    first error the outcome is mostly settled, so no verdict about them is right or wrong. The argmin runs over all
    response tokens, later errors included: a critic that blames a later one missed the first. Tokens of equal least
    credit share a hit. Outside the mask nothing is read. `tied_groups`: see `auc`. With `prompts` [N], a number of each
    completion's prompt, the AUC within wrong completions gets an interval.

    Source: the first error as the one to find: Zheng et al. 2024, ProcessBench, arXiv 2412.06559.

    Examples:
        >>> credit = [[0.1, -0.7, -0.2], [0.2, 0.1, 0.0]]
        >>> error = [[False, True, True], [False, False, False]]
        >>> found = locate_errors(credit, error, [[True, True, True], [True, True, False]])
        >>> found.auc, found.auc_within_wrong, found.top1, found.n_with_error, found.n_tokens
        (1.0, 1.0, 1.0, 1, 5)
    """
    groups = None if tied_groups is None else np.asarray(tied_groups)
    hits = hits_at_first_error(credit, token_error, mask)
    if prompts is not None and np.shape(prompts) != hits.shape:
        raise ValueError(f"prompts are {np.shape(prompts)} for {len(hits)} completions: give one number each")
    scores, valid, first = np.asarray(credit, np.float64), np.asarray(mask, np.bool_), first_errors(token_error, mask)
    wrong: NDArray[np.bool_] = np.any(first, axis=1)
    candidates: NDArray[np.bool_] = valid & (first | ~np.asarray(token_error, np.bool_))

    def ranked(at: NDArray[np.bool_]) -> float | None:
        return auc(-scores[at], first[at], None if groups is None else groups[at])

    return Localisation(
        auc=ranked(candidates),
        auc_within_wrong=ranked(candidates & wrong[:, None]),
        top1=float(hits[wrong].mean()) if wrong.any() else None,
        n_completions=int(valid.any(1).sum()),
        n_with_error=int(wrong.sum()),
        n_tokens=int(valid.sum()),
        interval=None if prompts is None else _within_wrong(scores, first, candidates, np.asarray(prompts)),
    )


def _within_wrong(
    credit: NDArray[np.float64], first: NDArray[np.bool_], candidates: NDArray[np.bool_], prompts: NDArray[Any]
) -> Interval | None:
    """The AUC within wrong completions with its interval: 300 times as many of their prompts are drawn, each with all
    of its completions, a prompt that was drawn twice being there twice. No bounds where there is one prompt.

    Source: Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data"; Field and Welsh 2007, "Bootstrapping
    clustered data".
    """
    wrong: NDArray[np.bool_] = np.any(first, axis=1)
    group = np.broadcast_to(np.unique(prompts[wrong], return_inverse=True)[1][:, None], first[wrong].shape)
    at_first, others = first[wrong], candidates[wrong] & ~first[wrong]
    if not others.any():
        return None
    positive, negative = credit[wrong][at_first], credit[wrong][others]
    order = np.argsort(negative, kind="stable")
    sorted_groups, of_positive, n_prompts = group[others][order], group[at_first], int(group.max()) + 1
    below, up_to = (np.searchsorted(negative[order], positive, side=side) for side in ("left", "right"))

    def ranked(counts: NDArray[np.int64]) -> float:
        passed = np.concatenate([[0], counts[sorted_groups].cumsum()])  # others of so little credit
        won = passed[-1] - (passed[below] + passed[up_to]) / 2
        return float(counts[of_positive] @ won) / max(1.0, float(counts[of_positive].sum() * passed[-1]))

    as_it_is = ranked(np.ones(n_prompts, np.int64))
    if n_prompts == 1:
        return Interval(as_it_is, None, None)
    drawn = np.random.default_rng(0).multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=RESAMPLES)
    return percentile_interval([as_it_is, *map(ranked, drawn)])


def first_errors(token_error: ArrayLike, mask: ArrayLike) -> NDArray[np.bool_]:
    """Where the first wrong token of each completion is, [N, T]: at most one a row."""
    error = np.asarray(token_error, np.bool_) & np.asarray(mask, np.bool_)
    return error & (error.cumsum(1) == 1)


def hits_at_first_error(credit: ArrayLike, token_error: ArrayLike, mask: ArrayLike) -> NDArray[np.float64]:
    """Whether each completion's token of least credit is its first wrong one, [N]: what top-1 is the mean of.

    Below 1 where tokens tie, NaN for a completion without an error; arguments and errors are those of `locate_errors`.

    Examples:
        >>> hits_at_first_error([[0.1, -0.7], [-0.2, -0.2], [0.0, 0.1]], [[0, 1], [1, 0], [0, 0]], np.ones((3, 2)))
        array([1. , 0.5, nan])
    """
    scores, valid = np.asarray(credit, np.float64), np.asarray(mask, np.bool_)
    shapes = [scores.shape, np.shape(token_error), valid.shape]
    if valid.ndim != 2 or len(set(shapes)) > 1:
        raise ValueError(f"credit, errors and mask are {shapes}: all must be [N, T]")
    if n_nan := int(np.isnan(scores[valid]).sum()):
        raise ValueError(f"{n_nan} of {valid.sum()} response tokens have a NaN credit")
    first, masked = first_errors(token_error, valid), np.where(valid, scores, np.inf)
    least = valid & (masked == masked.min(1, keepdims=True, initial=np.inf))
    shares = np.full(len(scores), np.nan)
    return np.divide((least & first).sum(1), least.sum(1), out=shares, where=first.any(1))
