"""Controls keep the distribution of the weights and tear them from their tokens."""

import math

import pytest
import torch

from weighted_mtp.value_weighting import Signals, align_to_heads, make_scheme, weigh
from weighted_mtp.value_weighting.schemes.controls import hash_per_prediction, standard_normal


def signals_of(weights, mask, seed=0, segment_ids=None):
    mask = mask.bool()
    generator = torch.Generator().manual_seed(seed)
    return Signals(mask=mask, valid=mask[..., None], weights=weights, generator=generator, segment_ids=segment_ids)


def control(name, signals):
    return weigh(make_scheme(name, inner="column"), signals)[..., 0]


WEIGHTS = torch.arange(40.0).view(4, 10)
MASK = torch.arange(10) < torch.tensor([[10], [7], [3], [0]])


def test_shuffled_keeps_the_weights_of_each_row():
    shuffled = control("shuffled", signals_of(WEIGHTS, MASK))
    for row in range(4):
        assert sorted(shuffled[row][MASK[row]].tolist()) == WEIGHTS[row][MASK[row]].tolist()
    assert not torch.equal(shuffled[0], WEIGHTS[0])


def test_shuffled_keeps_the_weights_of_each_segment():
    segments = torch.tensor([[1] * 4 + [2] * 6]).expand(4, 10)
    shuffled = control("shuffled", signals_of(WEIGHTS, MASK, segment_ids=segments))
    assert sorted(shuffled[0, :4].tolist()) == [0.0, 1.0, 2.0, 3.0]
    assert sorted(shuffled[0, 4:].tolist()) == [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


def test_shuffled_across_keeps_the_weights_of_the_batch_and_moves_them_between_rows():
    shuffled = control("shuffled_across", signals_of(WEIGHTS, MASK))
    assert sorted(shuffled[MASK].tolist()) == WEIGHTS[MASK].tolist()
    assert sorted(shuffled[0].tolist()) != WEIGHTS[0].tolist()


def test_shuffled_weights_per_prediction_stay_with_their_head():
    valid = torch.ones(2, 5, 2, dtype=torch.bool)
    nll = torch.arange(20.0).view(2, 5, 2)
    signals = Signals(
        mask=valid[..., 0],
        valid=valid,
        nll=nll,
        reference_nll=torch.zeros_like(nll),
        generator=torch.Generator().manual_seed(0),
    )
    for name in ("shuffled", "shuffled_across"):
        weights = weigh(make_scheme(name, inner="rho1", inner_options={"keep_fraction": 0.3}), signals)
        assert weights.sum((0, 1)).tolist() == [3.0, 3.0]
    within = weigh(make_scheme("shuffled", inner="rho1", inner_options={"keep_fraction": 0.3}), signals)
    assert within.sum(1).tolist() == [[0.0, 0.0], [3.0, 3.0]]


@pytest.mark.parametrize("name", ["shuffled", "shuffled_across"])
def test_every_order_is_equally_likely(name):
    signals = signals_of(torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3))
    drawn = [tuple(control(name, signals)[0].tolist()) for _ in range(1200)]
    counts = [drawn.count(order) for order in set(drawn)]
    # expected 200 each, standard deviation 13
    assert len(counts) == 6
    assert max(abs(count - 200) for count in counts) < 65


def test_lognormal_weights_have_the_moments_of_the_inner_scheme():
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(64, 512, generator=generator) * 3
    mask = torch.rand(64, 512, generator=generator) < 0.7
    drawn = control("lognormal", signals_of(weights, mask))[mask]
    given = weights[mask]
    assert drawn.mean().item() == pytest.approx(given.mean().item(), rel=0.02)
    assert drawn.std().item() == pytest.approx(given.std().item(), rel=0.03)
    logs = drawn.log()
    skew = ((logs - logs.mean()) ** 3).mean() / logs.std() ** 3
    assert abs(skew.item()) < 0.05
    assert abs(torch.corrcoef(torch.stack([drawn, given]))[0, 1].item()) < 0.03


def test_lognormal_of_zero_weights_is_zero_and_of_equal_weights_is_equal():
    mask = torch.ones(2, 3)
    assert (control("lognormal", signals_of(torch.zeros(2, 3), mask)) == 0).all()
    torch.testing.assert_close(control("lognormal", signals_of(torch.full((2, 3), 2.0), mask)), torch.full((2, 3), 2.0))


@pytest.mark.parametrize("name", ["shuffled", "shuffled_across", "lognormal"])
def test_same_seed_repeats_and_the_next_call_differs(name):
    first, second = signals_of(WEIGHTS, MASK, seed=5), signals_of(WEIGHTS, MASK, seed=5)
    a, b, later = control(name, first), control(name, second), control(name, first)
    assert torch.equal(a, b)
    assert not torch.equal(a, later)


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a = control("shuffled", signals_of(WEIGHTS, MASK))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(control("shuffled", signals_of(WEIGHTS, MASK)), a)


