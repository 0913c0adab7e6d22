"""Intervals over tasks of what is counted by token or completion: the bootstrap that resamples whole tasks."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weighted_mtp.evaluation.intervals import Interval


def task_draws(n_tasks: int, *, resamples: int = 2_000, seed: int = 0) -> NDArray[np.int64]:
    """How often each task is drawn in each resample of n_tasks tasks with replacement.

        m[r] ~ Multinomial(n_tasks; 1 / n_tasks, ..., 1 / n_tasks)

    Completions of one task are alike, and so are their tokens: what was sampled are tasks. A drawn task brings all its
    completions, as they are. One array for all methods pairs them: the difference of two arrays of resampled statistics
    is that of the methods on the same tasks, and what makes tasks hard for both cancels.

    Source: Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8; Field and Welsh 2007,
    "Bootstrapping clustered data", call it the cluster bootstrap.

    Args:
        n_tasks: how many tasks there are, at least 1.
        resamples: how many resamples are drawn, at least 1.
        seed: of the draws; the same arguments give the same draws.

    Returns:
        [resamples, n_tasks], each row adding up to n_tasks; [0, 1] for a single task, which leaves nothing to draw.

    Raises:
        ValueError: n_tasks or resamples below 1.

    Examples:
        >>> task_draws(4, resamples=3).sum(axis=1)
        array([4, 4, 4])
    """
    if n_tasks < 1 or resamples < 1:
        raise ValueError(f"n_tasks is {n_tasks} and resamples is {resamples}: give at least 1 of each")
    if n_tasks == 1:
        return np.zeros((0, 1), np.int64)
    drawn = np.random.default_rng(seed).integers(n_tasks, size=(resamples, n_tasks))
    cells = (drawn + n_tasks * np.arange(resamples)[:, None]).ravel()
    return np.bincount(cells, minlength=resamples * n_tasks).reshape(resamples, n_tasks)


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Pairs of a positive and a negative by their tasks: all that an AUC needs under any resample of tasks.

        wins[a, b]  = sum over positives i of task a and negatives j of task b of 1[s_i > s_j] + 1[s_i = s_j] / 2
        pairs[a, b] = their number
        AUC(m)      = m' wins m / m' pairs m,   m[a] = how often task a was drawn

    This is the AUC of the tokens of all drawn tasks put together, a task that was drawn twice being there twice: no
    approximation, and rounded in one division only, since the sums are multiples of 1/2. Copies of a task are compared
    with each other as well, so that pairs within a task weigh about 2 / T in a resample of T tasks and 1 / T in the
    estimate; for few tasks that are much easier (or harder) within than between, the interval leans that way.

    Source: Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data" (Biometrics 53), for the statistic
    and for why tokens are no independent sample; the resampling: see `task_draws`.

    Examples:
        >>> counts = PairCounts.of([0.9, 0.3, 0.2, 0.5], [True, False, True, False], tasks=[0, 0, 1, 1], n_tasks=2)
        >>> counts.wins  # .9 beats .3 and .5; .2 beats neither
        array([[1., 1.],
               [0., 0.]])
        >>> counts.auc, counts.auc_under([[1, 1], [2, 0], [0, 2]])
        (0.5, array([0.5, 1. , 0. ]))
    """

    wins: NDArray[np.float64]
    """[T, T], pairs that the positive (of the row's task) wins against the negative (of the column's), ties half."""
    pairs: NDArray[np.float64]
    """[T, T], how many such pairs there are."""

    @classmethod
    def of(cls, scores: ArrayLike, positives: ArrayLike, tasks: ArrayLike, n_tasks: int) -> Self:
        """Counts the pairs of tokens that were scored.

        Args:
            scores: numbers, infinite ones too, of any shape; high where a positive is expected.
            positives: True (or 1) where a token is positive, of the same shape.
            tasks: the number of each token's task, 0 to n_tasks - 1, of the same shape.
            n_tasks: how many tasks were sampled, those without a token included.

        Raises:
            ValueError: shapes that differ, a score that is NaN, a number that is no task's, or n_tasks below 1.
        """
        s, positive, task = np.asarray(scores, np.float64), np.asarray(positives, np.bool_), np.asarray(tasks)
        if not s.shape == positive.shape == task.shape:
            raise ValueError(f"scores, positives and tasks are {s.shape}, {positive.shape} and {task.shape}")
        if n_tasks < 1:
            raise ValueError(f"n_tasks is {n_tasks}: give at least 1")
        if np.isnan(s).any():
            raise ValueError(f"{np.isnan(s).sum()} of {s.size} scores are NaN: they have no rank")
        if strange := int((~np.isin(task, np.arange(n_tasks))).sum()):
            raise ValueError(f"{strange} of {task.size} tasks are none of 0 to {n_tasks - 1}: number them so")
        s, positive, task = s.ravel(), positive.ravel(), task.ravel().astype(np.int64)
        wins = _wins_by_task(s[positive], task[positive], s[~positive], task[~positive], n_tasks)
        n_positive, n_negative = (np.bincount(task[at], minlength=n_tasks) for at in (positive, ~positive))
        return cls(wins, np.outer(n_positive, n_negative).astype(np.float64))

    @property
    def auc(self) -> float | None:
        """Share of all pairs won, as `ranking.auc` has it; None where a class is empty."""
        return _share(self.wins.sum(), self.pairs.sum())

    @property
    def auc_within(self) -> float | None:
        """Share of the pairs within one task that are won; None where no task has both classes.

            sum_a wins[a, a] / sum_a pairs[a, a]

        To know which tasks are hard is no help here. A task counts by its number of pairs.
        """
        return _share(self.wins.trace(), self.pairs.trace())

    def auc_under(self, draws: ArrayLike) -> NDArray[np.float64]:
        """The AUC in each resample, [R].

        Args:
            draws: [R, T], how often each task was drawn: see `task_draws`.

        Returns:
            NaN in a resample without a pair.

        Raises:
            ValueError: draws of another number of tasks.
        """
        m = _as_draws(draws, len(self.wins))
        return _ratio(((m @ self.wins) * m).sum(1), ((m @ self.pairs) * m).sum(1))

    def auc_within_under(self, draws: ArrayLike) -> NDArray[np.float64]:
        """The AUC within tasks in each resample, [R].

            sum_a m[a] wins[a, a] / sum_a m[a] pairs[a, a]

        A copy of a task is another task here. Args, Returns and Raises are those of `auc_under`.
        """
        return ratio_under(self.wins.diagonal(), self.pairs.diagonal(), draws)


