"""One golden test for each row of the table in DESIGN.md where the plain formula fails."""

import math

import pytest
import torch

from weighted_mtp.value_weighting import (
    build_weights,
    compute_gae,
    compute_lambda_returns,
    compute_td_errors,
    compute_td_stats,
    compute_weight_stats,
)

NAN, INF = math.nan, math.inf


def td(values, rewards, mask, gamma=1.0, segment_ids=None):
    values = torch.tensor(values)[..., None]
    segment_ids = None if segment_ids is None else torch.tensor(segment_ids)
    return compute_td_errors(values, torch.tensor(rewards), torch.tensor(mask), gamma, segment_ids=segment_ids)


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=0, atol=atol, equal_nan=True)


def test_published_td_errors():
    # .7-.5, .9-.7, 1-.9
    close(td([[0.5, 0.7, 0.9]], [1.0], [[1, 1, 1]]), [[0.2, 0.2, 0.1]])


def test_published_td_errors_of_a_right_padded_row():
    # a wrong answer: .3-.6, then 0-.3
    close(td([[0.6, 0.3, 0.8]], [0.0], [[1, 1, 0]]), [[-0.3, -0.3, 0.0]])


def test_published_weights():
    # exp(.2/.9), exp(-.5/.9), exp(.1/.9)
    close(build_weights(torch.tensor([0.2, -0.5, 0.1])), [1.249, 0.574, 1.118], atol=5e-4)
    expected = [math.exp(0.2 / 0.9), math.exp(-0.5 / 0.9), math.exp(0.1 / 0.9)]
    close(build_weights(torch.tensor([0.2, -0.5, 0.1])), expected)


@pytest.mark.parametrize(
    ("beta", "expected"), [(0.9, [1.249, 0.574, 1.118]), (0.5, [1.492, 0.368, 1.221]), (1.5, [1.143, 0.717, 1.069])]
)
def test_published_beta_table(beta, expected):
    close(build_weights(torch.tensor([0.2, -0.5, 0.1]), beta=beta), expected, atol=5e-4)


def test_published_standard_deviation_is_the_unbiased_one():
    # deviations -1, 0, 1: (1 + 0 + 1) / (3 - 1)
    assert compute_td_stats(torch.tensor([1.0, 2.0, 3.0]))["td_std"] == 1.0


def test_published_entropy_is_shannon_over_log_n():
    p = [1 / 6, 2 / 6, 3 / 6]
    expected = -sum(x * math.log(x) for x in p) / math.log(3)
    stats = compute_weight_stats(torch.tensor([1.0, 2.0, 3.0]))
    assert stats["weight_entropy"] == pytest.approx(expected, abs=1e-6)
    assert set(stats) == {"weight_mean", "weight_std", "weight_min", "weight_max", "weight_entropy"}
    assert set(compute_td_stats(torch.ones(2))) == {"td_mean", "td_std", "td_min", "td_max"}


def test_zero_reward_makes_every_error_the_loss_of_value():
    # .2-.4, .1-.2, 0-.1: they add up to 0 - V[0]
    close(td([[0.4, 0.2, 0.1]], [0.0], [[1, 1, 1]]), [[-0.2, -0.1, -0.1]])


@pytest.mark.parametrize("reward", [1e6, -1e6])
def test_extreme_reward_reaches_the_last_error_alone_and_a_finite_weight(reward):
    errors = td([[0.5, 0.7, 0.9]], [reward], [[1, 1, 1]])
    close(errors, [[0.2, 0.2, reward - 0.9]], atol=0.1)
    close(errors[:, :2], [[0.2, 0.2]])
    close(build_weights(errors)[0, 2], 5.0 if reward > 0 else 0.1, atol=0)


