"""Credit adds up to log-odds, and log-odds to values: what Bayes' rule says, and what must not leak."""

import math

import pytest
import torch

from weighted_mtp.value_weighting import compute_td_errors, log_odds_of_success, values_from_credit

NAN, INF = math.nan, math.inf
ZERO = torch.tensor(0.0)
# two episodes, then padding; the first one has a gap
SEGMENTS = torch.tensor([[1, 1, 1, 2, 2, 0]])
MASK = torch.tensor([[1, 0, 1, 1, 1, 1]])


def close(actual, expected, atol=1e-6):
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol, equal_nan=True)


def test_log_odds_by_hand():
    # -1; -1 + .5; -1 + .5 - 2: the last credit is that of the token after
    credit, mask = torch.tensor([[0.5, -2.0, 7.0]]), torch.ones(1, 3)
    close(log_odds_of_success(credit, torch.tensor(-1.0), mask), [[-1.0, -0.5, -2.5]])
    # 1 / (1 + e^1), 1 / (1 + e^.5), 1 / (1 + e^2.5)
    close(values_from_credit(credit, torch.tensor(-1.0), mask), [[0.268941, 0.377541, 0.075858]])


def test_log_odds_are_those_of_bayes_rule():
    # p(token | right) and p(token | wrong) of two tokens, and P(success | prompt) = 1/4
    right, wrong, prior = torch.tensor([[0.5, 0.8]]), torch.tensor([[0.25, 0.1]]), 0.25
    credit = right.log() - wrong.log()
    values = values_from_credit(credit, torch.tensor(prior).logit(), torch.ones(1, 2))
    # .25 * .5 / (.25 * .5 + .75 * .25)
    close(values, [[0.25, 0.4]])


def test_value_at_the_first_valid_position_is_that_of_the_prompt_with_padding_on_either_side():
    credit = torch.tensor([[9.0, 9.0, 1.0, 2.0, 9.0]])
    mask = torch.tensor([[0, 0, 1, 1, 0]])
    close(log_odds_of_success(credit, ZERO, mask), [[0.0, 0.0, 0.0, 1.0, 0.0]])
    close(values_from_credit(credit, ZERO, mask)[0, 2], 0.5)


def test_prior_is_one_for_all_or_one_per_row_or_one_per_position():
    credit, mask = torch.ones(2, 2), torch.ones(2, 2)
    close(log_odds_of_success(credit, torch.tensor(2.0), mask), [[2.0, 3.0], [2.0, 3.0]])
    close(log_odds_of_success(credit, torch.tensor([2.0, -2.0]), mask), [[2.0, 3.0], [-2.0, -1.0]])
    per_position = torch.tensor([[2.0, 2.0], [-2.0, -2.0]])
    close(log_odds_of_success(credit, per_position, mask), [[2.0, 3.0], [-2.0, -1.0]])


def test_each_episode_of_a_packed_row_starts_from_its_own_prior():
    credit = torch.tensor([[1.0, 9.0, 2.0, 4.0, 8.0, 9.0]])
    prior = torch.tensor([[0.5, 0.5, 0.5, -3.0, -3.0, NAN]])
    close(log_odds_of_success(credit, prior, MASK, SEGMENTS), [[0.5, 0.0, 1.5, -3.0, 1.0, 0.0]])


