"""Intervals against scipy's own, and their edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from weighted_mtp.evaluation.intervals import Interval, paired_t_interval, summarise

shares = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


def test_interval_by_hand():
    # d = 1, 2, 3: mean 2, std 1, t_{2, .975} = 4.3027, half width 4.3027 / sqrt(3) = 2.4841
    interval = paired_t_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert interval.mean == pytest.approx(2.0)
    assert interval.low == pytest.approx(2.0 - 2.4841, abs=1e-4)
    assert interval.high == pytest.approx(2.0 + 2.4841, abs=1e-4)


@given(shares)
def test_interval_is_that_of_scipy(pairs):
    first, second = zip(*pairs, strict=True)
    differences = [a - b for a, b in pairs]
    if len({round(d, 9) for d in differences}) == 1:
        return  # scipy has no interval without spread
    ours = paired_t_interval(first, second)
    theirs = stats.ttest_rel(first, second).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_one_draw_has_no_interval():
    assert paired_t_interval([0.5], [0.25]) == Interval(0.25, None, None)


def test_equal_differences_give_an_interval_of_width_zero():
    assert paired_t_interval([0.75, 1.0], [0.5, 0.75]) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], [])])
def test_values_that_are_no_pairs_are_refused(first, second):
    with pytest.raises(ValueError, match="pairs are needed"):
        paired_t_interval(first, second)


def result(arm: str, seed: int, accuracy: float) -> dict:
    return {"arm": arm, "seed": seed, "accuracy": accuracy}


def test_a_summary_pairs_by_seed_and_not_by_order():
    results = [result("a", 0, 0.2), result("a", 1, 0.4), result("b", 1, 0.5), result("b", 0, 0.1)]
    row = summarise(results, {"a": "a", "b": "a"})[1]
    assert row["diff"] == pytest.approx(0.0)  # (0.1 - 0.2 + 0.5 - 0.4) / 2
    assert row["mean"] == pytest.approx(0.3)


def test_a_summary_compares_only_draws_that_both_arms_have():
    results = [result("a", 0, 0.2), result("a", 1, 0.9), result("b", 0, 0.5)]
    row = summarise(results, {"a": "a", "b": "a"})[1]
    assert (row["n"], row["diff"], row["low"]) == (1, pytest.approx(0.3), None)


def test_the_baseline_has_no_difference_to_itself():
    row = summarise([result("a", 0, 0.2), result("a", 1, 0.4)], {"a": "a"})[0]
    assert (row["diff"], row["low"], row["high"]) == (None, None, None)
    assert row["std"] == pytest.approx(0.1414, abs=1e-4)