@pytest.mark.parametrize("value", [100.0, -100.0, INF, -INF])
def test_exponent_is_clamped_so_a_clipped_weight_has_gradient_zero(value):
    errors = torch.tensor([value, 0.0], requires_grad=True)
    weights = build_weights(errors)
    weights.sum().backward()
    close(weights.detach(), [5.0 if value > 0 else 0.1, 1.0])
    close(errors.grad, [0.0, 1 / 0.9])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clipped_weight_is_the_bound_to_the_last_bit(dtype):
    for tenths in range(1, 101):
        bound = tenths / 10
        assert build_weights(torch.tensor([99.0], dtype=dtype), max_weight=bound) == bound
        assert build_weights(torch.tensor([-99.0], dtype=dtype), min_weight=bound, max_weight=99.0) == bound


@pytest.mark.parametrize("beta", [1e-3, 1e-30, 1e-45, 1e-300, 5e-324])
@pytest.mark.parametrize("min_weight", [0.0, 0.1])
def test_tiny_beta_gives_the_bounds_and_gradient_zero(beta, min_weight):
    errors = torch.tensor([1.0, -1.0], requires_grad=True)
    weights = build_weights(errors, beta=beta, min_weight=min_weight)
    weights.sum().backward()
    close(weights.detach(), [5.0, min_weight])
    close(errors.grad, [0.0, 0.0])


@pytest.mark.parametrize("beta", [1e-45, 1e-300, 1e300])
def test_td_of_zero_has_weight_one_at_any_beta(beta):
    close(build_weights(torch.zeros(2), beta=beta), [1.0, 1.0])


def test_left_padding_pays_the_reward_at_the_last_valid_position():
    # .4-.2, .7-.4, 1-.7
    close(td([[9.0, 9.0, 0.2, 0.4, 0.7]], [1.0], [[0, 0, 1, 1, 1]]), [[0, 0, 0.2, 0.3, 0.3]])


def test_gap_in_the_mask_bootstraps_from_the_next_valid_position():
    # tool output at 1 and 2: .6-.2, then 1-.6
    close(td([[0.2, 9.0, -9.0, 0.6]], [1.0], [[1, 0, 0, 1]]), [[0.4, 0, 0, 0.4]])


def test_gap_costs_no_discount():
    # .5*.6-.2, not .125*.6-.2
    close(td([[0.2, 9.0, -9.0, 0.6]], [1.0], [[1, 0, 0, 1]], gamma=0.5), [[0.1, 0, 0, 0.4]])
    values, mask = torch.tensor([[0.2, 9.0, 0.6]]), torch.tensor([[1, 0, 1]])
    # A[2] = .4; A[0] = .5*.6-.2 + .5*.5*.4
    close(compute_gae(values, torch.tensor([1.0]), mask, gamma=0.5, lam=0.5), [[0.2, 0, 0.4]])