def test_hashed_numbers_are_normal_and_uncorrelated():
    z = standard_normal(hash_per_prediction(torch.ones(200, 100, 2), torch.Generator().manual_seed(0)))
    assert torch.isfinite(z).all()
    shares = torch.tensor([(z < x).float().mean() for x in (-2.0, -1.0, 0.0, 1.0, 2.0)])
    torch.testing.assert_close(shares, torch.tensor([0.0228, 0.1587, 0.5, 0.8413, 0.9772]), rtol=0, atol=0.01)
    neighbours = [(z[:, 1:], z[:, :-1]), (z[1:], z[:-1]), (z[..., 1], z[..., 0])]
    for a, b in neighbours:
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.03


def test_control_keeps_and_commits_the_state_of_its_inner_scheme():
    scheme = make_scheme("shuffled", inner="td", inner_options={"whitening": "ema"})
    values, mask = torch.tensor([[0.1, 0.5, 0.9]]), torch.ones(1, 3, dtype=torch.bool)
    signals = Signals(
        mask=mask,
        valid=mask[..., None],
        values=values,
        rewards=torch.tensor([1.0]),
        generator=torch.Generator().manual_seed(0),
    )
    weigh(scheme, signals)
    scheme.commit()
    # TD errors .4, .4, .1
    assert scheme.state_dict()["inner.whitener.mean"].item() == pytest.approx(0.3, abs=1e-6)


def test_random_control_requires_a_generator_and_what_its_inner_scheme_requires():
    assert make_scheme("shuffled", inner="rho1").requires == ("generator", "nll", "reference_nll")


def test_control_that_draws_nothing_requires_no_generator():
    assert make_scheme("position_aligned", inner="log_odds").requires == ("credit",)
    signals = Signals(mask=MASK, valid=MASK[..., None], weights=WEIGHTS)
    assert torch.equal(control("position_aligned", signals), torch.where(MASK, WEIGHTS, 0.0))


def test_position_aligned_gives_every_head_the_weight_of_its_position():
    # the prompt ends at 1, where head 0 predicts the first token of the response; 4 is a gap
    mask = torch.tensor([[False, True, True, True, False, True, False]])
    valid = align_to_heads(mask, 3)
    weights = torch.tensor([[math.nan, 2.0, 3.0, 4.0, math.nan, 6.0, math.nan]])
    signals = Signals(mask=mask, valid=valid, weights=weights)
    expected = torch.tensor(
        [
            [0.0, 1.0, 1.0],  # before the response: no credit is known, heads 1 and 2 predict 2 and 3
            [2.0, 2.0, 2.0],
            [3.0, 3.0, 0.0],
            [4.0, 0.0, 4.0],
            [0.0, 1.0, 0.0],
            [6.0, 0.0, 0.0],
            [0.0, 0.0, 0.0],
        ]
    )
    assert torch.equal(weigh(make_scheme("position_aligned", inner="column"), signals), expected[None])
    by_token = weigh(make_scheme("column"), signals)
    assert by_token[0, 1].tolist() == [2.0, 3.0, 4.0]
    assert torch.equal(by_token[..., 0], expected[None, :, 0])


def test_position_aligned_takes_the_first_head_of_weights_per_prediction():
    valid = torch.ones(1, 4, 2, dtype=torch.bool)
    # head 0 keeps positions 0 and 3, head 1 the two others
    nll = torch.tensor([[[9.0, 0.0], [0.0, 9.0], [1.0, 8.0], [8.0, 1.0]]])
    signals = Signals(mask=valid[..., 0], valid=valid, nll=nll, reference_nll=torch.zeros_like(nll))
    weights = weigh(make_scheme("position_aligned", inner="rho1", inner_options={"keep_fraction": 0.5}), signals)
    assert weights.tolist() == [[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]]


def test_position_aligned_equals_its_inner_scheme_with_one_head():
    signals = Signals(mask=MASK, valid=MASK[..., None], credit=WEIGHTS / 40, rewards=torch.ones(4))
    for inner in ("log_odds", "return_weighted", "uniform"):
        expected = weigh(make_scheme(inner), signals)
        assert torch.equal(weigh(make_scheme("position_aligned", inner=inner), signals), expected)


def test_control_without_a_generator_is_an_error():
    with pytest.raises(ValueError, match=r"reads signals.generator, which is missing; .* source of randomness"):
        weigh(make_scheme("lognormal", inner="uniform"), Signals(mask=MASK, valid=MASK[..., None]))


def test_clip_bounds_are_those_of_the_inner_scheme_where_weights_are_only_moved():
    assert make_scheme("shuffled").clip_bounds() == (0.1, 5.0)
    assert make_scheme("position_aligned").clip_bounds() == (0.1, 5.0)
    assert make_scheme("lognormal").clip_bounds() is None
    assert math.isclose(make_scheme("shuffled_across", inner_options={"max_weight": 3.0}).clip_bounds()[1], 3.0)
