"""Position and length alone: means of the others, and chance where there is nothing to know."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weighted_mtp.evaluation.localisation import locate_errors
from weighted_mtp.evaluation.ranking import (
    auc,
    length_groups,
    length_only,
    length_only_values,
    position_groups,
    position_only,
)

masks = hnp.arrays(np.bool_, (6, 4))
credits = hnp.arrays(np.float64, (6, 4), elements=st.floats(-3, 3))


def mean(numbers) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


@given(credits, masks)
def test_position_only_is_the_mean_of_the_others_at_that_position(credit, mask):
    shortcut = position_only(np.where(mask, credit, np.nan), mask)
    for i, j in np.ndindex(mask.shape):
        others = [credit[k, j] for k in range(6) if k != i and mask[k, j]]
        assert shortcut[i, j] == pytest.approx(mean(others) if mask[i, j] else 0.0, abs=1e-9)


@given(credits, masks)
def test_length_only_is_the_mean_of_the_others_of_that_length(credit, mask):
    shortcut = length_only(np.where(mask, credit, np.nan), mask)
    for i, j in np.ndindex(mask.shape):
        alike = [k for k in range(6) if k != i and mask[k].sum() == mask[i].sum()]
        others = [credit[k, at] for k in alike for at in range(4) if mask[k, at]]
        assert shortcut[i, j] == pytest.approx(mean(others) if mask[i, j] else 0.0, abs=1e-9)


def test_length_only_values_by_hand():
    # length 2: the others of 1 0 0 are right in 0/2, 1/2, 1/2; length 5 stands alone
    assert length_only_values([2, 2, 2, 5], [1, 0, 0, 1]).tolist() == [0.0, 0.5, 0.5, 0.5]


def test_the_groups_of_tokens_are_their_positions_and_their_lengths():
    mask = [[True, True, True], [True, False, False]]
    assert position_groups(mask).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert length_groups(mask).tolist() == [[3, 3, 3], [1, 1, 1]]


def test_where_all_errors_are_at_one_position_the_position_alone_finds_them():
    error = np.zeros((8, 4), np.bool_)
    error[:6, 2] = True
    mask = np.ones(error.shape, np.bool_)
    found = locate_errors(position_only(-1.0 * error, mask), error, mask, position_groups(mask))
    # 6 positives: each beats the 24 tokens of other positions and ties with the 2 right ones of its own
    assert found.auc == pytest.approx((24 + 1) / 26)
    assert found.top1 == 1.0


def test_leave_one_out_means_without_tied_groups_turn_a_group_around():
    lengths, outcomes = np.full(9, 4), np.arange(9) < 3
    values = length_only_values(lengths, outcomes)
    assert auc(values, outcomes) == 0.0
    assert auc(values, outcomes, tied_groups=lengths) == 0.5


def test_position_alone_is_at_chance_where_credit_and_errors_ignore_it():
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        chosen = rng.integers(0, 5, 100)  # one error a completion, anywhere
        error = np.arange(5) == chosen[:, None]
        mask = np.ones(error.shape, np.bool_)
        found.append(locate_errors(position_only(-1.0 * error, mask), error, mask, position_groups(mask)).auc)
    # without tied groups .41; standard error .05 / sqrt(40) = .008
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)
