import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from weighted_mtp.losses import pairwise_ranking, value_bce, value_clipped_mse, value_mse

NAN = float("nan")


def clipped(values: Tensor, returns: Tensor, mask: Tensor, **options: Any) -> Tensor:
    return value_clipped_mse(values, torch.full_like(values, 0.4), returns, mask, **options)


def ranking(value_logits: Tensor, returns: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """All rows complete one prompt; the reward is the return of the first position."""
    group_ids = torch.zeros(len(mask), dtype=torch.long)
    return pairwise_ranking(value_logits, returns[:, 0], group_ids, mask, **options)


PER_TOKEN = [value_mse, value_bce, clipped]
ALL = [*PER_TOKEN, ranking]
Loss = Callable[..., Tensor]


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values that require a gradient, returns of 0 or 1 per row, and a mask with gaps and an empty row."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(4, 5, generator=generator).requires_grad_()
    returns = torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None].expand(4, 5)
    mask = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1]]).bool()
    return values, returns, mask


def test_mse_is_the_mean_squared_error_of_valid_positions():
    values, returns = torch.tensor([[0.5, 9.0], [0.2, 0.9]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mask = torch.tensor([[1, 0], [1, 1]]).bool()
    assert value_mse(values, returns, mask).item() == pytest.approx((0.25 + 0.04 + 0.01) / 3)


def test_bce_is_the_log_loss_of_the_sigmoid():
    value_logits, returns = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.25]])
    p = 1 / (1 + math.exp(1))
    expected = (math.log(1 + math.exp(-2)) - 0.25 * math.log(p) - 0.75 * math.log(1 - p)) / 2
    assert value_bce(value_logits, returns, torch.ones(1, 2)).item() == pytest.approx(expected)


def test_bce_of_huge_logits_is_finite():
    assert value_bce(torch.tensor([[-1e4]]), torch.ones(1, 1), torch.ones(1, 1)).item() == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.6, (0.6 - 1) ** 2),  # within .2 of .5: plain
        (0.9, (0.7 - 1) ** 2),  # moved past it towards the return: error of the clipped value
        (0.1, (0.1 - 1) ** 2),  # moved away from the return: plain, larger than (.3 - 1)^2
    ],
)
def test_clipped_mse_takes_the_larger_error(value: float, expected: float):
    x = [torch.tensor([[v]]) for v in (value, 0.5, 1.0)]
    assert value_clipped_mse(*x, torch.tensor([[True]])).item() == pytest.approx(expected)


@pytest.mark.parametrize(("value", "gradient"), [(0.6, 2 * (0.6 - 1)), (0.9, 0.0), (0.1, 2 * (0.1 - 1))])
def test_clipped_mse_stops_pulling_beyond_its_range(value: float, gradient: float):
    values = torch.tensor([[value]], requires_grad=True)
    value_clipped_mse(values, torch.tensor([[0.5]]), torch.tensor([[1.0]]), torch.tensor([[True]])).backward()
    assert values.grad.item() == pytest.approx(gradient)


def test_ranking_averages_over_all_pairs_of_a_prompt():
    value_logits = torch.tensor([[1.0, 3.0], [0.0, 0.0], [5.0, -5.0], [8.0, 8.0]])
    rewards, group_ids = torch.tensor([1, 0, 0, 0]).bool(), torch.tensor([4, 4, 4, 9])
    mask = torch.tensor([[1, 1], [1, 1], [1, 0], [1, 1]]).bool()
    # mean logits 2, 0, 5; pairs (0, 1) and (0, 2); row 3 completes another prompt
    expected = (math.log(1 + math.exp(0 - 2)) + math.log(1 + math.exp(5 - 2))) / 2
    assert pairwise_ranking(value_logits, rewards, group_ids, mask).item() == pytest.approx(expected)


