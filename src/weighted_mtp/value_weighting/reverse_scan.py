"""Discounted sums from the right, without a loop over tokens.

Elementwise operations and cumulative sums only. The other known form, blocks times a triangular matrix, rounds
to bf16 or TF32 under autocast or `set_float32_matmul_precision`, and its zeros carry a NaN to the positions
after it, for 0 * NaN is NaN. A running sum from the right does neither, and takes no longer.
"""

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

# a block ends where the decay has fallen to exp(-46) = 1e-20: times any |x| > 1e-18, float32 holds it in full
LARGEST_EXPONENT = 46.0
SEGMENT_BLOCK = 16
# below this length blocks save less arithmetic than they cost in calls
SHORT_ROW = 1024


def reverse_scan(
    x: Float[Tensor, "batch seq"], decay: float, valid: Bool[Tensor, "batch seq"] | None = None
) -> Float[Tensor, "batch seq"]:
    """Discounted sums from the right, where a row is one episode.

        y[t] = sum over u >= t of decay^(c[u] - c[t]) * x[u],   c[t] = number of valid positions up to t

    In blocks, with p[t] = decay^(c[t] - c[start of the block]): the sums of p * x from the right, divided by
    p, plus the sum at the start of the next block times the decay between. NaN at u reaches every t <= u, as
    it would in the loop, and no t > u.

    Source: Blelloch 1990, "Prefix sums and their applications", sec. 1.4: recurrences as scans.

    Args:
        x: what is summed; 0 where not valid.
        decay: in [0, 1].
        valid: True where a position counts; None: everywhere. At other positions y means nothing.

    Returns:
        y, of the dtype of `x`.

    Examples:
        >>> reverse_scan(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist()
        [[3.0, 4.0, 4.0]]
        >>> valid = torch.tensor([[True, False, True]])
        >>> reverse_scan(torch.tensor([[1.0, 0.0, 4.0]]), 0.5, valid)[0, ::2].tolist()
        [3.0, 4.0]
    """
    if decay == 0:
        return x
    seq = x.shape[1]
    size = block_size(seq, decay)
    x = blocks_of(x, size)
    if valid is None:
        counts, between = None, decay**size
        powers = decay_powers(torch.arange(size, dtype=x.dtype, device=x.device), decay)
    else:
        counts = counts_in_blocks(valid, size, x.dtype)
        starts = counts[..., 0]
        between = decay_powers(starts[:, 1:] - starts[:, :-1], decay)
        powers = decay_powers(counts - counts[..., :1], decay)
    sums = (x * powers).flip(2).cumsum(2).flip(2)
    if x.shape[1] > 1:
        if counts is None:
            at_starts = doubling_scan(sums[:, 1:, 0], decay**size)
        else:
            at_starts = doubling_scan(sums[:, 1:, 0], decay, counts[:, 1:, 0])
        # in place: no backward reads these sums, and fresh memory costs more than the arithmetic
        sums[:, :-1].add_((at_starts * between)[..., None])
    y = sums.div_(powers).flatten(1)
    return y if y.shape[1] == seq else y[:, :seq]