@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
def test_masking_keeps_garbage_from_leaking_forward_or_backward(garbage):
    values = torch.tensor([[garbage, 0.2, garbage, 0.6, garbage]], requires_grad=True)
    mask = torch.tensor([[0, 1, 0, 1, 0]])
    rewards = torch.tensor([[garbage, 0.0, garbage, 1.0, garbage]])
    errors = compute_td_errors(values[..., None], rewards, mask)
    close(errors.detach(), [[0, 0.4, 0, 0.4, 0]])
    (errors * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    # d/dV[1] = -2; d/dV[3] = 2 - 4
    close(values.grad, [[0, -2.0, 0, -2.0, 0]])

    raw = torch.tensor([garbage, 0.9], requires_grad=True)
    weights = build_weights(raw, mask=torch.tensor([0, 1]))
    weights.sum().backward()
    close(weights.detach(), [0.0, math.e])
    close(raw.grad, [0.0, math.e / 0.9])


@pytest.mark.parametrize("garbage", [NAN, INF])
def test_masking_keeps_garbage_from_leaking_into_advantages(garbage):
    values = torch.tensor([[garbage, 0.2, garbage, 0.6, garbage]], requires_grad=True)
    mask = torch.tensor([[0, 1, 0, 1, 0]])
    for function in (compute_gae, compute_lambda_returns):
        out = function(values, torch.tensor([1.0]), mask, 1.0, 0.5)
        (grad,) = torch.autograd.grad(out.sum(), values)
        assert torch.isfinite(out).all()
        assert torch.isfinite(grad).all()


def test_row_without_a_valid_token_is_zero_and_writes_nothing():
    errors = td([[0.5, 0.7], [0.4, 0.9]], [1.0, 1.0], [[0, 0], [1, 1]])
    close(errors, [[0, 0], [0.5, 0.1]])
    close(build_weights(errors, mask=torch.tensor([[0, 0], [1, 1]]))[0], [0.0, 0.0])


def test_each_segment_of_a_packed_row_is_its_own_episode():
    # segment 7: .5-.2, 1-.5; segment 3: .6-.9, 0-.6; padding 0
    rewards = [[0.0, 1.0, 0.0, 0.0, 9.0]]
    errors = td([[0.2, 0.5, 0.9, 0.6, 0.3]], rewards, [[1, 1, 1, 1, 1]], segment_ids=[[7, 7, 3, 3, 0]])
    close(errors, [[0.3, 0.5, -0.3, -0.6, 0]])


def test_masked_tokens_inside_a_segment_keep_its_id():
    # segment 1 with a gap at 1: .6-.2, 1-.6; segment 2 is masked at its start: 0-.3
    rewards = [[0.0, 5.0, 1.0, 5.0, 0.0]]
    segments = [[1, 1, 1, 2, 2]]
    errors = td([[0.2, NAN, 0.6, NAN, 0.3]], rewards, [[1, 0, 1, 0, 1]], segment_ids=segments)
    close(errors, [[0.4, 0, 0.4, 0, -0.3]])


def test_reward_per_row_with_segments_is_an_error():
    with pytest.raises(ValueError, match=r"rewards has shape \[1\] and segment_ids is given; .* per position"):
        td([[0.2, 0.5]], [1.0], [[1, 1]], segment_ids=[[1, 1]])
    with pytest.raises(ValueError, match="segment_ids is given"):
        compute_gae(torch.ones(1, 2), torch.ones(1), None, segment_ids=torch.ones(1, 2, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    # .5 and .501953125 are neighbours in float16; 1/256 apart in bfloat16
    step = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
    values = torch.tensor([[0.5, 0.5 + step]], dtype=dtype)
    errors = compute_td_errors(values[..., None], torch.ones(1, dtype=dtype), torch.ones(1, 2, dtype=dtype))
    assert errors.dtype == torch.float32
    close(errors, [[step, 0.5 - step]], atol=0)
    weights = build_weights(errors.to(dtype))
    assert weights.dtype == torch.float32
    stats = compute_weight_stats(torch.ones(5000, dtype=dtype))
    assert stats["weight_entropy"] == pytest.approx(1.0, abs=1e-6)
    assert stats["weight_mean"] == 1.0


def test_float64_stays_float64():
    values = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    reward, mask = torch.ones(1), torch.ones(1, 2)
    errors = compute_td_errors(values[..., None], reward, mask)
    assert errors.dtype == build_weights(errors).dtype == torch.float64
    assert compute_gae(values, reward, mask).dtype == torch.float64
    close(errors, [[0.2 - 0.1, 1 - 0.2]], atol=1e-16)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.uint8, torch.float32, torch.bfloat16])
def test_rewards_and_masks_of_any_kind_are_cast(kind):
    values = torch.tensor([[0.5, 0.7, 0.9]])
    mask = torch.tensor([[1, 1, 0]], dtype=kind)
    errors = compute_td_errors(values[..., None], torch.ones(1, dtype=kind), mask)
    close(errors, [[0.2, 0.3, 0]])
    close(compute_gae(values, torch.ones(1, dtype=kind), mask, lam=0.0), [[0.2, 0.3, 0]])
    assert compute_td_stats(errors, mask)["td_max"] == pytest.approx(0.3)
    assert build_weights(errors, mask=mask)[0, 2] == 0


def test_counts_of_a_bfloat16_mask_do_not_stop_at_256():
    weights, mask = torch.full((1000,), 2.0), torch.ones(1000, dtype=torch.bfloat16)
    assert compute_weight_stats(weights, mask)["weight_mean"] == 2.0


def test_one_valid_element_has_std_zero_and_entropy_one():
    mask = torch.tensor([0, 1])
    assert compute_td_stats(torch.tensor([NAN, 3.0]), mask) == {
        "td_mean": 3.0,
        "td_std": 0.0,
        "td_min": 3.0,
        "td_max": 3.0,
    }
    assert compute_weight_stats(torch.tensor([NAN, 3.0]), mask) == {
        "weight_mean": 3.0,
        "weight_std": 0.0,
        "weight_min": 3.0,
        "weight_max": 3.0,
        "weight_entropy": 1.0,
    }


@pytest.mark.parametrize(("x", "mask"), [(torch.ones(3), torch.zeros(3)), (torch.ones(0), None)])
def test_no_valid_element_gives_zeros(x, mask):
    assert set(compute_td_stats(x, mask).values()) == {0.0}
    assert set(compute_weight_stats(x, mask).values()) == {0.0}


def test_all_weights_zero_have_entropy_zero():
    assert compute_weight_stats(torch.zeros(3))["weight_entropy"] == 0.0


def test_entropy_never_leaves_the_unit_interval():
    for count in (2, 3, 7, 1000, 4097):
        for level in (0.1, 0.3, 1.0, 5.0, 1e-6, 1e6):
            assert 0.999 < compute_weight_stats(torch.full((count,), level))["weight_entropy"] <= 1.0


def test_mask_keeps_pads_out_of_the_statistics():
    x, mask = torch.tensor([1.0, 3.0, 0.0, NAN]), torch.tensor([1, 1, 0, 0])
    assert compute_td_stats(x, mask) == compute_td_stats(x[:2])
    assert compute_weight_stats(x, mask) == compute_weight_stats(x[:2])


def test_mask_given_to_build_weights_puts_zero_outside():
    close(build_weights(torch.tensor([0.0, 0.0, NAN]), mask=torch.tensor([1, 0, 0])), [1.0, 0.0, 0.0])


def test_nan_at_a_valid_position_is_never_hidden():
    errors = td([[0.5, NAN, 0.9, 0.4]], [1.0], [[1, 1, 1, 1]])
    close(errors, [[NAN, NAN, -0.5, 0.6]])
    assert torch.isnan(build_weights(errors)).tolist() == [[True, True, False, False]]
    assert all(math.isnan(value) for value in compute_td_stats(errors).values())
    assert all(math.isnan(value) for value in compute_weight_stats(build_weights(errors)).values())
    assert all(math.isnan(value) for value in compute_weight_stats(torch.tensor([NAN])).values())


def test_nan_reward_reaches_the_last_error_alone():
    close(td([[0.5, 0.7], [0.5, 0.7]], [NAN, 1.0], [[1, 1], [1, 1]]), [[0.2, NAN], [0.2, 0.3]])


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_nan_at_a_valid_position_reaches_no_other_episode(lam):
    values = torch.tensor([[0.5, 0.7, 0.9, 0.3], [0.5, NAN, 0.9, 0.3]])
    rewards = torch.tensor([1.0, 1.0])
    for mask in (None, torch.ones(2, 4)):
        advantages = compute_gae(values, rewards, mask, 1.0, lam)
        assert torch.isnan(advantages).tolist() == [[False] * 4, [True, True, False, False]]

    segments = torch.tensor([[1, 1, 2, 2, 3, 3]])
    values = torch.tensor([[0.5, 0.7, 0.9, NAN, 0.2, 0.3]])
    advantages = compute_gae(values, torch.zeros(1, 6), None, 1.0, lam, segments)
    assert torch.isnan(advantages).tolist() == [[False, False, True, True, False, False]]


WRONG = {
    "value_logits without its last axis": (
        lambda: compute_td_errors(torch.ones(2, 3), torch.ones(2), torch.ones(2, 3)),
        r"value_logits has shape \[2, 3\]; needed is \[batch, seq, 1\]",
    ),
    "value_logits with two values": (
        lambda: compute_td_errors(torch.ones(2, 3, 2), torch.ones(2), torch.ones(2, 3)),
        r"value_logits has shape \[2, 3, 2\]; needed is \[batch, seq, 1\]",
    ),
    "a mask of another length": (
        lambda: compute_td_errors(torch.ones(2, 3, 1), torch.ones(2), torch.ones(2, 4)),
        r"attention_mask has shape \[2, 4\]; needed is \[batch, seq\] = \[2, 3\]",
    ),
    "rewards of another batch": (
        lambda: compute_td_errors(torch.ones(2, 3, 1), torch.ones(3), torch.ones(2, 3)),
        r"rewards has shape \[3\]; needed is \[batch\] = \[2\]",
    ),
    "rewards as a column": (
        lambda: compute_td_errors(torch.ones(2, 3, 1), torch.ones(2, 1), torch.ones(2, 3)),
        r"rewards has shape \[2, 1\]",
    ),
    "segment_ids of another shape": (
        lambda: compute_td_errors(
            torch.ones(2, 3, 1), torch.ones(2, 3), torch.ones(2, 3), segment_ids=torch.ones(3).int()
        ),
        r"segment_ids has shape \[3\]; needed is \[batch, seq\] = \[2, 3\]",
    ),
    "segment_ids that are no integers": (
        lambda: compute_gae(torch.ones(1, 2), torch.ones(1, 2), None, segment_ids=torch.ones(1, 2)),
        r"segment_ids has dtype torch.float32; needed are integers",
    ),
    "values with three axes": (
        lambda: compute_gae(torch.ones(2, 3, 1), torch.ones(2), None),
        r"values has shape \[2, 3, 1\]; needed is \[batch, seq\]",
    ),
    "a mask of another shape for weights": (
        lambda: build_weights(torch.ones(2, 3), mask=torch.ones(3)),
        r"mask has shape \[3\]; needed is the shape of td_errors = \[2, 3\]",
    ),
    "a mask of another shape for statistics": (
        lambda: compute_td_stats(torch.ones(2, 3), torch.ones(3)),
        r"mask has shape \[3\]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_shape_says_what_came_and_what_is_needed(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("beta", [0, -1.0, NAN, INF, None, "0.9", True, torch.tensor(0.9)])
def test_beta_that_is_no_finite_number_above_zero_is_an_error(beta):
    with pytest.raises(ValueError, match=r"beta is .*; needed is a number in \(0, inf\)"):
        build_weights(torch.zeros(2), beta=beta)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 5.0), (2.0, 1.0), (NAN, 5.0), (0.1, NAN), (INF, 5.0)])