def test_ranking_ignores_rows_without_valid_positions():
    value_logits, mask = torch.tensor([[1.0], [0.0], [7.0]]), torch.tensor([[1], [1], [0]]).bool()
    rewards, group_ids = torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3, dtype=torch.long)
    expected = math.log(1 + math.exp(-1))
    assert pairwise_ranking(value_logits, rewards, group_ids, mask).item() == pytest.approx(expected)


def test_ranking_does_not_see_a_shift_of_all_values_of_a_prompt():
    values, returns, mask = inputs()
    assert ranking(values + 3, returns, mask).item() == pytest.approx(ranking(values, returns, mask).item())


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.lists(st.booleans(), min_size=3, max_size=3)),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 999),
)
def test_ranking_follows_the_definition(rows: list[tuple[int, int, list[bool]]], seed: int):
    value_logits = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(seed)).double()
    groups, rewards, masks = zip(*rows, strict=True)
    score = [
        sum(v for v, m in zip(value_logits[i].tolist(), mask, strict=True) if m) / max(1, sum(mask))
        for i, mask in enumerate(masks)
    ]
    terms = [
        (rewards[i] - rewards[j]) * math.log1p(math.exp(score[j] - score[i]))
        for i in range(len(rows))
        for j in range(len(rows))
        if groups[i] == groups[j] and rewards[i] > rewards[j] and any(masks[i]) and any(masks[j])
    ]
    loss = pairwise_ranking(value_logits, torch.tensor(rewards), torch.tensor(groups), torch.tensor(masks))
    assert loss.item() == pytest.approx(sum(terms) / max(1, len(terms)))


@pytest.mark.parametrize("loss", PER_TOKEN)
def test_micro_batches_with_the_global_count_equal_the_whole_batch(loss: Loss):
    values, returns, mask = inputs()
    (whole,) = torch.autograd.grad(loss(values, returns, mask), values)
    parts = [loss(values[i], returns[i], mask[i], normalizer=mask.sum()) for i in (slice(0, 1), slice(1, 4))]
    (summed,) = torch.autograd.grad(sum(parts), values)
    torch.testing.assert_close(summed, whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", ALL)
def test_the_normalizer_is_the_denominator(loss: Loss):
    values, returns, mask = inputs()
    count = 2 if loss is ranking else int(mask.sum())  # rows 0 > 1 and 0 > 3; row 2 is empty
    expected = loss(values, returns, mask).item() * count / 10
    assert loss(values, returns, mask, normalizer=10).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", ALL)
def test_nan_under_the_mask_leaks_neither_forward_nor_backward(loss: Loss):
    values, returns, mask = inputs()
    (expected,) = torch.autograd.grad(loss(values, returns, mask), values)
    dirty = values.detach().masked_fill(~mask, NAN).requires_grad_()
    dirty_returns = returns if loss is ranking else returns.masked_fill(~mask, NAN)
    result = loss(dirty, dirty_returns, mask)
    result.backward()
    assert result.item() == loss(values, returns, mask).item()
    assert torch.equal(dirty.grad, expected)


@pytest.mark.parametrize("loss", ALL)
def test_nan_at_a_valid_position_stays_nan(loss: Loss):
    values, returns, mask = inputs()
    with torch.no_grad():
        values[0, 0] = NAN
    assert loss(values, returns, mask).isnan()


@pytest.mark.parametrize("loss", ALL)
def test_a_nan_return_at_a_valid_position_stays_nan(loss: Loss):
    values, returns, mask = inputs()
    returns = returns.clone()
    returns[0, 0] = NAN
    assert loss(values, returns, mask).isnan()


@pytest.mark.parametrize("normalizer", [None, 0, 5.0])
@pytest.mark.parametrize("loss", ALL)
def test_nothing_valid_gives_a_zero_loss_that_still_has_a_graph(loss: Loss, normalizer: float | None):
    values, returns, mask = inputs()
    result = loss(values, returns, torch.zeros_like(mask), normalizer=normalizer)
    result.backward()
    assert result.item() == 0.0
    assert values.grad is not None
    assert not values.grad.any()


@pytest.mark.parametrize("loss", ALL)
def test_returns_are_constants(loss: Loss):
    values, returns, mask = inputs()
    returns = returns.clone().requires_grad_()
    loss(values, returns, mask).backward()
    assert returns.grad is None


def test_old_values_are_constants():
    values, returns, mask = inputs()
    old_values = torch.zeros(4, 5, requires_grad=True)
    value_clipped_mse(values, old_values, returns, mask).backward()
    assert old_values.grad is None


@pytest.mark.parametrize("loss", ALL)
def test_gradients_are_those_of_finite_differences(loss: Loss):
    values, returns, mask = inputs()
    values = values.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, returns, mask), (values,))


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_sums_are_float32_and_float64_stays(loss: Loss, dtype: torch.dtype, expected: torch.dtype):
    values, returns, mask = inputs()
    assert loss(values.detach().to(dtype), returns, mask).dtype == expected


