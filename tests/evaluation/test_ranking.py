"""AUC by hand, against scipy and against counting pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from weighted_mtp.evaluation.ranking import auc, auc_by_position

scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 2)), min_size=1, max_size=30)


def counted(scores, positives, groups) -> float | None:
    """Share of pairs won, one by one."""
    pairs = [
        0.5 if g == h or s == t else float(s > t)
        for s, p, g in zip(scores, positives, groups, strict=True)
        for t, q, h in zip(scores, positives, groups, strict=True)
        if p and not q
    ]
    return sum(pairs) / len(pairs) if pairs else None


def test_auc_by_hand():
    # positives 3 and 1, negatives 2, 1 and 0: 3 beats all 3; 1 loses, ties, wins: (3 + 1.5) / 6
    assert auc([3, 1, 2, 1, 0], [1, 1, 0, 0, 0]) == 0.75


def test_auc_with_tied_groups_by_hand():
    # the pairs (3, 2) and (1, 2) are of one group: half each. (3, 0) and (1, 0) are won: (1 + 2) / 4
    assert auc([3, 1, 2, 0], [1, 1, 0, 0], tied_groups=[5, 5, 5, 6]) == 0.75


@given(scored)
def test_auc_is_the_mann_whitney_statistic_of_scipy(rows):
    scores, positives, _ = map(np.array, zip(*rows, strict=True))
    if positives.all() or not positives.any():
        assert auc(scores, positives) is None
        return
    won = stats.mannwhitneyu(scores[positives], scores[~positives]).statistic
    assert auc(scores, positives) == pytest.approx(won / (positives.sum() * (~positives).sum()))


@given(scored)
def test_auc_is_that_of_scikit_learn(rows):
    scores, positives, _ = map(np.array, zip(*rows, strict=True))
    if 0 < positives.sum() < len(positives):
        assert auc(scores, positives) == pytest.approx(roc_auc_score(positives, scores))


@given(scored)
def test_auc_is_the_share_of_pairs_won(rows):
    scores, positives, groups = zip(*rows, strict=True)
    assert auc(scores, positives, groups) == pytest.approx(counted(scores, positives, groups))
    apart = range(len(scores))
    assert auc(scores, positives, apart) == pytest.approx(counted(scores, positives, apart))


@given(scored)
def test_scores_and_their_negatives_share_the_pairs(rows):
    scores, positives, groups = map(np.array, zip(*rows, strict=True))
    if 0 < positives.sum() < len(positives):
        assert auc(scores, positives, groups) + auc(-scores, positives, groups) == pytest.approx(1.0)


def test_only_the_order_of_scores_counts():
    assert auc([-np.inf, 0.0, np.inf], [0, 1, 1]) == auc([1, 2, 3], [0, 1, 1]) == 1.0


def test_any_shape_will_do():
    assert auc([[3, 1], [2, 0]], [[True, True], [False, False]]) == auc([3, 1, 2, 0], [1, 1, 0, 0])


@pytest.mark.parametrize("positives", [[], [True, True], [False, False]])
def test_a_class_without_members_gives_no_auc(positives):
    assert auc(np.zeros(len(positives)), positives) is None


def test_a_score_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        auc([0.0, np.nan], [True, False])


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"are \(2,\), \(3,\) and \(2,\)"):
        auc([0.0, 1.0], [True, False, True])


def test_auc_by_position_compares_completions_that_reach_the_position():
    values = [[0.5, 0.9, 0.3], [0.5, 0.8, 0.4], [0.7, 0.2, np.nan]]
    mask = [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    # position 0: .5 and .5 against .7; position 1: .9 and .8 against .2; position 2: both are right
    assert auc_by_position(values, [1, 1, 0], mask) == [0.0, 1.0, None]


def test_auc_by_position_refuses_outcomes_of_tokens():
    with pytest.raises(ValueError, match="values, outcomes and mask"):
        auc_by_position([[0.5, 0.9]], [1, 0], [[1, 1]])
