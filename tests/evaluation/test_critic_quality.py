"""One critic's record: made of its parts, plain for JSON, blind to padding."""

import json

import numpy as np
import pytest

from weighted_mtp.data import EASY, make_chains
from weighted_mtp.evaluation.critic_quality import critic_quality


@pytest.fixture(scope="module")
def traces():
    """(outcomes, token_error, mask) of 200 fresh chains, every third cut to its first three results."""
    rows = make_chains(EASY, seed=0, n_train_traces=8, n_test_prompts=200).fresh
    mask = np.ones((200, 4), np.bool_)
    mask[::3, 3] = False
    return np.array([row["label"] for row in rows]), np.array([row["token_error"] for row in rows]), mask


def oracle(outcomes, token_error, mask):
    """Values and credit of a critic that believes in success until it sees an error."""
    seen = token_error.cumsum(1) - token_error > 0
    return np.where(seen, 0.1, 0.9), np.where(token_error & ~seen, -0.8, 0.0)


def test_a_critic_that_sees_errors_beats_both_shortcuts(traces):
    values, credit = oracle(*traces)
    outcomes, token_error, mask = traces
    quality = critic_quality(values, credit, outcomes, token_error, mask)
    assert (quality.localisation.auc, quality.localisation.top1) == (1.0, 1.0)
    assert quality.position_only_auc == pytest.approx(0.5, abs=0.1)
    assert quality.length_only_auc == pytest.approx(0.5, abs=0.1)
    assert quality.length_only_outcome_auc == pytest.approx(0.5, abs=0.1)
    assert quality.auc_by_position[0] == 0.5  # nothing seen yet
    assert quality.auc_by_position[0] < quality.auc_by_position[1] < quality.auc_by_position[2]


def test_the_final_calibration_error_reads_the_last_value_of_each_completion():
    values = [[0.5, 0.9, 0.0], [0.5, 0.5, 0.2]]
    mask = [[True, True, False], [True, True, True]]
    quality = critic_quality(values, np.zeros((2, 3)), [1, 0], np.zeros((2, 3)), mask)
    assert quality.final_ece == pytest.approx((0.1 + 0.2) / 2)  # .9 against 1, .2 against 0
    # bins (.4, .5]: 3 values of .5, a third right; (.8, .9]; (.1, .2]
    assert quality.ece == pytest.approx((3 * (0.5 - 1 / 3) + 0.1 + 0.2) / 5)
    assert quality.brier == pytest.approx((3 * 0.25 + 0.01 + 0.04) / 5)


def test_a_completion_without_response_tokens_does_not_count(traces):
    outcomes, token_error, mask = traces
    values, credit = oracle(*traces)
    short = mask.copy()
    short[5] = False
    kept = np.arange(200) != 5
    parts = values, credit, outcomes, token_error
    assert critic_quality(*parts, short) == critic_quality(*(part[kept] for part in parts), mask[kept])


def test_what_lies_outside_the_mask_is_never_read(traces):
    outcomes, token_error, mask = traces
    values, credit = oracle(*traces)
    hidden = [np.where(mask, array, np.nan) for array in (values, credit)]
    assert critic_quality(*hidden, outcomes, token_error | ~mask, mask) == critic_quality(
        values, credit, outcomes, token_error, mask
    )


def test_a_record_survives_json(traces):
    outcomes, token_error, mask = traces
    record = critic_quality(*oracle(*traces), outcomes, token_error, mask).as_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["localisation"]["n_completions"] == 200
    assert record["reliability"][0].keys() == {"low", "high", "mean_value", "observed_rate", "count"}


def test_float32_and_numbers_for_booleans_give_the_same_record_types():
    ones = np.ones((2, 2), np.float32)
    record = critic_quality(ones / 2, ones, np.float32([0, 1]), ones, ones).as_dict()
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize(
    ("values", "outcomes"), [(np.zeros((2, 3)), np.zeros(2)), (np.zeros((2, 2)), np.zeros((2, 2)))]
)
def test_shapes_that_do_not_fit_are_refused(values, outcomes):
    grid = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"\[N, T\] and \[N\]"):
        critic_quality(values, grid, outcomes, grid, grid)


def test_completions_without_any_response_token_are_refused():
    grid = np.ones((2, 2))
    with pytest.raises(ValueError, match="at least one"):
        critic_quality(grid, grid, [0, 1], grid, 0 * grid)


def test_a_value_or_a_credit_that_is_nan_is_refused():
    good, bad = np.full((2, 2), 0.5), np.array([[0.5, np.nan], [0.5, 0.5]])
    with pytest.raises(ValueError, match="1 of 4 response tokens have a NaN credit"):
        critic_quality(good, bad, [0, 1], good > 1, good > 0)
    with pytest.raises(ValueError, match="1 values and 0 outcomes are NaN"):
        critic_quality(bad, good, [0, 1], good > 1, good > 0)
