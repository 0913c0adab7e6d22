"""The scan behind advantages: against loops in float64, NaN, precision settings, compilation."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weighted_mtp.value_weighting import compute_gae, compute_lambda_returns
from weighted_mtp.value_weighting.reverse_scan import SHORT_ROW, reverse_scan, segmented_reverse_scan

LONG = SHORT_ROW + 377
DECAYS = [0.0, 1e-300, 1e-30, 1e-3, 0.3, 0.95, 0.9999, 1 - 1e-12, 1.0]


def draw(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def uniform(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def runs(batch, seq, mean_length=40):
    """Ids of contiguous segments; the last tenth of each row is padding."""
    starts = uniform(batch, seq) < 1 / mean_length
    return torch.where(torch.arange(seq) < seq - seq // 10, 1 + starts.cumsum(1), 0)


def loop(x, decay, valid, segments):
    """y[t] = x[t] + decay * y[next valid position of the segment]; anything where not valid."""
    rows = []
    for row, flags, ids in zip(x.tolist(), valid.tolist(), segments.tolist(), strict=True):
        following, segment, sums = 0.0, None, [0.0] * len(row)
        for t in reversed(range(len(row))):
            if flags[t]:
                following = row[t] + (decay * following if ids[t] == segment else 0.0)
                sums[t], segment = following, ids[t]
        rows.append(sums)
    return torch.tensor(rows, dtype=torch.float64)


def close(actual, expected, tolerance):
    torch.testing.assert_close(
        actual.double(), expected, rtol=0, atol=tolerance * expected.abs().max().item(), equal_nan=True
    )


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("seq", [1, 2, 100, LONG])
def test_scan_equals_the_loop_in_every_layout(seq, decay):
    x, valid, segments = draw(3, seq, dtype=torch.float64), uniform(3, seq) < 0.7, runs(3, seq)
    everywhere, one = torch.ones_like(valid), torch.ones_like(segments)
    masked = torch.where(valid, x, 0.0)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        a, b = x.to(dtype), masked.to(dtype)
        close(reverse_scan(a, decay), loop(a, decay, everywhere, one), tolerance)
        gapped = torch.where(valid, reverse_scan(b, decay, valid), 0.0)
        close(gapped, loop(b, decay, valid, one), tolerance)
        close(segmented_reverse_scan(a, decay, segments), loop(a, decay, everywhere, segments), tolerance)
        both = torch.where(valid, segmented_reverse_scan(b, decay, segments, valid), 0.0)
        close(both, loop(b, decay, valid, segments), tolerance)


@pytest.mark.parametrize("decay", [1e-300, 1e-3, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("seq", [100, LONG])
def test_nan_and_infinity_reach_every_position_before_in_their_episode_and_no_other(seq, bad, decay):
    segments, position = runs(2, seq), seq * 2 // 3
    valid = uniform(2, seq) < 0.7
    x = torch.where(valid, draw(2, seq), 0.0)
    x[0, position], valid[0, position] = bad, True
    before = torch.zeros(2, seq, dtype=torch.bool)
    before[0, : position + 1] = True
    in_segment = before & (segments == segments[0, position])
    for reached, actual in (
        (before, reverse_scan(x, decay)),
        (before & valid, torch.where(valid, reverse_scan(x, decay, valid), 0.0)),
        (in_segment, segmented_reverse_scan(x, decay, segments)),
        (in_segment & valid, torch.where(valid, segmented_reverse_scan(x, decay, segments, valid), 0.0)),
    ):
        assert torch.equal(~actual.isfinite(), reached)


@pytest.mark.parametrize("lam", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("seq", [100, LONG])
def test_nan_value_makes_nan_of_every_advantage_before_it_in_its_episode_and_no_other(seq, lam):
    segments, position = runs(2, seq), seq * 2 // 3
    values, rewards, valid = uniform(2, seq), uniform(2, seq), uniform(2, seq).flip(1) < 0.7
    values[0, position], valid[0, position] = math.nan, True
    before = torch.zeros(2, seq, dtype=torch.bool)
    before[0, : position + 1] = True
    in_segment = before & (segments == segments[0, position])
    valid = valid & (segments != 0)
    for reached, mask, ids in (
        (before, None, None),
        (before & valid, valid, None),
        (in_segment, None, segments),
        (in_segment & valid, valid, segments),
    ):
        assert torch.equal(compute_gae(values, rewards, mask, 1.0, lam, ids).isnan(), reached)


@pytest.mark.parametrize("layout", ["dense", "gaps", "packed", "both"])
@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (1.0, 0.95), (1.0, 0.5), (1.0, 1.0)])
def test_float32_stays_within_1e_6_of_the_largest_advantage(gamma, lam, layout):
    seq = 4096
    values, rewards = uniform(4, seq), (uniform(4, seq).flip(1) < 0.02).float()
    mask = uniform(4, seq) < 0.8 if layout in ("gaps", "both") else None
    segments = runs(4, seq) if layout in ("packed", "both") else None
    actual = compute_gae(values, rewards, mask, gamma, lam, segments)
    valid = torch.ones(4, seq, dtype=torch.bool) if mask is None else mask
    ids = torch.ones(4, seq, dtype=torch.int64) if segments is None else segments
    valid = valid & (ids != 0)
    # the TD errors in float64: V of the next valid position is what the loop at decay 0 leaves
    exact = compute_gae(values.double(), rewards, mask, gamma, 0.0, segments)
    close(actual, loop(exact, gamma * lam, valid, ids), 1e-6)


@pytest.mark.parametrize("segments", [None, torch.ones(2, 300, dtype=torch.int64)])
def test_undiscounted_advantage_is_exactly_reward_minus_value(segments):
    values, reward = uniform(2, 300), torch.tensor([1.0, 0.0])
    per_step = torch.nn.functional.pad(reward[:, None], (299, 0))
    assert torch.equal(compute_gae(values, per_step, None, 1.0, 1.0, segments), reward[:, None] - values)


@pytest.mark.parametrize("layout", ["dense", "gaps", "packed"])
def test_gradient_of_long_rows_equals_the_gradient_of_the_loop(layout):
    seq, decay = LONG, 0.9
    x, upstream = draw(1, seq, dtype=torch.float64), draw(1, seq, dtype=torch.float64).flip(1)
    valid = uniform(1, seq) < 0.7 if layout == "gaps" else torch.ones(1, seq, dtype=torch.bool)
    segments = runs(1, seq) if layout == "packed" else torch.ones(1, seq, dtype=torch.int64)
    x, upstream = torch.where(valid, x, 0.0).requires_grad_(), torch.where(valid, upstream, 0.0)
    if layout == "packed":
        y = segmented_reverse_scan(x, decay, segments)
    else:
        y = reverse_scan(x, decay, valid if layout == "gaps" else None)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    # the transpose of a sum over later positions is a sum over earlier ones
    expected = loop(upstream.flip(1), decay, valid.flip(1), segments.flip(1)).flip(1)
    close(torch.where(valid, gradient, 0.0), expected, 1e-12)


def layouts(seq):
    values, rewards = uniform(2, seq), uniform(2, seq)
    mask, segments = uniform(2, seq) < 0.7, runs(2, seq)
    return {
        "dense": (values, rewards, None, None),
        "terminal": (values, rewards[:, 0], None, None),
        "gaps": (values, rewards, mask, None),
        "packed": (values, rewards, None, segments),
        "both": (values, rewards, mask, segments),
    }


LAYOUTS = list(layouts(1))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_autocast_and_matmul_precision_change_nothing(layout, precision):
    values, rewards, mask, segments = layouts(LONG)[layout]
    expected = compute_gae(values, rewards, mask, segment_ids=segments)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = compute_gae(values, rewards, mask, segment_ids=segments)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiles_into_one_graph_with_its_gradient(layout, lam):
    torch.compiler.reset()
    values, rewards, mask, segments = layouts(1100)[layout]

    def advantages_and_gradient(function):
        leaf = values.clone().requires_grad_()
        advantages = function(leaf, rewards, mask, 1.0, lam, segments)
        return advantages, *torch.autograd.grad(advantages.square().sum(), leaf)

    for function in (compute_gae, compute_lambda_returns):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        pairs = zip(advantages_and_gradient(compiled), advantages_and_gradient(function), strict=True)
        for actual, expected in pairs:
            torch.testing.assert_close(actual, expected)


class CountOperators(TorchDispatchMode):
    """Counts the operators that reach a device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_eight_times_the_tokens_take_few_more_operators(layout):
    counts = []
    for seq in (2_000, 16_000):
        values, rewards, mask, segments = layouts(seq)[layout]
        with CountOperators() as operators:
            compute_gae(values, rewards, mask, 0.99, 0.95, segments)
        counts.append(operators.count)
    # three doublings more
    assert counts[1] - counts[0] <= 3 * 20
