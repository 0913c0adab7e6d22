"""Subsets of a pool: their size, their share of right rows, and that the smaller lie in the larger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.chains.resampling import resample_right

POOL = [{"id": i, "label": i % 4 == 0} for i in range(80)]  # 20 right, 60 wrong

seeds = st.integers(0, 50)


def ids(rows, label=None):
    return [row["id"] for row in rows if label in (None, row["label"])]


@pytest.mark.parametrize(
    ("n", "share", "n_right"), [(80, 0.25, 20), (10, 0.3, 3), (10, 0.0, 0), (20, 1.0, 20), (3, 0.5, 2), (5, 0.5, 2)]
)
def test_a_subset_has_the_size_and_the_share_asked_for(n, share, n_right):
    subset = resample_right(POOL, n, share, seed=1)
    assert (len(subset), len(ids(subset, True))) == (n, n_right)
    assert len(set(ids(subset))) == n


@given(seeds, st.integers(0, 20), st.integers(0, 60), st.integers(0, 20), st.integers(0, 60))
def test_the_subset_with_more_right_and_more_wrong_rows_holds_the_other(seed, a, b, c, d):
    (few_right, many_right), (few_wrong, many_wrong) = sorted((a, c)), sorted((b, d))
    n_small, n_large = few_right + few_wrong, many_right + many_wrong
    if not n_small:
        return
    small = resample_right(POOL, n_small, few_right / n_small, seed)
    large = resample_right(POOL, n_large, many_right / n_large, seed)
    kept = [i for i in ids(large) if i in ids(small)]
    assert kept == ids(small)  # and in the same order


@given(seeds, st.integers(1, 25))
def test_subsets_of_one_share_are_nested(seed, n):
    assert set(ids(resample_right(POOL, n, 0.7, seed))) <= set(ids(resample_right(POOL, n + 1, 0.7, seed)))


def test_subsets_of_one_size_share_their_right_rows_as_the_share_rises():
    right = [ids(resample_right(POOL, 20, share, seed=0), True) for share in (0.2, 0.5, 0.8)]
    assert set(right[0]) < set(right[1]) < set(right[2])


def test_a_subset_is_a_function_of_its_seed():
    assert resample_right(POOL, 20, 0.5, seed=0) == resample_right(POOL, 20, 0.5, seed=0)
    assert set(ids(resample_right(POOL, 20, 0.5, seed=0))) != set(ids(resample_right(POOL, 20, 0.5, seed=1)))


def test_right_rows_are_drawn_from_the_whole_pool_and_stand_anywhere():
    subsets = [resample_right(POOL, 20, 0.5, seed) for seed in range(60)]
    assert {i for subset in subsets for i in ids(subset)} == set(range(80))
    places = [place for subset in subsets for place, row in enumerate(subset) if row["label"]]
    # mean of 600 places in 0..19: 9.5, standard error below 5.8 / sqrt(600) = .24
    assert sum(places) / len(places) == pytest.approx(9.5, abs=1.2)
    assert set(places) == set(range(20))


def test_the_pool_is_left_as_it_is():
    pool = [dict(row) for row in POOL]
    resample_right(pool, 20, 0.5, seed=0)
    assert pool == POOL


@pytest.mark.parametrize(("n", "share"), [(42, 0.5), (80, 0.2)])
def test_a_pool_with_too_few_rows_of_a_kind_is_refused(n, share):
    with pytest.raises(ValueError, match="but the pool holds 20 and 60: ask for fewer rows"):
        resample_right(POOL, n, share, seed=0)


@pytest.mark.parametrize(("n", "share"), [(0, 0.5), (4, -0.1), (4, 1.1), (4, float("nan"))])
def test_a_size_or_share_out_of_range_is_refused(n, share):
    with pytest.raises(ValueError, match="at least one row and a share in"):
        resample_right(POOL, n, share, seed=0)
