"""The scan behind advantages: against loops in float64, NaN, precision settings, compilation."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weighted_mtp.value_weighting import compute_gae, compute_lambda_returns
from weighted_mtp.value_weighting import reverse_scan as scans
from weighted_mtp.value_weighting.reverse_scan import place_in_episode, reverse_scan, segmented_reverse_scan

LONG = 1401
DECAYS = [0.0, 1e-300, 1e-30, 1e-3, 0.3, 0.95, 0.9999, 1 - 1e-12, 1.0]


@pytest.fixture(params=[False, True], ids=["whole", "blocks"])
def either_way(request, monkeypatch):
    """Packed rows are scanned whole, and in blocks, whatever their size."""
    monkeypatch.setattr(scans, "FEW_NUMBERS", 0 if request.param else math.inf)


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


def scan_packed(x, decay, segments):
    return segmented_reverse_scan(x, decay, place_in_episode(segments, x.dtype))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("seq", [1, 2, 100, LONG])
def test_scan_equals_the_loop_in_every_layout(seq, decay):
    x, valid, segments = draw(3, seq, dtype=torch.float64), uniform(3, seq) < 0.7, runs(3, seq)
    everywhere, one = torch.ones_like(valid), torch.ones_like(segments)
    in_episode = segments != 0
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        a, nothing = x.to(dtype), torch.zeros(3, seq, dtype=dtype)
        close(reverse_scan(a, decay), loop(a, decay, everywhere, one), tolerance)
        close(scan_packed(a, decay, segments), loop(a, decay, in_episode, segments), tolerance)
        # without values, and gamma 1, the advantages are the sums of the rewards
        gapped = compute_gae(nothing, a, valid, 1.0, decay)
        close(gapped, loop(a, decay, valid, one), tolerance)
        both = compute_gae(nothing, a, valid, 1.0, decay, segments)
        close(both, loop(a, decay, valid & in_episode, segments), tolerance)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("decay", [1e-300, 1e-3, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("seq", [100, LONG])
def test_nan_and_infinity_reach_every_position_before_in_their_episode_and_no_other(seq, bad, decay):
    segments, position = runs(2, seq), seq * 2 // 3
    valid = uniform(2, seq) < 0.7
    x, nothing = draw(2, seq), torch.zeros(2, seq)
    x[0, position], valid[0, position] = bad, True
    before = torch.zeros(2, seq, dtype=torch.bool)
    before[0, : position + 1] = True
    in_segment = before & (segments == segments[0, position])
    for reached, actual in (
        (before, reverse_scan(x, decay)),
        (before & valid, compute_gae(nothing, x, valid, 1.0, decay)),
        (in_segment, scan_packed(x, decay, segments)),
        (in_segment & valid, compute_gae(nothing, x, valid, 1.0, decay, segments)),
    ):
        assert torch.equal(~actual.isfinite(), reached)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_nothing_outside_the_mask_or_in_the_padding_is_read(lam):
    segments, valid = runs(2, LONG), uniform(2, LONG) < 0.7
    for mask, ids in ((valid, None), (None, segments), (valid, segments)):
        counts = torch.ones_like(valid) if mask is None else mask
        counts = counts if ids is None else counts & (ids != 0)
        clean = torch.where(counts, uniform(2, LONG), 0.0)
        soiled = torch.where(counts, clean, math.nan)
        expected = compute_gae(clean, clean, mask, 1.0, lam, ids)
        actual = compute_gae(soiled, soiled, mask, 1.0, lam, ids)
        assert torch.equal(actual, expected)
        assert not actual[~counts].any()


def test_packed_rows_touch_neither_each_other_nor_segments_whose_ids_differ_by_two_to_the_32():
    ids = torch.tensor([[5, 5 + 2**32, -(2**63)], [-(2**63), 5, 5]])
    rewards = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    advantages = compute_gae(torch.zeros(2, 3), rewards, None, 1.0, 0.5, ids)
    assert advantages.tolist() == [[1.0, 2.0, 4.0], [8.0, 32.0, 32.0]]


@pytest.mark.usefixtures("either_way")
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


@pytest.mark.usefixtures("either_way")
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


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("layout", ["dense", "gaps", "packed", "both"])
def test_gradient_of_long_rows_equals_the_gradient_of_the_loop(layout):
    seq, decay = LONG, 0.9
    x, upstream = draw(2, seq, dtype=torch.float64), draw(2, seq, dtype=torch.float64).flip(1)
    valid = torch.ones(2, seq, dtype=torch.bool)
    mask = segments = None
    if layout in ("gaps", "both"):
        valid = mask = uniform(2, seq) < 0.7
    if layout in ("packed", "both"):
        segments = runs(2, seq)
        valid = valid & (segments != 0)
    x.requires_grad_()
    y = compute_gae(torch.zeros(2, seq, dtype=torch.float64), x, mask, 1.0, decay, segments)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    # the transpose of a sum over later positions is a sum over earlier ones
    ids = torch.ones(2, seq, dtype=torch.int64) if segments is None else segments
    close(gradient, loop(upstream.flip(1), decay, valid.flip(1), ids.flip(1)).flip(1), 1e-12)


@pytest.mark.usefixtures("either_way")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own use for forward mode
@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("layout", ["dense", "terminal", "gaps", "packed", "both"])
def test_derivatives_in_forward_mode_equal_the_gradient(layout, lam):
    values, rewards, mask, segments = layouts(40)[layout]

    def advantages(x):
        return compute_gae(x, rewards.double(), mask, 1.0, lam, segments)

    x, tangent, upstream = values.double(), draw(2, 40, dtype=torch.float64), draw(2, 40, dtype=torch.float64)
    _, forward = torch.func.jvp(advantages, (x,), (tangent,))
    backward = torch.func.grad(lambda x: (advantages(x) * upstream).sum())(x)
    torch.testing.assert_close((forward * upstream).sum(), (backward * tangent).sum())
    assert (forward * upstream).sum() != 0


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("layout", ["dense", "gaps", "packed", "both"])
def test_columns_before_rows_in_memory_change_nothing(layout):
    inputs = layouts(40)[layout]
    transposed = [None if x is None else x.t().contiguous().t() for x in inputs]
    for lam in (0.9, 1.0):
        actual, expected = (compute_gae(*x[:3], 1.0, lam, x[3]) for x in (transposed, inputs))
        assert torch.equal(actual, expected)


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


@pytest.mark.parametrize(
    ("layout", "lam", "few"),
    [(layout, lam, math.inf) for layout in LAYOUTS for lam in (0.0, 0.95, 1.0)]
    + [(layout, 0.95, 0) for layout in ("packed", "both")],
)
def test_compiles_into_one_graph_with_its_gradient(layout, lam, few, monkeypatch):
    monkeypatch.setattr(scans, "FEW_NUMBERS", few)
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