@pytest.mark.parametrize("loss", ALL)
def test_an_integer_mask_and_bool_returns_mean_the_same(loss: Loss):
    values, returns, mask = inputs()
    assert loss(values, returns.bool(), mask.long()).item() == loss(values, returns, mask).item()


@pytest.mark.parametrize("loss", PER_TOKEN)
def test_returns_must_have_the_shape_of_values(loss: Loss):
    values, returns, mask = inputs()
    with pytest.raises(ValueError, match=r"returns has shape \[4\]; that of value.*, \[4, 5\], is needed"):
        loss(values, returns[:, 0], mask)


@pytest.mark.parametrize("loss", ALL)
def test_values_must_be_two_dimensional(loss: Loss):
    values, returns, mask = inputs()
    with pytest.raises(ValueError, match=r"has shape \[4, 5, 1\]; \[any, any\] is needed"):
        loss(values[..., None], returns, mask)


@pytest.mark.parametrize("loss", ALL)
def test_the_mask_must_have_the_shape_of_values(loss: Loss):
    values, returns, mask = inputs()
    with pytest.raises(ValueError, match=r"mask has shape \[4, 4\]"):
        loss(values, returns, mask[:, :4])


@pytest.mark.parametrize("name", ["rewards", "group_ids"])
def test_ranking_needs_one_reward_and_one_prompt_per_row(name: str):
    values, _, mask = inputs()
    arguments = {"rewards": torch.zeros(4), "group_ids": torch.zeros(4)} | {name: torch.zeros(3)}
    with pytest.raises(ValueError, match=rf"{name} has shape \[3\]; \[4\] is needed"):
        pairwise_ranking(values, mask=mask, **arguments)


@pytest.mark.parametrize("clip_range", [0.0, -0.1, NAN])
def test_clip_range_must_be_positive(clip_range: float):
    values, returns, mask = inputs()
    with pytest.raises(ValueError, match=r"clip_range is .*; a number above 0"):
        value_clipped_mse(values, values, returns, mask, clip_range)


@pytest.mark.parametrize("zero", [0, 0.0, torch.tensor(0), torch.tensor([0.0])])
def test_a_zero_normalizer_is_an_error_where_something_counts(zero):
    values, returns, mask = torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([[True, False]])
    with pytest.raises(ValueError, match="normalizer is 0; the number of predictions"):
        value_mse(values, returns, mask, normalizer=zero)
    assert value_mse(values, returns, mask & False, normalizer=zero) == 0


@pytest.mark.parametrize("four", [4, 4.0, np.float32(4), np.int64(4), torch.tensor(4), torch.tensor([4.0])])
def test_a_normalizer_is_any_real_number(four):
    values, mask = torch.zeros(1, 2), torch.ones(1, 2)
    assert value_mse(values, values + 1, mask, normalizer=four).item() == 0.5
