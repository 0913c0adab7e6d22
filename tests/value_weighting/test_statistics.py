"""Moments that merge, and what is made of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.value_weighting import (
    Moments,
    clip_fraction,
    critic_drift,
    merge_moments,
    moments,
    td_stats,
    weight_stats,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.floats(0.0, 1e3), max_size=6), min_size=1, max_size=4))
def test_merged_moments_equal_the_moments_of_everything(parts):
    tensors = [torch.tensor(part, dtype=torch.float64) for part in parts]
    whole, merged = moments(torch.cat(tensors)), merge_moments(*(moments(part) for part in tensors))
    for name, a, b in zip(Moments._fields, merged, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-6 if name == "m2" else 1e-9)


def test_merging_two_by_two_equals_merging_all():
    parts = [moments(torch.rand(n, dtype=torch.float64)) for n in (1, 0, 5)]
    two_by_two = merge_moments(merge_moments(parts[0], parts[1]), parts[2])
    for a, b in zip(two_by_two, merge_moments(*parts), strict=True):
        torch.testing.assert_close(a, b)


def test_variance_of_large_numbers_survives_float32():
    # 1e6 - 1, 1e6, 1e6 + 1: a sum of squares in float32 has steps of 65,536
    assert td_stats(moments(torch.tensor([999_999.0, 1e6, 1_000_001.0])))["td_std"].item() == 1.0


@pytest.mark.parametrize("level", [1e-30, 1.0, 1e30])
def test_entropy_does_not_depend_on_the_scale_of_the_weights(level):
    stats = weight_stats(moments(level * torch.tensor([1.0, 1.0, 2.0])))
    expected = (math.log(4) / 2 + math.log(2) / 2) / math.log(3)
    assert stats["weight_entropy"].item() == pytest.approx(expected, abs=1e-6)


def test_kl_to_uniform_is_log_n_minus_entropy():
    # shares 1/4 and 3/4 against 1/2 and 1/2
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert weight_stats(moments(torch.tensor([1.0, 3.0])))["weight_kl"].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weights", [[], [3.0], [0.0, 0.0], [2.0, 2.0, 2.0]])
def test_kl_is_zero_where_nothing_is_unequal(weights):
    assert weight_stats(moments(torch.tensor(weights)))["weight_kl"].item() == pytest.approx(0.0, abs=1e-6)


def test_nan_shows_in_the_entropy_of_one_weight_and_of_many():
    for weights in ([math.nan], [math.nan, 1.0]):
        stats = weight_stats(moments(torch.tensor(weights)))
        assert math.isnan(stats["weight_entropy"])
        assert math.isnan(stats["weight_kl"])


def test_moments_carry_no_gradient():
    assert not any(m.requires_grad for m in moments(torch.ones(3, requires_grad=True)))


def test_clip_fraction_counts_valid_weights_at_a_bound():
    weights = torch.tensor([[0.1, 5.0, 1.0, 5.0], [2.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    # two of four
    assert clip_fraction(weights, mask, 0.1, 5.0).item() == 0.5
    assert clip_fraction(weights, torch.zeros(2, 4), 0.1, 5.0).item() == 0.0


def test_drift_is_the_mean_bernoulli_divergence_of_the_valid_positions():
    now, start = torch.tensor([[0.5, 0.9, math.nan]]), torch.tensor([[0.25, 0.9, 0.1]])
    # (.5 log 2 + .5 log(2/3) + 0) / 2
    expected = (0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 2
    assert critic_drift(now, start, torch.tensor([[1, 1, 0]])).item() == pytest.approx(expected, abs=1e-6)


def test_drift_of_an_unchanged_or_saturated_critic_is_finite():
    values = torch.tensor([0.0, 0.3, 1.0])
    assert critic_drift(values, values, torch.ones(3)).item() == 0.0
    assert torch.isfinite(critic_drift(1 - values, values, torch.ones(3)))
    assert critic_drift(values, values, torch.zeros(3)).item() == 0.0
    assert math.isnan(critic_drift(torch.tensor([math.nan]), torch.tensor([0.5]), torch.ones(1)))


def test_drift_of_other_shapes_is_an_error():
    with pytest.raises(ValueError, match=r"values_at_start has shape \[2\]; needed is the shape of values = \[3\]"):
        critic_drift(torch.ones(3), torch.ones(2), torch.ones(3))