def ratio_under(sums: ArrayLike, counts: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """A mean over completions or tokens in each resample of tasks, [R]: the ratio estimator.

        ratio[r] = sum_a m[r, a] sums[a] / sum_a m[r, a] counts[a]

    Source: as `task_draws`; the ratio of two sums: Cochran 1977, "Sampling techniques", chapter 6.

    Args:
        sums: [T], each task's sum of what is averaged, as its hits.
        counts: [T], how many completions or tokens each sum is over, 0 and up.
        draws: [R, T], how often each task was drawn: see `task_draws`.

    Returns:
        NaN in a resample whose tasks have nothing to average.

    Raises:
        ValueError: lengths that differ, a number that is not finite, or a count below 0.

    Examples:
        >>> hits, tasks = [1.0, 0.0, 1.0], [0, 0, 2]  # of three completions; task 1 has none
        >>> ratio_under(np.bincount(tasks, hits), np.bincount(tasks), [[1, 1, 1], [3, 0, 0], [0, 3, 0]])
        array([0.66666667, 0.5       ,        nan])
    """
    total, n = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    if total.ndim != 1 or total.shape != n.shape:
        raise ValueError(f"sums and counts are {total.shape} and {n.shape}: both must be [T]")
    if strange := int((~np.isfinite(total) | ~np.isfinite(n) | (n < 0)).sum()):
        raise ValueError(f"{strange} of {n.size} tasks have a sum that is not finite, or no count of 0 and up")
    m = _as_draws(draws, n.size)
    return _ratio(m @ total, m @ n)


def percentile_interval(estimate: float, resampled: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap interval of any statistic, or of a difference of two under the same draws.

        quantiles (1 -+ confidence) / 2 of the resampled statistic

    Resamples in which it is undefined (NaN) are left out. Where they are more than 1 - confidence of all, no interval
    of the others holds `confidence` of the resamples, and there are no bounds. Some tens of tasks are too few: the
    interval then covers less than it says.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.

    Args:
        estimate: the statistic of the tasks as they are; the interval's mean.
        resampled: [R], the statistic in each resample.
        confidence: coverage in (0, 1).

    Returns:
        Bounds of None where nothing was resampled (a single task), or too much is undefined.

    Raises:
        ValueError: an estimate that is not finite, values that are no flat list, or a confidence outside (0, 1).

    Examples:
        >>> counts, draws = np.ones(100), task_draws(100)
        >>> solved, too = np.arange(100) < 30, np.arange(100) < 40  # the second method solves ten tasks more
        >>> first, second = (ratio_under(hits, counts, draws) for hits in (solved, too))
        >>> percentile_interval(0.3, first)  # .3 -+ 1.96 sqrt(.21 / 100)
        Interval(mean=0.3, low=0.21, high=0.39)
        >>> gain = percentile_interval(0.1, second - first)  # .1 -+ 1.96 sqrt(.09 / 100)
        >>> round(gain.low, 2), round(gain.high, 2)
        (0.05, 0.16)
    """
    x = np.asarray(resampled, np.float64)
    if x.ndim != 1 or not np.isfinite(estimate):
        raise ValueError(f"got an estimate of {estimate} and resampled values of shape {x.shape}: give [R]")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number in (0, 1)")
    defined = x[~np.isnan(x)]
    if not defined.size or defined.size < confidence * x.size:
        return Interval(float(estimate), None, None)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(estimate), float(low), float(high))


def _wins_by_task(
    positives: NDArray[np.float64],
    their_tasks: NDArray[np.int64],
    negatives: NDArray[np.float64],
    tasks: NDArray[np.int64],
    n_tasks: int,
) -> NDArray[np.float64]:
    """`PairCounts.wins`: where each positive falls among the sorted negatives of each task."""
    ascending = np.argsort(positives)  # a search for sorted values is several times faster
    positives, their_tasks = positives[ascending], their_tasks[ascending]
    by_task = np.lexsort((negatives, tasks))
    negatives, tasks = negatives[by_task], tasks[by_task]
    wins = np.empty((n_tasks, n_tasks))
    for b, of_b in enumerate(np.split(negatives, np.searchsorted(tasks, np.arange(1, n_tasks)))):
        below, up_to = (np.searchsorted(of_b, positives, side) for side in ("left", "right"))
        wins[:, b] = np.bincount(their_tasks, (below + up_to) / 2, minlength=n_tasks)
    return wins


def _as_draws(draws: ArrayLike, n_tasks: int) -> NDArray[np.float64]:
    m = np.asarray(draws, np.float64)
    if m.ndim != 2 or m.shape[1] != n_tasks:
        raise ValueError(f"draws are {m.shape} for {n_tasks} tasks: [resamples, {n_tasks}] is needed")
    return m


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator != 0)


def _share(won: float, n: float) -> float | None:
    return float(won / n) if n else None
