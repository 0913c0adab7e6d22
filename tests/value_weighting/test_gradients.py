"""Gradients against finite differences in float64, and where there must be none."""

import math

import pytest
import torch

from weighted_mtp.value_weighting import (
    build_weights,
    compute_gae,
    compute_lambda_returns,
    compute_td_errors,
    log_odds_of_success,
    softmax_weights,
    values_from_credit,
    whiten,
)
from weighted_mtp.value_weighting.schemes.log_odds import smooth_log_odds

MASK = torch.tensor([[1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 1, 1]])
SEGMENTS = torch.tensor([[1, 1, 1, 1, 2, 2], [3, 3, 3, 4, 4, 0]])


def draw(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def gradcheck(function, *inputs):
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_td_errors(segments):
    gradcheck(lambda v, r: compute_td_errors(v[..., None], r, MASK, 0.9, segment_ids=segments), draw(2, 6), draw(2, 6))


def test_td_errors_with_a_reward_per_row():
    gradcheck(lambda v, r: compute_td_errors(v[..., None], r, MASK, 0.9), draw(2, 6), draw(2))


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("segments", [None, SEGMENTS])
@pytest.mark.parametrize("function", [compute_gae, compute_lambda_returns])
def test_advantages_and_returns(function, mask, segments):
    gradcheck(lambda v, r: function(v, r, mask, 0.9, 0.8, segments), draw(2, 6), draw(2, 6))


def test_weights_within_and_beyond_the_clip_bounds():
    # beta .2: exponents up to 5, so some weights are clipped at 3
    gradcheck(lambda td: build_weights(td, 0.2, 0.5, 3.0, mask=MASK), draw(2, 6))


def test_z_scores():
    gradcheck(lambda x: whiten(x, MASK), draw(2, 6))


def test_softmax_weights():
    gradcheck(lambda x: softmax_weights(x, 0.4, MASK, SEGMENTS), draw(2, 6))


@pytest.mark.parametrize("segments", [None, SEGMENTS])
@pytest.mark.parametrize("function", [log_odds_of_success, values_from_credit])
def test_log_odds_and_values_of_credit(function, segments):
    gradcheck(lambda c, prior: function(c, prior, MASK, segments), draw(2, 6), draw(2, 6))


def test_smoothed_log_odds():
    gradcheck(lambda c: smooth_log_odds(4 * c - 2, 0.2), draw(2, 6))


def test_weights_of_a_constant_batch_have_a_finite_gradient():
    x = torch.full((2, 3), 0.1, requires_grad=True)
    build_weights(whiten(x)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_nan_of_one_packed_episode_does_not_reach_the_gradient_of_another():
    values = torch.tensor([[0.1, 0.2, math.nan, 0.4, 0.5]], requires_grad=True)
    segments = torch.tensor([[1, 1, 2, 2, 2]])
    advantages = compute_gae(values, torch.zeros(1, 5), None, 0.9, 0.9, segments)
    advantages[0, 0].backward()
    # A[0] = .9 V[1] - V[0] + .81 (-V[1])
    torch.testing.assert_close(values.grad, torch.tensor([[-1.0, 0.09, 0.0, 0.0, 0.0]]))
