"""The schemes of the form clip(exp(c / beta)): what is theirs alone, `log_odds` and `return_weighted`."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.value_weighting import TD, Exponential, Signals, build_weights, make_scheme, weigh, whiten
from weighted_mtp.value_weighting.schemes.log_odds import smooth_log_odds

MASK = torch.tensor([[True, True, True], [False, True, True]])
CREDIT = torch.tensor([[0.5, -1.0, 9.0], [math.nan, 0.0, -9.0]])
SIGNALS = Signals(mask=MASK, valid=MASK[..., None], credit=CREDIT)


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=0, atol=atol)


def weights_of(name, signals, **options):
    return weigh(make_scheme(name, **options), signals)[..., 0]


def signals_of(rewards, mask=MASK, **changes):
    return Signals(mask=mask, valid=mask[..., None], rewards=torch.tensor(rewards), **changes)


class Surprising(Exponential):
    """Credit that is the model's loss: a scheme of one's own in three lines."""

    def token_credit(self, signals):
        return signals.nll[..., 0]


def test_a_subclass_says_only_what_the_credit_is():
    nll = CREDIT.abs()[..., None]
    signals = Signals(mask=MASK, valid=MASK[..., None], nll=nll)
    expected = build_weights(whiten(nll[..., 0], MASK), 1.0, mask=MASK)
    assert torch.equal(weigh(Surprising(whitening="batch"), signals)[..., 0], expected)
    with pytest.raises(NotImplementedError, match=r"Exponential needs a method token_credit\(signals\)"):
        weigh(Exponential(), signals)


def test_td_keeps_the_names_of_its_state():
    of_each = ("mean", "var", "weight", "step_count", "step_mean", "step_m2")
    expected = [f"{part}.{name}" for part in ("whitener", "level") for name in of_each]
    assert list(TD(whitening="ema", unit_mean=True).state_dict()) == expected


def test_log_odds_weights_by_hand():
    # e^.5, e^-1, the bound; e^0, the bound
    close(weights_of("log_odds", SIGNALS, whitening="none"), [[1.648721, 0.367879, 5.0], [0.0, 1.0, 0.1]])
    # at smoothing .2: (.8 e^.5 + .2) / (.8 + .2 e^.5) = 1.518977 / 1.129744; at 9 and -9 nearly 4 and 1/4
    smoothed = weights_of("log_odds", SIGNALS, whitening="none", smoothing=0.2)
    close(smoothed[0, 0], 1.344532)
    close(smoothed[0, 2], 3.998149)
    close(smoothed[1], [0.0, 1.0, 1 / 3.998149])


def test_log_odds_are_whitened_by_running_statistics_unless_told():
    scheme = make_scheme("log_odds")
    unwhitened = weigh(scheme, SIGNALS)[..., 0]
    assert torch.equal(unwhitened, weights_of("log_odds", SIGNALS, whitening="none"))
    scheme.commit()
    close(weigh(scheme, SIGNALS)[..., 0], build_weights(whiten(CREDIT, MASK), 1.0, mask=MASK))


def test_log_odds_read_neither_rewards_nor_values():
    known = Signals(
        mask=MASK,
        valid=MASK[..., None],
        credit=CREDIT,
        values=torch.full_like(CREDIT, math.nan),
        rewards=torch.full((2,), math.nan),
    )
    assert torch.equal(weights_of("log_odds", known), weights_of("log_odds", SIGNALS))


def exact(credit, smoothing):
    """The defining formula in float64, divided by exp(|c|) above and below, so that nothing overflows."""
    x = math.exp(-abs(credit))
    size = math.log1p(-smoothing * (1 - x)) - math.log((1 - smoothing) * x + smoothing)
    return math.copysign(size, credit)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.floats(-1e4, 1e4, width=32) | st.floats(-30.0, 30.0, width=32), st.floats(1e-30, 0.5, exclude_max=True))
def test_smoothed_log_odds_equal_the_formula_in_float32(credit, smoothing):
    x = torch.tensor([credit, -credit])
    smoothed = smooth_log_odds(x, smoothing)
    assert smoothed.tolist() == pytest.approx([exact(credit, smoothing), exact(-credit, smoothing)], 2e-7, 2e-7)
    assert smoothed[0] == -smoothed[1]
    assert smoothed.abs().max() <= torch.tensor(math.log1p(-smoothing) - math.log(smoothing)) * (1 + 1e-6)
    # in float64 to 1e-14 of the larger of itself and 1
    assert smooth_log_odds(x.double(), smoothing)[0].item() == pytest.approx(exact(credit, smoothing), 1e-14, 1e-14)


def test_smoothing_of_zero_leaves_the_credit_and_none_hides_a_nan():
    credit = torch.tensor([1e4, -math.inf, 0.3, math.nan])
    torch.testing.assert_close(smooth_log_odds(credit, 0.0), credit, rtol=0, atol=0, equal_nan=True)
    smoothed = smooth_log_odds(credit, 0.25)
    # log 3 = 1.098612; (.75 e^.3 + .25) / (.75 + .25 e^.3) = 1.262394 / 1.087465
    close(smoothed[:3], [1.098612, -1.098612, 0.149162])
    assert smoothed[3].isnan()


def test_return_weighted_gives_every_token_of_a_row_the_weight_of_its_reward():
    # e^(1 / .9), e^0
    close(weights_of("return_weighted", signals_of([1.0, 0.0])), [[3.037732] * 3, [0.0, 1.0, 1.0]])
    close(weights_of("return_weighted", signals_of([1.0, -1.0]), beta=0.5), [[5.0] * 3, [0, 0.135335, 0.135335]])


def test_return_weighted_counts_the_rewards_from_each_position_on():
    rewards = [[1.0, 0.5, -0.5], [9.0, 0.25, 0.0]]
    expected = torch.tensor([[1.0, 0.0, -0.5], [0.0, 0.25, 0.0]])
    actual = weights_of("return_weighted", signals_of(rewards), beta=1.0)
    close(actual, torch.where(MASK, expected.exp(), 0.0))


def test_return_weighted_stays_within_the_episodes_of_a_packed_row():
    mask = torch.ones(1, 5, dtype=torch.bool)
    signals = signals_of([[0.0, 1.0, 0.0, 0.0, -1.0]], mask, segment_ids=torch.tensor([[1, 1, 2, 2, 2]]))
    expected = torch.tensor([[1.0, 1.0, -1.0, -1.0, -1.0]])
    close(weights_of("return_weighted", signals, beta=1.0), expected.exp())


def test_return_weighted_discounts_by_valid_positions():
    mask = torch.tensor([[True, False, True, True]])
    expected = torch.tensor([[0.25, -math.inf, 0.5, 1.0]])
    actual = weights_of("return_weighted", signals_of([1.0], mask, gamma=0.5), beta=1.0)
    close(actual, expected.exp())


def test_return_weighted_is_td_with_monte_carlo_credit_over_values_of_zero():
    signals = signals_of([[1.0, 0.5, -0.5], [9.0, 0.25, 1.0]], values=torch.zeros(2, 3), gamma=0.9)
    for options in ({}, {"whitening": "batch"}, {"beta": 0.1, "entropy_floor": 0.5}):
        expected = weights_of("td", signals, credit="gae", lam=1.0, **options)
        assert torch.equal(weights_of("return_weighted", signals, **options), expected)