@pytest.mark.parametrize("segments", [None, SEGMENTS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_prior_and_all_credits_of_an_episode_are_the_log_odds_after_its_last_token(segments, dtype):
    credit = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    log_odds = log_odds_of_success(credit, torch.tensor(0.7), MASK, segments)
    last_positions = [5] if segments is None else [2, 4]
    of_episode = [[0, 2, 3, 4, 5]] if segments is None else [[0, 2], [3, 4]]
    for last, positions in zip(last_positions, of_episode, strict=True):
        total = 0.7 + credit[0, positions].to(log_odds.dtype).sum()
        close(log_odds[0, last] + credit[0, last], total, atol=1e-5)


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_td_errors_of_the_values_add_up_to_reward_minus_first_value(reward):
    credit = 3 * torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(2, 50, generator=torch.Generator().manual_seed(1)) < 0.7
    prior = torch.tensor([0.4, -2.0])
    values = values_from_credit(credit, prior, mask)
    td = compute_td_errors(values[..., None], torch.full((2,), reward), mask)
    close(td.sum(1), reward - prior.sigmoid(), atol=1e-5)


@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_garbage_outside_the_mask_leaks_neither_forward_nor_backward(garbage, segments):
    credit = torch.tensor([[1.0, garbage, 2.0, 4.0, 8.0, garbage]], requires_grad=True)
    prior = torch.tensor([[0.5, garbage, 0.5, 0.5, 0.5, garbage]], requires_grad=True)
    mask = torch.tensor([[1, 0, 1, 1, 1, 0]])
    values = values_from_credit(credit, prior, mask, segments)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(credit.grad).all()
    assert torch.isfinite(prior.grad).all()


@pytest.mark.parametrize("poison", [NAN, INF])
def test_credit_that_is_not_finite_reaches_the_later_positions_of_its_own_episode_alone(poison):
    credit = torch.tensor([[1.0, 2.0, poison, 4.0, 8.0, 9.0], [1.0] * 6])
    alone = log_odds_of_success(credit, ZERO, torch.ones(2, 6))
    assert torch.isfinite(alone).tolist() == [[True, True, True, False, False, False], [True] * 6]
    credit = torch.tensor([[1.0, poison, 2.0, 4.0, 8.0, poison]])
    packed = log_odds_of_success(credit, ZERO, torch.ones(1, 6), SEGMENTS)
    close(packed, [[0.0, 1.0, poison, 0.0, 4.0, 0.0]])


def test_rounding_of_one_episode_does_not_reach_the_next():
    # a sum over the whole row would have absorbed the 1e-3 into the 1e6
    credit = torch.tensor([[1e6, 0.0, 1e-3, 0.0]])
    segments = torch.tensor([[1, 1, 2, 2]])
    close(log_odds_of_success(credit, ZERO, torch.ones(1, 4), segments)[0, 2:], [0.0, 1e-3], atol=1e-9)


def test_rows_and_batches_without_a_valid_position_are_zero_or_empty():
    assert (values_from_credit(torch.full((1, 3), NAN), ZERO, torch.zeros(1, 3)) == 0).all()
    for shape in [(0, 3), (2, 0), (0, 0)]:
        empty, ids = torch.ones(*shape), torch.ones(*shape, dtype=torch.int64)
        assert values_from_credit(empty, torch.ones(shape[0]), empty).shape == shape
        assert values_from_credit(empty, ZERO, empty, ids).shape == shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_credit_is_added_up_in_float32(dtype):
    # 512 steps of 1: bfloat16 would stop at 256
    log_odds = log_odds_of_success(torch.ones(1, 513, dtype=dtype), ZERO.to(dtype), torch.ones(1, 513))
    assert log_odds.dtype == torch.float32
    assert log_odds[0, -1] == 512


def test_log_odds_say_more_than_values_where_a_float32_sigmoid_is_one():
    credit, mask = torch.tensor([[18.0, 3.0, 0.0]]), torch.ones(1, 3)
    assert values_from_credit(credit, ZERO, mask)[0].tolist() == [0.5, 1.0, 1.0]
    assert log_odds_of_success(credit, ZERO, mask)[0].tolist() == [0.0, 18.0, 21.0]


WRONG = {
    "credit with three axes": (
        (torch.ones(2, 3, 1), ZERO, torch.ones(2, 3)),
        r"credit has shape \[2, 3, 1\]; needed is \[batch, seq\]",
    ),
    "a mask of another length": (
        (torch.ones(2, 3), ZERO, torch.ones(2, 4)),
        r"mask has shape \[2, 4\]; needed is \[batch, seq\] = \[2, 3\]",
    ),
    "a prior of another batch": (
        (torch.ones(2, 3), torch.ones(3), torch.ones(2, 3)),
        r"prior has shape \[3\]; needed is \[\], \[batch\] = \[2\] or \[batch, seq\] = \[2, 3\]",
    ),
    "a prior per row of packed rows": (
        (torch.ones(2, 3), torch.ones(2), torch.ones(2, 3), torch.ones(2, 3).int()),
        r"prior has shape \[2\]; needed is \[\] or \[batch, seq\] = \[2, 3\]",
    ),
    "segment_ids that are no integers": (
        (torch.ones(2, 3), ZERO, torch.ones(2, 3), torch.ones(2, 3)),
        r"segment_ids has dtype torch.float32; needed are integers",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_shape_says_what_came_and_what_is_needed(case):
    arguments, message = WRONG[case]
    for function in (log_odds_of_success, values_from_credit):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_compiles_into_one_graph(segments):
    torch.compiler.reset()
    credit = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(values_from_credit, fullgraph=True, backend="aot_eager")
    close(compiled(credit, ZERO, MASK, segments), values_from_credit(credit, ZERO, MASK, segments))
