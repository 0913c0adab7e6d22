"""pass@k against its definition by enumeration, and the bootstrap against what it promises."""

from dataclasses import asdict
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from weighted_mtp.evaluation.results import pass_at_k, summarise_samples


@pytest.mark.parametrize("n", range(1, 8))
def test_it_is_the_share_of_subsets_with_a_sample_that_passes(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations(range(n), k))
            share = Fraction(sum(any(i < c for i in subset) for subset in subsets), len(subsets))
            assert pass_at_k(n, c, k) == pytest.approx(float(share), abs=1e-15)


@given(st.integers(1, 2_000), st.data())
def test_it_is_the_formula_with_binomials_where_those_overflow(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == pytest.approx(float(1 - Fraction(comb(n - c, k), comb(n, k))), abs=1e-12)


def test_it_is_unbiased():
    p, n, k = (Fraction(1, 3), 6, 3)  # the mean over all outcomes of n samples is the chance that one of k passes
    mean = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * Fraction(pass_at_k(n, c, k)) for c in range(n + 1))
    assert float(mean) == pytest.approx(float(1 - (1 - p) ** k), abs=1e-12)


def test_none_and_enough_are_exact():
    assert pass_at_k(200, 0, 100) == 0.0
    assert pass_at_k(200, 101, 100) == 1.0


def test_too_few_samples_are_refused_with_the_number_needed():
    with pytest.raises(ValueError, match="pass@10 needs at least 10 samples of every problem, and there are 5"):
        pass_at_k(5, 1, 10)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 0)])
def test_counts_that_make_no_sense_are_refused(n, c, k):
    with pytest.raises(ValueError, match="n, c, k"):
        pass_at_k(n, c, k)


def test_the_bootstrap_enumerated():
    # Means of two of (0, 1): 0, 1/2, 1/2, 1 with chance 1/4 each, so a 40 % interval is 1/2, a 60 % one all.
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == Interval(0.5, 0.5, 0.5)
    assert bootstrap_interval([0.0, 1.0], confidence=0.6) == Interval(0.5, 0.0, 1.0)


def test_the_bootstrap_covers_as_often_as_it_says():
    rng, p = np.random.default_rng(0), 0.3
    intervals = [bootstrap_interval((rng.random(80) < p).tolist(), resamples=1_000) for _ in range(400)]
    covered = sum(i.low <= p <= i.high for i in intervals) / len(intervals)
    assert 0.91 <= covered <= 0.98  # .95 less a little; the share of 400 has a deviation of .011


def test_the_bootstrap_is_normal_theory_for_many_problems():
    values = np.random.default_rng(1).random(5_000)
    interval = bootstrap_interval(values.tolist(), resamples=4_000)  # more values than are drawn at once
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_the_bootstrap_depends_on_its_seed_alone():
    values = [0.1, 0.7, 0.2, 0.9, 0.4]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, resamples=50) != bootstrap_interval(values, resamples=50, seed=1)


def test_one_problem_has_no_interval():
    assert bootstrap_interval([0.25]) == Interval(0.25, None, None)


def test_problems_that_are_all_alike_give_a_width_of_zero():
    assert bootstrap_interval([1.0, 1.0, 1.0]) == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize("values", [[], [float("nan"), 1.0], [[0.0, 1.0]]])
def test_values_that_are_no_list_of_numbers_are_refused(values):
    with pytest.raises(ValueError, match="finite numbers"):
        bootstrap_interval(values)


@pytest.mark.parametrize("options", [{"confidence": 1.0}, {"confidence": 95}, {"resamples": 0}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="give"):
        bootstrap_interval([0.0, 1.0], **options)


def test_exact_match_has_an_interval_with_a_width_where_nothing_is_solved():
    # Wilson, z = 1.96: high = z^2 / (n + z^2) = 3.8415 / 23.8415 at 0 of 20, and the mirror image at 20 of 20
    none, every = wilson_interval(0, 20), wilson_interval(20, 20)
    assert (none.mean, none.low, none.high) == (0.0, pytest.approx(0.0, abs=1e-12), pytest.approx(0.16113, abs=1e-5))
    assert (every.low, every.high) == (pytest.approx(1 - none.high), pytest.approx(1.0))
    rows = [
        {"problem": i, "task_id": None, "kind": "greedy", "ended": "eos", "verdict": "fail", "sample": None}
        for i in range(20)
    ]
    assert summarise_samples(rows, range(20), [])["exact_match"] == asdict(none)