def segmented_reverse_scan(
    x: Float[Tensor, "batch seq"],
    decay: float,
    segment_ids: Shaped[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """`reverse_scan` within each segment of packed rows.

    Log-step within blocks of 16, then over their starts, then once from the starts to the blocks: the work
    grows as the length and not as its product with the logarithm.

    Examples:
        >>> x = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
        >>> segmented_reverse_scan(x, 0.5, torch.tensor([[1, 1, 2, 2]])).tolist()
        [[2.0, 2.0, 8.0, 8.0]]
    """
    if decay == 0:
        return x
    seq = x.shape[1]
    if seq <= SHORT_ROW:
        counts = None if valid is None else counts_in_blocks(valid, seq, x.dtype)[:, 0]
        return doubling_scan(x, decay, counts, segment_ids)
    segments = blocks_of(segment_ids, SEGMENT_BLOCK)
    within = blocks_of(x, SEGMENT_BLOCK)
    next_segment = segments[:, 1:, 0]
    if valid is None:
        within = doubling_scan(within, decay, None, segments)
        at_starts = doubling_scan(within[:, 1:, 0], decay**SEGMENT_BLOCK, None, next_segment)
        distance = SEGMENT_BLOCK - torch.arange(SEGMENT_BLOCK, dtype=x.dtype, device=x.device)
    else:
        counts = counts_in_blocks(valid, SEGMENT_BLOCK, x.dtype)
        within = doubling_scan(within, decay, counts, segments)
        at_starts = doubling_scan(within[:, 1:, 0], decay, counts[:, 1:, 0], next_segment)
        distance = counts[:, 1:, :1] - counts[:, :-1]
    carried = (distance * math.log(decay)).exp() * at_starts[..., None]
    # `where`, because 0 * NaN would carry NaN into the episode before
    carried = torch.where(segments[:, :-1] == next_segment[..., None], carried, 0.0)
    within[:, :-1].add_(carried)
    return within.flatten(1)[:, :seq]


def doubling_scan(
    x: Float[Tensor, "*rows seq"],
    decay: float,
    counts: Float[Tensor, "*rows seq"] | None = None,
    segment_ids: Shaped[Tensor, "*rows seq"] | None = None,
) -> Float[Tensor, "*rows seq"]:
    """Discounted sums from the right in log2(seq) steps.

    After the step with distance k, y[t] holds the sum over the 2k positions from t on. The discount between
    two positions is decay^(difference of `counts`), or of their indices.

    Source: Hillis and Steele 1986, "Data parallel algorithms", Communications of the ACM 29(12).

    Examples:
        >>> doubling_scan(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist()
        [[3.0, 4.0, 4.0]]
        >>> doubling_scan(torch.tensor([[1.0, 2.0, 4.0]]), 0.5, segment_ids=torch.tensor([[1, 1, 2]])).tolist()
        [[2.0, 2.0, 4.0]]
    """
    distance = 1
    while distance < x.shape[-1]:
        left, right = x[..., :-distance], x[..., distance:]
        if counts is None:
            # also where the power is 0 in floating point: NaN reaches as far as in the loop
            summed = torch.add(left, right, alpha=decay**distance)
        else:
            powers = ((counts[..., distance:] - counts[..., :-distance]) * math.log(decay)).exp()
            summed = torch.addcmul(left, powers, right)
        if segment_ids is not None:
            # `where`, because 0 * NaN would carry NaN into the episode before
            summed = torch.where(segment_ids[..., :-distance] == segment_ids[..., distance:], summed, left)
        x = torch.cat([summed, x[..., -distance:]], -1)
        distance *= 2
    return x


def decay_powers(exponents: Float[Tensor, "*shape"], decay: float) -> Float[Tensor, "*shape"]:
    """decay^exponents for whole numbers >= 0, exact to about two units in the last place.

    The logarithm is split into 8 leading bits, whose product with a count below 2^16 is exact, and the rest.
    A plain exponential is off by 2e-6 of itself at exp(-46): that matters where one divides by it.

    Examples:
        >>> decay_powers(torch.tensor([0.0, 1.0, 2.0]), 0.5).tolist()
        [1.0, 0.5, 0.25]
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
    """Rows cut into blocks; the last one is filled up with zeros.

    Examples:
        >>> blocks_of(torch.tensor([[1, 2, 3]]), 2).tolist()
        [[[1, 2], [3, 0]]]
    """
    missing = -x.shape[1] % size
    if missing:
        x = F.pad(x, (0, missing))
    return x.view(x.shape[0], -1, size)


def counts_in_blocks(
    valid: Bool[Tensor, "batch seq"], size: int, dtype: torch.dtype
) -> Float[Tensor, "batch blocks size"]:
    """Number of valid positions up to each, over the row, cut into blocks; what fills the last is not valid.

    Examples:
        >>> counts_in_blocks(torch.tensor([[True, False, True]]), 2, torch.float32).tolist()
        [[[1.0, 1.0], [2.0, 2.0]]]
    """
    blocks = blocks_of(valid, size)
    # int32 takes a third of the time of a float sum; whole numbers up to 2^24 are exact in float32
    return blocks.flatten(1).cumsum(1, dtype=torch.int32).to(dtype).view(blocks.shape)