def test_clip_bounds_out_of_order_are_an_error(low, high):
    with pytest.raises(ValueError, match=r"m(in|ax)_weight is .*; needed is a number in"):
        build_weights(torch.zeros(2), min_weight=low, max_weight=high)


@pytest.mark.parametrize("number", [-0.1, 1.1, NAN, INF, "1"])
def test_gamma_and_lam_outside_the_unit_interval_are_errors(number):
    values, reward, mask = torch.ones(1, 2), torch.ones(1), torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"gamma is .*; needed is a number in \[0, 1\]"):
        compute_td_errors(values[..., None], reward, mask, number)
    with pytest.raises(ValueError, match=r"gamma is .*; needed is a number in \[0, 1\]"):
        compute_gae(values, reward, mask, gamma=number)
    with pytest.raises(ValueError, match=r"lam is .*; needed is a number in \[0, 1\]"):
        compute_lambda_returns(values, reward, mask, lam=number)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_empty_batch_gives_an_empty_answer(shape):
    values, rewards = torch.ones(*shape), torch.ones(shape[0])
    assert compute_td_errors(values[..., None], rewards, values).shape == shape
    assert build_weights(values).shape == shape
    for mask in (None, values):
        assert compute_gae(values, rewards, mask).shape == shape
        assert compute_lambda_returns(values, rewards, mask).shape == shape
