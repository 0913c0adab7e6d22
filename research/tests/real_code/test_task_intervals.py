"""The bootstrap over tasks: against data that really was resampled, against theory, and at its edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from research.real_code.task_intervals import PairCounts, percentile_interval, ratio_under, task_draws
from weighted_mtp.evaluation.intervals import Interval, bootstrap_interval
from weighted_mtp.evaluation.localisation import first_errors, hits_at_first_error, locate_errors
from weighted_mtp.evaluation.ranking import auc

N_TASKS = 4  # in `tokens`; some often have no positive, no negative or no token
scores = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, np.inf])
tokens = st.lists(st.tuples(scores, st.booleans(), st.integers(0, N_TASKS - 1)), min_size=1, max_size=25)
multiplicities = st.lists(st.integers(0, 3), min_size=N_TASKS, max_size=N_TASKS)


def simulated(rng: np.random.Generator, n_tasks: int):
    """Scores, positives and tasks: a task moves all its scores, and half of the tasks have no positive."""
    task = np.repeat(np.arange(n_tasks), 8)
    positive = np.tile(np.arange(8) < 4, n_tasks) & (rng.random(n_tasks) < 0.5)[task]
    shift, gain = rng.normal(size=n_tasks), rng.normal(1.0, 1.0, size=n_tasks)
    return shift[task] + gain[task] * positive + rng.normal(size=task.size), positive, task


@given(tokens, multiplicities)
def test_the_auc_under_a_resample_is_that_of_its_copies_put_together(rows, drawn):
    score, positive, task = map(np.array, zip(*rows, strict=True))
    copies = [i for a in range(N_TASKS) for _ in range(drawn[a]) for i in np.flatnonzero(task == a)]
    copies = np.array(copies, np.int64)
    expected = auc(score[copies], positive[copies])
    found = PairCounts.of(score, positive, task, N_TASKS).auc_under([drawn])[0]
    assert found == expected or (expected is None and np.isnan(found))


@given(tokens, multiplicities)
def test_the_auc_within_tasks_compares_no_two_copies(rows, drawn):
    score, positive, task = map(np.array, zip(*rows, strict=True))
    pairs = [
        (s > t) + (s == t) / 2
        for s, p, a in zip(score, positive, task, strict=True)
        for t, q, b in zip(score, positive, task, strict=True)
        for _ in range(drawn[a])
        if p and not q and a == b
    ]
    found = PairCounts.of(score, positive, task, N_TASKS).auc_within_under([drawn])[0]
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


@given(tokens)
def test_every_task_once_gives_the_estimate(rows):
    counts = PairCounts.of(*zip(*rows, strict=True), n_tasks=N_TASKS)
    assert counts.auc == auc(*list(zip(*rows, strict=True))[:2])
    once = np.ones((1, N_TASKS))
    for estimate, resampled in (
        (counts.auc, counts.auc_under(once)[0]),
        (counts.auc_within, counts.auc_within_under(once)[0]),
    ):
        assert estimate == resampled or (estimate is None and np.isnan(resampled))


def test_pairs_by_hand():
    # task 0: positives 2 and 0, negative 0; task 1: negatives 1 and 3; task 2: positive 3
    counts = PairCounts.of([2, 0, 0, 1, 3, 3], [1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 2], n_tasks=3)
    assert counts.wins.tolist() == [[1.5, 1, 0], [0, 0, 0], [1, 1.5, 0]]
    assert counts.pairs.tolist() == [[2, 4, 0], [0, 0, 0], [1, 2, 0]]
    assert (counts.auc, counts.auc_within) == (5 / 9, 1.5 / 2)


def test_top1_is_the_ratio_of_hits_to_completions_with_an_error():
    rng = np.random.default_rng(0)
    credit, error, mask = rng.integers(-2, 2, (60, 5)), rng.random((60, 5)) < 0.2, rng.random((60, 5)) < 0.8
    tasks = rng.integers(7, size=60)
    hits = hits_at_first_error(credit, error, mask)
    wrong = ~np.isnan(hits)
    assert (wrong == first_errors(error, mask).any(1)).all()
    draws = task_draws(7, resamples=20)
    sums, counts = np.bincount(tasks[wrong], hits[wrong], 7), np.bincount(tasks[wrong], minlength=7)
    for drawn, found in zip(draws, ratio_under(sums, counts, draws), strict=True):
        copies = np.repeat(np.arange(60), drawn[tasks])
        assert found == pytest.approx(locate_errors(credit[copies], error[copies], mask[copies]).top1)


def test_draws_are_multinomial():
    draws = task_draws(5, resamples=20_000)
    assert (draws.sum(1) == 5).all()
    assert draws.mean(0) == pytest.approx(np.ones(5), abs=0.03)
    covariance = np.eye(5) - 1 / 5  # n p (1 - p) and -n p p
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.05)


def test_draws_depend_on_their_seed_alone():
    assert (task_draws(9, resamples=3) == task_draws(9, resamples=3)).all()
    assert (task_draws(9, resamples=3) != task_draws(9, resamples=3, seed=1)).any()


def test_with_one_value_a_task_it_is_the_bootstrap_over_problems():
    values = np.random.default_rng(2).random(50)
    found = percentile_interval(values.mean(), ratio_under(values, np.ones(50), task_draws(50)))
    known = bootstrap_interval(values.tolist(), resamples=2_000)
    assert (found.mean, found.low, found.high) == pytest.approx((known.mean, known.low, known.high))


def test_the_spread_of_an_auc_is_that_of_obuchowski():
    score, positive, task = simulated(np.random.default_rng(3), n_tasks=200)
    counts = PairCounts.of(score, positive, task, 200)
    # influence of a task: what its pairs won beyond the AUC, as positives and as negatives
    beyond = counts.wins - counts.auc * counts.pairs
    influence = (beyond.sum(0) + beyond.sum(1)) / counts.pairs.sum()
    expected = np.sqrt(200 / 199 * (influence**2).sum())
    assert counts.auc_under(task_draws(200)).std() == pytest.approx(expected, rel=0.06)


def test_intervals_over_tasks_cover_and_those_over_tokens_do_not():
    rng, n_tasks, repeats = np.random.default_rng(4), 60, 200
    between = stats.norm.cdf(1 / np.sqrt(1 + 2 + 2))  # gain, two shifts, two noises: variances 1, 2, 2
    within = stats.norm.cdf(1 / np.sqrt(1 + 2))
    draws, token_draws = task_draws(n_tasks, resamples=500), task_draws(8 * n_tasks, resamples=200)
    covered = np.zeros(3)
    for _ in range(repeats):
        score, positive, task = simulated(rng, n_tasks)
        counts = PairCounts.of(score, positive, task, n_tasks)
        by_token = PairCounts.of(score, positive, np.arange(task.size), task.size)
        intervals = (
            percentile_interval(counts.auc, counts.auc_under(draws)),
            percentile_interval(counts.auc_within, counts.auc_within_under(draws)),
            percentile_interval(by_token.auc, by_token.auc_under(token_draws)),
        )
        truths = (between, within, between)
        covered += [i.low <= truth <= i.high for i, truth in zip(intervals, truths, strict=True)]
    assert 0.91 <= covered[0] / repeats <= 0.98  # a share of 200 has a deviation of .015
    assert 0.91 <= covered[1] / repeats <= 0.98
    assert covered[2] / repeats < 0.85  # tokens as if each were a task of its own


def test_a_difference_on_the_same_tasks_is_known_better_than_one_on_others():
    rng = np.random.default_rng(5)
    score, positive, task = simulated(rng, n_tasks=100)
    first = PairCounts.of(score, positive, task, 100)
    second = PairCounts.of(score + 0.5 * rng.normal(size=score.size), positive, task, 100)
    draws, others = task_draws(100), task_draws(100, seed=1)
    difference = first.auc - second.auc
    paired = percentile_interval(difference, first.auc_under(draws) - second.auc_under(draws))
    unpaired = percentile_interval(difference, first.auc_under(draws) - second.auc_under(others))
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 2


def test_a_task_without_positives_or_without_tokens_counts_as_drawn():
    counts = PairCounts.of([1.0, 0.0, 0.5], [True, False, False], [0, 0, 1], n_tasks=3)
    under = counts.auc_under([[1, 1, 1], [1, 0, 2], [0, 3, 0], [0, 0, 3]])
    assert under[:2].tolist() == [1.0, 1.0]
    assert np.isnan(under[2:]).all()


def test_without_a_pair_there_is_no_auc():
    counts = PairCounts.of([1.0, 0.0], [True, True], [0, 1], n_tasks=2)
    assert (counts.auc, counts.auc_within) == (None, None)
    assert np.isnan(counts.auc_under([[1, 1]])).all()


def test_pairs_between_tasks_alone_leave_nothing_within():
    counts = PairCounts.of([1.0, 0.0], [True, False], [0, 1], n_tasks=2)
    assert (counts.auc, counts.auc_within) == (1.0, None)


def test_one_task_has_no_interval():
    counts, draws = PairCounts.of([1.0, 0.0], [True, False], [0, 0], n_tasks=1), task_draws(1)
    assert percentile_interval(counts.auc, counts.auc_under(draws)) == Interval(1.0, None, None)


def test_undefined_resamples_are_left_out_up_to_the_share_that_an_interval_leaves_out():
    resampled = np.concatenate([np.full(5, np.nan), np.zeros(95)])
    assert percentile_interval(0.0, resampled) == Interval(0.0, 0.0, 0.0)
    resampled[5] = np.nan
    assert percentile_interval(0.0, resampled) == Interval(0.0, None, None)
    assert percentile_interval(0.0, resampled, confidence=0.9) == Interval(0.0, 0.0, 0.0)


def test_scores_that_are_nan_are_counted_and_refused():
    with pytest.raises(ValueError, match="2 of 3 scores are NaN"):
        PairCounts.of([np.nan, 0.0, np.nan], [1, 0, 0], [0, 0, 1], n_tasks=2)


@pytest.mark.parametrize("tasks", [[0, 1, 2], [0, 1, -1], [0, 1, 0.5]])
def test_numbers_of_no_task_are_counted_and_refused(tasks):
    with pytest.raises(ValueError, match="1 of 3 tasks are none of 0 to 1"):
        PairCounts.of([0.0, 1.0, 2.0], [1, 0, 0], tasks, n_tasks=2)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"are \(2,\), \(2,\) and \(1,\)"):
        PairCounts.of([0.0, 1.0], [1, 0], [0], n_tasks=1)
    with pytest.raises(ValueError, match=r"\[resamples, 2\] is needed"):
        ratio_under([1.0, 1.0], [1, 1], task_draws(3))
    with pytest.raises(ValueError, match=r"both must be \[T\]"):
        ratio_under([1.0, 1.0], [1], task_draws(2))


@pytest.mark.parametrize(("sums", "counts"), [([np.nan, 1.0], [1, 1]), ([1.0, 1.0], [-1, 1])])
def test_sums_and_counts_that_are_none_are_refused(sums, counts):
    with pytest.raises(ValueError, match="1 of 2 tasks"):
        ratio_under(sums, counts, task_draws(2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: task_draws(0),
        lambda: task_draws(3, resamples=0),
        lambda: PairCounts.of([], [], [], n_tasks=0),
        lambda: percentile_interval(0.5, [0.5], confidence=95),
        lambda: percentile_interval(np.nan, [0.5]),
    ],
)
def test_options_that_make_no_sense_are_refused(call):
    with pytest.raises(ValueError, match="give"):
        call()
