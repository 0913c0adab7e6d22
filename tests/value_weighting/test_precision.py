"""Settings that lower the precision of a model's arithmetic do not reach its weights."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from weighted_mtp.value_weighting import (
    Signals,
    compute_gae,
    compute_td_errors,
    compute_weight_stats,
    make_scheme,
    values_from_credit,
    weigh,
    whiten,
)


def draw(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


MASK = draw(3, 200) < 0.8
SIGNALS = Signals(
    mask=MASK,
    valid=MASK[..., None],
    values=draw(3, 200),
    credit=6 * draw(3, 200) - 3,
    rewards=torch.tensor([1, 0, 1]),
    nll=draw(3, 200, 1),
    reference_nll=draw(3, 200, 1).flip(1),
)


@pytest.mark.parametrize(
    "function",
    [
        lambda: compute_td_errors(SIGNALS.values[..., None], SIGNALS.rewards, MASK),
        lambda: compute_gae(SIGNALS.values, SIGNALS.rewards, None),
        lambda: compute_gae(SIGNALS.values, SIGNALS.rewards, MASK),
        lambda: whiten(SIGNALS.values, MASK),
        lambda: torch.tensor(list(compute_weight_stats(SIGNALS.values, MASK).values())),
        # a fresh copy, because TD errors are kept
        lambda: weigh(make_scheme("td", entropy_floor=0.99, beta=0.1), dataclasses.replace(SIGNALS)),
        lambda: weigh(make_scheme("log_odds", whitening="batch", smoothing=0.1), SIGNALS),
        lambda: weigh(make_scheme("return_weighted"), SIGNALS),
        lambda: values_from_credit(SIGNALS.credit, torch.tensor(0.3), MASK),
        lambda: weigh(make_scheme("softmax"), dataclasses.replace(SIGNALS)),
        lambda: weigh(make_scheme("rho1"), dataclasses.replace(SIGNALS)),
    ],
)
def test_autocast_changes_nothing(function):
    expected = function()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = function()
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("lam", [0.95, 0.999, 1.0])
@pytest.mark.parametrize("mask", [None, draw(2, 20_000) < 0.6], ids=["dense", "gaps"])
def test_long_rows_in_float32_stay_within_5e_6_of_the_largest_advantage(lam, mask):
    values, reward = draw(2, 20_000), torch.tensor([1.0, 0.0])
    exact = compute_gae(values.double(), reward, mask, 1.0, lam)
    actual = compute_gae(values, reward, mask, 1.0, lam)
    assert (actual - exact).abs().max() < 5e-6 * exact.abs().max()


def test_padding_to_any_length_changes_no_advantage():
    values, reward, mask = draw(3, 200), torch.tensor([1.0, 0.0, 1.0]), MASK
    expected = compute_gae(values, reward, mask, 0.99, 0.95)
    wide = compute_gae(F.pad(values, (57, 300)), reward, F.pad(mask, (57, 300)), 0.99, 0.95)
    torch.testing.assert_close(wide[:, 57:257], expected, rtol=0, atol=1e-6)
