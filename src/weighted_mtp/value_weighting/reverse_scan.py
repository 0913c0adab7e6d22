"""Discounted sums from the right, without a loop over tokens.

Elementwise operations and cumulative sums only. The other known form, blocks times a triangular matrix, rounds
to bf16 or TF32 under autocast or `set_float32_matmul_precision`, and its zeros carry a NaN to the positions
after it, for 0 * NaN is NaN. A running sum from the right does neither, and takes no longer.
"""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

# a block ends where the decay has fallen to exp(-46) = 1e-20: times any |x| > 1e-18, float32 holds it in full
LARGEST_EXPONENT = 46.0
SEGMENT_BLOCK = 64
# with fewer numbers, blocks save less arithmetic than they cost in calls
FEW_NUMBERS = 2**16


def reverse_scan(x: Float[Tensor, "batch seq"], decay: float) -> Float[Tensor, "batch seq"]:
    """Discounted sums from the right, where a row is one episode.

        y[t] = sum over u >= t of decay^(u - t) * x[u],   decay in [0, 1]

    In blocks, with p[t] = decay^(t - start of the block): the sums of p * x from the right, divided by p,
    plus the sum at the start of the next block times the decay between. NaN at u reaches every t <= u, as it
    would in the loop, and no t > u.

    Source: Blelloch 1990, "Prefix sums and their applications", sec. 1.4: recurrences as scans.

    Examples:
        >>> reverse_scan(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist()
        [[3.0, 4.0, 4.0]]
    """
    if decay == 0:
        return x
    seq = x.shape[1]
    size = block_size(seq, decay)
    x = blocks_of(x, size)
    powers = decay_powers(torch.arange(size, dtype=x.dtype, device=x.device), decay)
    sums = (x * powers).flip(2).cumsum(2).flip(2)
    if x.shape[1] > 1:
        starts = sums[:, 1:, 0]
        place = torch.arange(1, starts.shape[1] + 1, dtype=x.dtype, device=x.device)
        at_starts = doubling_scan(starts, decay**size, place.expand_as(starts))
        # in place: no backward reads these sums, and fresh memory costs more than the arithmetic
        sums[:, :-1].add_(at_starts[..., None], alpha=decay**size)
    y = sums.div_(powers).flatten(1)
    return y if y.shape[1] == seq else y[:, :seq]


def segmented_reverse_scan(
    x: Float[Tensor, "batch seq"], decay: float, place: Float[Tensor, "batch seq"]
) -> Float[Tensor, "batch seq"]:
    """`reverse_scan` within each episode of packed rows; 0 in the padding.

    Many numbers are cut into blocks, as if an episode ended with each: the sums within, then over the starts
    of the blocks, then from the starts to the blocks before. So the work grows as the length and not as its
    product with the logarithm.

    Args:
        place: of `place_in_episode`, in the dtype of `x`, which is never read in the padding.

    Examples:
        >>> x, segment_ids = torch.tensor([[1.0, 2.0, 4.0, 8.0, 9.0]]), torch.tensor([[1, 1, 2, 2, 0]])
        >>> segmented_reverse_scan(x, 0.5, place_in_episode(segment_ids, x.dtype)).tolist()
        [[2.0, 2.0, 8.0, 8.0, 0.0]]
    """
    if decay == 0:
        return beyond(x, place, 0)
    if x.numel() <= FEW_NUMBERS:
        return doubling_scan(x, decay, place)
    place_in_block = torch.arange(1, SEGMENT_BLOCK + 1, dtype=x.dtype, device=x.device)
    places = blocks_of(place, SEGMENT_BLOCK)
    sums = doubling_scan(blocks_of(x, SEGMENT_BLOCK), decay, torch.minimum(places, place_in_block))
    # in blocks, rounded up: block j's start and the one k blocks before are of one episode where it is > k
    at_starts = doubling_scan(sums[..., 0], decay**SEGMENT_BLOCK, (places[..., 0] / SEGMENT_BLOCK).ceil())
    distance = SEGMENT_BLOCK + 1 - place_in_block
    left = places[:, 1:, :1] - distance
    carried = beyond(at_starts[:, 1:, None].expand_as(left), left, 0)
    sums[:, :-1].addcmul_(carried, decay_powers(distance, decay))
    return sums.flatten(1)[:, : x.shape[1]]


