"""Against plain float64 loops from the definitions: random masks, gaps, packing, padding and dtypes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.value_weighting import (
    align_to_heads,
    build_weights,
    compute_gae,
    compute_lambda_returns,
    compute_td_errors,
    compute_td_stats,
    compute_weight_stats,
    entropy_floor_temperature,
    log_odds_of_success,
    next_valid,
    prediction_mask,
    softmax_weights,
    values_from_credit,
    whiten,
)

# the same examples in every run: a suite that fails by luck is not run again, it is ignored
QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def episodes(valid, segments):
    """Valid positions of each episode, in order: [(row, [positions])]."""
    found = []
    for row, flags in enumerate(valid):
        of_segment = {}
        for t, flag in enumerate(flags):
            if flag and segments[row][t] != 0:
                of_segment.setdefault(segments[row][t], []).append(t)
        found += [(row, positions) for positions in of_segment.values()]
    return found


def loop_td_and_gae(values, rewards, valid, segments, gamma, lam):
    td = [[0.0] * len(row) for row in values]
    gae = [[0.0] * len(row) for row in values]
    for row, positions in episodes(valid, segments):
        following_value, following_advantage = 0.0, 0.0
        for t in reversed(positions):
            if isinstance(rewards[row], list):
                reward = rewards[row][t]
            else:
                reward = rewards[row] if t == positions[-1] else 0.0
            td[row][t] = reward + gamma * following_value - values[row][t]
            gae[row][t] = td[row][t] + gamma * lam * following_advantage
            following_value, following_advantage = values[row][t], gae[row][t]
    return td, gae


@st.composite
def batches(draw):
    """Values with NaN outside the mask, rewards, mask, segment ids or None, and a tolerance."""
    batch, seq = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 5, 8, 13, 40, 70]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
    mask = torch.rand(batch, seq, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    left, right = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    mask[:, :left] = False
    mask[:, seq - right :] = False
    segments = None
    if draw(st.booleans()):
        starts = torch.rand(batch, seq, generator=generator) < 0.3
        # ids fall along the row, and the last run is padding
        segments = starts.flip(1).cumsum(1).flip(1)
    per_step = segments is not None or draw(st.booleans())
    values = torch.rand(batch, seq, generator=generator).to(dtype)
    rewards = torch.rand((batch, seq) if per_step else (batch,), generator=generator)
    reward_dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bool, torch.int64]))
    rewards = (rewards * 2).floor().to(reward_dtype) if reward_dtype in (torch.bool, torch.int64) else rewards
    counted = mask if segments is None else mask & (segments != 0)
    values = torch.where(counted, values, draw(st.sampled_from([math.nan, math.inf, 0.0])))
    mask_dtype = draw(st.sampled_from([torch.bool, torch.int64, torch.float32]))
    return values, rewards, mask.to(mask_dtype), segments, 1e-12 if dtype == torch.float64 else 2e-6


def as_lists(values, rewards, mask, segments):
    segments = torch.ones_like(mask, dtype=torch.int64) if segments is None else segments
    return values.double().tolist(), rewards.double().tolist(), mask.bool().tolist(), segments.tolist()


numbers = st.sampled_from([0.0, 0.3, 0.95, 0.999, 1.0])


@QUICK
@given(batches(), numbers)
def test_td_errors_equal_the_loop(batch, gamma):
    values, rewards, mask, segments, tolerance = batch
    expected, _ = loop_td_and_gae(*as_lists(values, rewards, mask, segments), gamma, 0.0)
    actual = compute_td_errors(values[..., None], rewards, mask, gamma, segment_ids=segments)
    torch.testing.assert_close(actual.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)


@QUICK
@given(batches(), numbers, numbers)
def test_advantages_and_returns_equal_the_loop(batch, gamma, lam):
    values, rewards, mask, segments, tolerance = batch
    lists = as_lists(values, rewards, mask, segments)
    _, gae = loop_td_and_gae(*lists, gamma, lam)
    expected = torch.tensor(gae, dtype=torch.float64)
    actual = compute_gae(values, rewards, mask, gamma, lam, segments)
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance * scale)

    counted = mask.bool() if segments is None else mask.bool() & (segments != 0)
    returns = compute_lambda_returns(values, rewards, mask, gamma, lam, segments)
    expected = torch.where(counted, expected + values.double(), 0.0)
    torch.testing.assert_close(returns.double(), expected, rtol=0, atol=tolerance * scale)


@QUICK
@given(st.integers(0, 2**31), st.sampled_from([1, 2, 7, 64, 129, 700]), numbers, numbers)
def test_dense_advantages_equal_the_loop_and_the_masked_path(seed, seq, gamma, lam):
    generator = torch.Generator().manual_seed(seed)
    values, rewards = torch.rand(2, seq, generator=generator), torch.rand(2, generator=generator)
    ones = torch.ones(2, seq)
    _, gae = loop_td_and_gae(*as_lists(values, rewards, ones, None), gamma, lam)
    expected = torch.tensor(gae, dtype=torch.float64)
    atol = 5e-6 * expected.abs().max().item()
    dense = compute_gae(values, rewards, None, gamma, lam)
    torch.testing.assert_close(dense.double(), expected, rtol=0, atol=atol)
    torch.testing.assert_close(dense, compute_gae(values, rewards, ones, gamma, lam), rtol=0, atol=atol)
    segments = ones.long()
    per_step = torch.nn.functional.pad(rewards[:, None], (seq - 1, 0))
    packed = compute_gae(values, per_step, None, gamma, lam, segments)
    torch.testing.assert_close(dense, packed, rtol=0, atol=atol)


def loop_log_odds(credit, prior, valid, segments):
    log_odds = [[0.0] * len(row) for row in credit]
    for row, positions in episodes(valid, segments):
        total = 0.0
        for t in positions:
            log_odds[row][t] = prior[row][t] + total
            total += credit[row][t]
    return log_odds


def priors(shape, segments):
    """One for all, one per row, one per episode of a packed row; NaN in the padding of the last."""
    per_row = torch.linspace(-2.0, 1.0, shape[0])
    if segments is None:
        return [torch.tensor(-1.5), per_row, per_row[:, None].expand(shape)]
    return [torch.tensor(-1.5), torch.where(segments == 0, math.nan, per_row[:, None] + 0.5 * segments)]


@QUICK
@given(batches())
def test_log_odds_and_values_of_credit_equal_the_loop(batch):
    values, _, mask, segments, tolerance = batch
    credit = (values - 0.5) * 8
    for prior in priors(mask.shape, segments):
        per_position = (prior[:, None] if prior.ndim == 1 else prior).expand(mask.shape)
        expected = torch.tensor(loop_log_odds(*as_lists(credit, per_position, mask, segments)), dtype=torch.float64)
        actual = log_odds_of_success(credit, prior, mask, segments)
        assert actual.dtype == (torch.float64 if credit.dtype == torch.float64 else torch.float32)
        atol = tolerance * max(1.0, 4.0 * credit.shape[1])
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=atol)
        counted = mask.bool() if segments is None else mask.bool() & (segments != 0)
        expected = torch.where(counted, expected.sigmoid(), 0.0)
        actual = values_from_credit(credit, prior, mask, segments)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=atol)


@QUICK
@given(batches())
def test_next_valid_equals_the_loop(batch):
    _, _, mask, segments, _ = batch
    seq = mask.shape[1]
    valid = mask.bool()
    ids = (torch.ones_like(valid, dtype=torch.int64) if segments is None else segments).tolist()
    expected = [
        [next((u for u in range(t + 1, seq) if valid[b, u] and ids[b][u] == ids[b][t]), seq) for t in range(seq)]
        for b in range(len(ids))
    ]
    assert next_valid(valid, segments).tolist() == expected


@QUICK
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
    st.floats(0.0, 1.0),
    st.floats(1.0, 100.0),
)
def test_weights_equal_the_formula(errors, beta, low, high):
    expected = [min(max(math.exp(min(td / beta, 700.0)), low), high) for td in errors]
    actual = build_weights(torch.tensor(errors, dtype=torch.float64), beta, low, high)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    single = build_weights(torch.tensor(errors), beta, low, high)
    # td / beta is rounded in float32, and the exponential multiplies that error by the exponent
    torch.testing.assert_close(single.double(), torch.tensor(expected).double(), rtol=2e-5, atol=1e-9)


@QUICK
@given(st.lists(st.floats(0.0, 1e3), max_size=30), st.integers(0, 3))
def test_statistics_equal_the_formula(weights, pads):
    x = torch.tensor(weights + [math.nan] * pads, dtype=torch.float64)
    mask = torch.tensor([1] * len(weights) + [0] * pads)
    n, total = len(weights), sum(weights)
    mean = total / n if n else 0.0
    std = math.sqrt(sum((w - mean) ** 2 for w in weights) / (n - 1)) if n > 1 else 0.0
    low, high = (min(weights), max(weights)) if n else (0.0, 0.0)
    shares = [w / total for w in weights if w > 0] if total > 0 else []
    shares = [p for p in shares if p > 0]
    entropy = -sum(p * math.log(p) for p in shares) / math.log(n) if n > 1 else 1.0
    entropy = entropy if total > 0 else 0.0
    stats = compute_weight_stats(x, mask)
    assert list(stats.values()) == pytest.approx([mean, std, low, high, entropy], rel=1e-6, abs=1e-6)
    stats = compute_td_stats(x, mask)
    assert list(stats.values()) == pytest.approx([mean, std, low, high], rel=1e-6, abs=1e-6)


@QUICK
@given(batches())
def test_whitened_valid_elements_have_mean_zero_and_std_one(batch):
    values, _, mask, segments, _ = batch
    valid = mask.bool() if segments is None else mask.bool() & (segments != 0)
    z = whiten(values, valid)
    assert (z[~valid] == 0).all()
    chosen = values[valid].double()
    if len(chosen) < 2 or chosen.std() < 1e-3:
        return
    torch.testing.assert_close(z[valid].double(), (chosen - chosen.mean()) / chosen.std(), rtol=0, atol=1e-4)


def loop_entropy(errors, tau):
    largest = max(errors)
    exponentials = [math.exp((x - largest) / tau) for x in errors]
    total = sum(exponentials)
    return -sum(e / total * math.log(e / total) for e in exponentials if e > 0) / math.log(len(errors))


@settings(QUICK, max_examples=60)
@given(batches(), st.sampled_from([0.2, 0.7, 0.95]), st.sampled_from([0.01, 0.3, 2.0]))
def test_entropy_floor_is_met_by_the_smallest_temperature(batch, floor, beta):
    values, _, mask, segments, _ = batch
    values = values.double()
    tau = entropy_floor_temperature(values, floor, beta, mask, segments).expand_as(values)
    weights = softmax_weights(values, tau, mask, segments)
    _, _, valid, ids = as_lists(values, values, mask, segments)
    for row, positions in episodes(valid, ids):
        errors = [values[row, t].item() for t in positions]
        found = tau[row, positions[0]].item()
        if len(errors) == 1 or loop_entropy(errors, beta) >= floor:
            assert found == beta
        else:
            assert loop_entropy(errors, found) >= floor - 1e-9
            assert loop_entropy(errors, found * 0.999) < floor
        total = sum(math.exp(x / found) for x in errors)
        expected = [len(errors) * math.exp(x / found) / total for x in errors]
        assert weights[row, positions].tolist() == pytest.approx(expected, rel=1e-9)
    counted = mask.bool() if segments is None else mask.bool() & (segments != 0)
    assert (weights[~counted] == 0).all()


@QUICK
@given(batches(), st.integers(1, 5))
def test_heads_read_the_weight_of_the_position_before_their_target(batch, n_future):
    weights = batch[0].nan_to_num(3.0, 3.0)
    aligned = align_to_heads(weights, n_future)
    rows, seq = weights.shape
    assert aligned.shape == (rows, seq, n_future)
    for t in range(seq):
        for k in range(n_future):
            expected = weights[:, t + k] if t + k < seq else torch.zeros_like(weights[:, 0])
            assert torch.equal(aligned[:, t, k], expected)


@QUICK
@given(batches())
def test_prediction_mask_equals_the_loop(batch):
    _, _, mask, segments, _ = batch
    labels = torch.where(mask.bool(), 7, -100)
    actual = prediction_mask(labels, segments)
    rows, seq = labels.shape
    for b in range(rows):
        for t in range(seq):
            expected = t + 1 < seq and labels[b, t + 1].item() != -100
            if expected and segments is not None:
                expected = segments[b, t] == segments[b, t + 1] != 0
            assert bool(actual[b, t]) == bool(expected)
