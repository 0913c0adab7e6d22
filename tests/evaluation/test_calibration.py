"""Calibration by hand, on the edges of bins and at the extremes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.evaluation.calibration import (
    ReliabilityBin,
    brier,
    expected_calibration_error,
    explained_variance,
    reliability,
)

pairs = st.lists(st.tuples(st.floats(-0.5, 1.5), st.booleans()), min_size=1, max_size=40)
counts = st.integers(1, 20)


def test_reliability_by_hand():
    values, outcomes = [0.05, 0.15, 0.15, 0.95], [0, 0, 1, 1]
    assert reliability(values, outcomes) == [
        ReliabilityBin(0.0, 0.1, 0.05, 0.0, 1),
        ReliabilityBin(0.1, 0.2, 0.15, 0.5, 2),
        ReliabilityBin(0.9, 1.0, 0.95, 1.0, 1),
    ]
    # (1 * .05 + 2 * .35 + 1 * .05) / 4
    assert expected_calibration_error(values, outcomes) == pytest.approx(0.2)


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 7, 10, 15])
def test_a_value_on_an_edge_belongs_to_the_bin_below_it_and_zero_to_the_first(bins):
    edges = [m / bins for m in range(bins + 1)]
    filled = reliability(edges, np.zeros(bins + 1), bins)
    assert [b.high for b in filled] == edges[1:]
    assert [b.count for b in filled] == [2] + [1] * (bins - 1)


@given(pairs, counts)
def test_bins_hold_every_value_once_and_their_own_only(rows, bins):
    values, outcomes = zip(*rows, strict=True)
    filled = reliability(values, outcomes, bins)
    assert sum(b.count for b in filled) == len(values)
    assert sum(b.count * b.observed_rate for b in filled) == pytest.approx(sum(outcomes))
    assert all(b.low - 1e-12 <= b.mean_value <= b.high + 1e-12 for b in filled)


@given(pairs, counts)
def test_the_calibration_error_is_a_share_and_grows_as_bins_split(rows, bins):
    values, outcomes = zip(*rows, strict=True)
    coarse, fine = (expected_calibration_error(values, outcomes, n) for n in (bins, 3 * bins))
    assert 0 <= coarse <= fine + 1e-9 <= 1 + 2e-9


def test_proxies_are_clipped_for_calibration_and_taken_as_they_are_elsewhere():
    values, outcomes = [-0.5, 1.5], [0, 1]
    assert expected_calibration_error(values, outcomes) == 0.0
    assert brier(values, outcomes) == 0.25
    assert explained_variance(values, outcomes) == pytest.approx(1 - 0.25 / 0.25)


def test_the_base_rate_is_calibrated_and_explains_nothing():
    values, outcomes = np.full(4, 0.25), [1, 0, 0, 0]
    assert expected_calibration_error(values, outcomes) == 0.0
    assert explained_variance(values, outcomes) == 0.0
    assert brier(values, outcomes) == pytest.approx(0.25 * 0.75)


def test_the_outcomes_themselves_explain_everything():
    outcomes = [1, 0, 0, 1]
    assert explained_variance(outcomes, outcomes) == 1.0
    assert brier(outcomes, outcomes) == expected_calibration_error(outcomes, outcomes) == 0.0


def test_outcomes_that_are_all_alike_have_no_variance_to_explain():
    assert explained_variance([0.2, 0.9], [1, 1]) is None


def test_an_offset_costs_the_brier_score_and_not_the_explained_variance():
    values, outcomes = np.array([0.1, 0.4, 0.6]), np.array([0, 1, 1])
    shifted = values + 0.3
    assert explained_variance(shifted, outcomes) == pytest.approx(explained_variance(values, outcomes))
    # mean((V + a - R)^2) = mean((V - R)^2) + 2 a mean(V - R) + a^2
    assert brier(shifted, outcomes) == pytest.approx(brier(values, outcomes) + 0.6 * (1.1 - 2) / 3 + 0.09)


@pytest.mark.parametrize("measure", [reliability, expected_calibration_error, explained_variance, brier])
@pytest.mark.parametrize(
    ("values", "outcomes", "message"),
    [
        ([0.5], [0, 1], "pairs are needed, at least one"),
        ([], [], "pairs are needed, at least one"),
        ([0.5, np.nan], [0, 1], "1 values and 0 outcomes are NaN"),
        ([0.5, 0.5], [np.nan, 1], "0 values and 1 outcomes are NaN"),
    ],
)
def test_values_that_cannot_be_judged_are_refused(measure, values, outcomes, message):
    with pytest.raises(ValueError, match=message):
        measure(values, outcomes)


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="bins is 0: at least 1"):
        reliability([0.5], [1], bins=0)