def doubling_scan(
    x: Float[Tensor, "*rows seq"], decay: float, place: Float[Tensor, "*rows seq"]
) -> Float[Tensor, "*rows seq"]:
    """Discounted sums from the right within each episode, in log2(seq) steps.

    After the step with distance k, y[t] holds the sum over the 2k positions from t on; y[t+k] enters y[t]
    where place[t+k] > k.

    Source: Hillis and Steele 1986, "Data parallel algorithms", Communications of the ACM 29(12).
    """
    # all rows in one: a row's first position has place 1, and slices of a vector are the cheapest
    sums, places = beyond(x, place, 0).flatten(), place.flatten()
    distance = 1
    while distance < x.shape[-1]:
        # in place: no backward reads these sums, and joining two parts would be a third pass
        # also where the power is 0 in floating point: NaN reaches as far as in the loop
        sums[:-distance].add_(beyond(sums, places, distance)[distance:], alpha=decay)
        decay, distance = decay * decay, 2 * distance
    return sums.view(x.shape)


def place_in_episode(segment_ids: Shaped[Tensor, "batch seq"], dtype: torch.dtype) -> Float[Tensor, "batch seq"]:
    """Place of each position within its run of equal ids, counted from 1; 0 in the padding.

    Position u and the one k before it are of one episode just where place[u] > k.
    """
    seq, device = segment_ids.shape[1], segment_ids.device
    # int32 and `bool()`: booleans times floats, and `!= 0`, take three times as long
    changes, ids = segment_ids.new_zeros(segment_ids.shape, dtype=torch.int32), segment_ids.flatten()
    # all rows in one: that a row's first position differs from what is before it is multiplied by its index, 0
    torch.ne(ids[1:], ids[:-1], out=changes.view(-1)[1:])
    starts = changes.mul_(torch.arange(seq, dtype=torch.int32, device=device)).cummax(1).values
    index_from_1 = torch.arange(1, seq + 1, dtype=torch.int32, device=device)
    return index_from_1.sub(starts).mul_(segment_ids.bool()).to(dtype)


def beyond(x: Float[Tensor, "*shape"], place: Float[Tensor, "*shape"], distance: int) -> Float[Tensor, "*shape"]:
    """x where place > distance, and 0 elsewhere, even of a NaN.

    `where` by the backward of a threshold, which the CPU computes on vectors: .15 against .9 ns a number.

    Examples:
        >>> beyond(torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([2.0, 1.0, 2.0]), 1).tolist()
        [1.0, 0.0, 3.0]
    """
    return torch.ops.aten.threshold_backward.default(x, place, distance)


def decay_powers(exponents: Float[Tensor, "*shape"], decay: float) -> Float[Tensor, "*shape"]:
    """decay^exponents for whole numbers >= 0, exact to about two units in the last place.

    The logarithm is split into 8 leading bits, whose product with a count below 2^16 is exact, and the rest.
    A plain exponential is off by 2e-6 of itself at exp(-46): that matters where one divides by it.
    """
    log_decay = math.log(decay)
    fraction, exponent = math.frexp(log_decay)
    leading = math.ldexp(round(fraction * 256.0), exponent - 8)
    return (exponents * leading).exp() * (exponents * (log_decay - leading)).exp()


def block_size(seq: int, decay: float) -> int:
    """Length of the blocks of `reverse_scan`: equal blocks, as few as `LARGEST_EXPONENT` allows.

    Examples:
        >>> block_size(4096, 0.95), block_size(3000, 0.999), block_size(3000, 1.0), block_size(9, 1e-20)
        (512, 3000, 3000, 1)
    """
    if decay == 1:
        return seq
    longest = 2 ** max(0, math.floor(math.log2(LARGEST_EXPONENT / -math.log(decay))))
    blocks = -(-seq // longest)
    return -(-seq // blocks)


def blocks_of(x: Shaped[Tensor, "batch seq"], size: int) -> Shaped[Tensor, "batch blocks size"]:
    """Rows cut into blocks; the last one is filled up with zeros."""
    missing = -x.shape[1] % size
    if missing:
        x = F.pad(x, (0, missing))
    return x.view(x.shape[0], -1, size)
