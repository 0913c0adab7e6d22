"""Locating the first wrong token, by hand and at the extremes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weighted_mtp.evaluation.localisation import first_errors, locate_errors

cells = hnp.arrays(np.bool_, (6, 5))


def test_localisation_by_hand():
    credit = [[0.3, -0.5, -0.9], [-0.6, 0.1, 0.2], [0.4, -0.1, 0.0]]
    error = [[False, True, True], [False, False, False], [False, True, False]]
    found = locate_errors(credit, error, np.ones((3, 3)))
    # first wrong tokens: -.5 and -.1; the later error -.9 is left out; negatives .3 | -.6 .1 .2 | .4 0
    assert found.auc == pytest.approx((5 + 5) / 12)  # both beat all but -.6
    assert found.auc_within_wrong == 1.0  # against .3 .4 0
    assert found.top1 == 0.5  # row 0 blames the later error, row 2 is right
    assert (found.n_completions, found.n_with_error, found.n_tokens) == (3, 2, 9)


def test_tokens_of_equal_least_credit_share_the_hit():
    found = locate_errors([[-1.0, -1.0, 0.0], [0.0, 0.0, 0.0]], [[1, 0, 0], [0, 0, 1]], np.ones((2, 3)))
    assert found.top1 == pytest.approx((1 / 2 + 1 / 3) / 2)


@given(cells, cells)
def test_credit_that_knows_the_errors_finds_every_first_one(error, mask):
    first = first_errors(error, mask)
    found = locate_errors(-1.0 * first, error, mask)
    assert found.auc in (1.0, None)
    assert found.auc_within_wrong in (1.0, None)
    assert found.top1 == (1.0 if first.any() else None)


@given(cells, cells)
def test_credit_that_knows_nothing_is_at_chance(error, mask):
    found = locate_errors(np.zeros(error.shape), error, mask)
    lengths = mask.sum(1)[(error & mask).any(1)]
    assert found.auc in (0.5, None)
    assert found.top1 == (pytest.approx((1 / lengths).mean()) if len(lengths) else None)


@given(cells, cells, hnp.arrays(np.float64, (6, 5), elements=st.floats(-3, 3)))
def test_what_lies_outside_the_mask_is_never_read(error, mask, credit):
    noise = np.where(mask, credit, np.nan)
    assert locate_errors(noise, error | ~mask, mask) == locate_errors(credit, error & mask, mask)


@given(cells, cells)
def test_first_errors_are_at_most_one_a_completion_with_none_before(error, mask):
    first = first_errors(error, mask)
    assert (first.sum(1) == (error & mask).any(1)).all()
    for row, found in zip(error & mask, first, strict=True):
        assert not row[: found.argmax()].any()


def test_without_errors_there_is_nothing_to_locate():
    found = locate_errors([[0.1, 0.2]], [[False, False]], [[True, True]])
    assert (found.auc, found.auc_within_wrong, found.top1, found.n_with_error) == (None, None, None, 0)


def test_credit_of_a_later_error_that_is_nan_is_refused_too():
    with pytest.raises(ValueError, match="1 of 2 response tokens have a NaN credit"):
        locate_errors([[0.0, np.nan]], [[True, True]], [[True, True]])


@pytest.mark.parametrize("error", [[[True]], [True, False, False]])
def test_shapes_that_differ_are_refused(error):
    with pytest.raises(ValueError, match=r"all must be \[N, T\]"):
        locate_errors([[0.0, 0.0, 0.0]], error, [[True, True, True]])


def test_the_interval_is_that_of_drawn_prompts_and_holds_the_auc():
    rng = np.random.default_rng(0)
    credit, error = rng.normal(size=(200, 6)), np.zeros((200, 6), bool)
    error[np.arange(150), rng.integers(6, size=150)] = True  # 50 completions are right
    credit -= 0.8 * error
    mask, prompts = np.ones_like(error), np.arange(200) // 2
    found = locate_errors(credit, error, mask, prompts=prompts)
    assert found.interval.mean == pytest.approx(found.auc_within_wrong, abs=1e-12)
    assert found.interval.low < found.auc_within_wrong < found.interval.high < found.interval.low + 0.2
    one = locate_errors(credit, error, mask, prompts=np.zeros(200))
    assert (one.interval.mean, one.interval.low) == (pytest.approx(found.auc_within_wrong), None)
    assert locate_errors(credit, error & False, mask, prompts=prompts).interval is None
    assert locate_errors(credit, error, mask).interval is None
    with pytest.raises(ValueError, match="give one number each"):
        locate_errors(credit, error, mask, prompts=[1])


def test_a_prompt_of_many_completions_widens_the_interval():
    rng = np.random.default_rng(1)
    skilled = np.repeat(rng.random(20) < 0.5, 10)  # found in all completions of a prompt or in none
    error = np.zeros((200, 4), bool)
    error[:, 0] = True
    credit = rng.normal(size=(200, 4)) - np.where(skilled, 3.0, -3.0)[:, None] * error
    of_prompts, of_rows = (
        locate_errors(credit, error, np.ones_like(error), prompts=ids).interval
        for ids in (np.arange(200) // 10, np.arange(200))
    )
    assert of_prompts.high - of_prompts.low > 2 * (of_rows.high - of_rows.low)
