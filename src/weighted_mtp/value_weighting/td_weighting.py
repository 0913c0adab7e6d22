"""The published module: TD errors of a critic, the weights made of them, and their statistics."""

import math

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from weighted_mtp.checks import (
    check_number,
    check_rank,
    check_rewards,
    check_shape,
    check_temperature,
    usable_temperature,
    working_dtype,
)
from weighted_mtp.value_weighting.episodes import next_valid, valid_positions
from weighted_mtp.value_weighting.statistics import moments, td_stats, weight_stats


def compute_td_errors(
    value_logits: Shaped[Tensor, "batch seq 1"],
    rewards: Shaped[Tensor, " batch"] | Shaped[Tensor, "batch seq"],
    attention_mask: Shaped[Tensor, "batch seq"],
    gamma: float = 1.0,
    *,
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Temporal-difference error of every token: how much it changed the predicted success.

        td[t] = r[t] + gamma * V[n(t)] - V[t],   td[T] = r[T] - V[T]

    with n(t) the next valid position of the same episode and T its last valid one. A reward per row is paid
    at T. A gap in the mask costs no discount. Positions outside the mask are never read and get 0; a row without a
    valid position is all 0. NaN at a valid position reaches only the errors that the equation makes of it.

    Source: Sutton and Barto, Reinforcement Learning (2018), eq. 6.5.

    Args:
        value_logits: V of the prefix that includes token t. No sigmoid is applied: the name is the published
            one, the contents are values (probabilities of success, as a rule).
        rewards: one per row, paid at its last valid position, or one per position. Bool and int are cast.
        attention_mask: non-zero where a position counts; in training, the prediction mask.
        gamma: discount per valid position, in [0, 1].
        segment_ids: episode of each position in packed rows, 0 for padding; rewards must be per position.

    Examples:
        >>> values = torch.tensor([[0.5, 0.7, 0.9]])
        >>> td = compute_td_errors(values[..., None], torch.tensor([1.0]), torch.ones(1, 3))
        >>> [round(x, 3) for x in td[0].tolist()]
        [0.2, 0.2, 0.1]

        Left padding: the reward is paid at the last valid position.

        >>> values, mask = torch.tensor([[9.0, 9.0, 0.2, 0.4, 0.7]]), torch.tensor([[0, 0, 1, 1, 1]])
        >>> td = compute_td_errors(values[..., None], torch.tensor([1.0]), mask)
        >>> [round(x, 3) for x in td[0].tolist()]
        [0.0, 0.0, 0.2, 0.3, 0.3]
    """
    check_rank("value_logits", value_logits, "[batch, seq, 1]")
    batch, seq, last = value_logits.shape
    if last != 1:
        raise ValueError(f"value_logits has shape {list(value_logits.shape)}; needed is [batch, seq, 1]")
    check_shape("attention_mask", attention_mask, (batch, seq), "[batch, seq]")
    check_rewards(rewards, (batch, seq), segment_ids)
    gamma = check_number("gamma", gamma, 0.0, 1.0)
    values = value_logits.squeeze(-1).to(working_dtype(value_logits))
    valid = valid_positions(attention_mask, segment_ids)
    return td_errors(values, rewards.to(values.dtype), valid, next_valid(valid, segment_ids), gamma)


def td_errors(
    values: Float[Tensor, "batch seq"],
    rewards: Float[Tensor, " batch"] | Float[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"],
    following: Int64[Tensor, "batch seq"],
    gamma: float,
) -> Float[Tensor, "batch seq"]:
    """Kernel of `compute_td_errors`: checked tensors, and `following` from `next_valid`."""
    following_values = F.pad(values, (0, 1)).gather(1, following)
    if rewards.ndim == 1:
        rewards = torch.where(following == values.shape[1], rewards[:, None], 0.0)
    # `where`, never a product with the mask: 0 * NaN is NaN, forward and backward
    return torch.where(valid, rewards + gamma * following_values - values, 0.0)


def build_weights(
    td_errors: Shaped[Tensor, "*shape"],
    beta: float = 0.9,
    min_weight: float = 0.1,
    max_weight: float = 5.0,
    *,
    mask: Shaped[Tensor, "*shape"] | None = None,
) -> Float[Tensor, "*shape"]:
    """Exponential weights of TD errors, clipped.

        w = clip(exp(td / beta), min_weight, max_weight),   0 outside the mask

    The exponent is clamped before the exponential, so a clipped weight has gradient 0 and not inf * 0. NaN at
    a valid position stays NaN.

    Source: Peng et al. 2019 (arXiv 1910.00177), Algorithm 1: exponentials of advantages over a temperature.

    Args:
        td_errors: TD errors or other credit, of any shape.
        beta: temperature in the unit of the TD errors, finite and above 0; smaller is sharper.
        min_weight: lower clip bound, at least 0.
        max_weight: upper clip bound, at least `min_weight`.
        mask: non-zero where a position counts; None: everywhere.

    Examples:
        >>> weights = build_weights(torch.tensor([0.2, -0.5, 0.1]))
        >>> [round(x, 3) for x in weights.tolist()]
        [1.249, 0.574, 1.118]
        >>> build_weights(torch.tensor([1e6, -1e6, 0.0]), mask=torch.tensor([1, 1, 0])).tolist()
        [5.0, 0.10000000149011612, 0.0]
    """
    beta = check_temperature("beta", beta)
    check_clip_bounds(min_weight, max_weight)
    if mask is not None:
        check_shape("mask", mask, tuple(td_errors.shape), "the shape of td_errors")
        mask = mask.bool()
    return clipped_exponential(td_errors.to(working_dtype(td_errors)), beta, min_weight, max_weight, mask)


def check_clip_bounds(min_weight: float, max_weight: float) -> None:
    """Raise unless 0 <= min_weight <= max_weight.

    Examples:
        >>> check_clip_bounds(2.0, 1.0)
        Traceback (most recent call last):
        ValueError: min_weight is 2.0; needed is a number in [0, 1]
    """
    check_number("max_weight", max_weight, 0.0, math.inf)
    check_number("min_weight", min_weight, 0.0, max_weight)


def clipped_exponential(
    x: Float[Tensor, "*shape"], beta: float, min_weight: float, max_weight: float, mask: Bool[Tensor, "*shape"] | None
) -> Float[Tensor, "*shape"]:
    """Kernel of `build_weights` on checked arguments."""
    # one more than the logarithm of a bound, so that a clipped weight is the bound itself to the last bit;
    # never beyond what the dtype can hold (below, the exponential may become 0)
    largest = math.log(torch.finfo(x.dtype).max)
    highest = min(math.log(max_weight) + 1.0, largest) if max_weight > 0 else 0.0
    lowest = max(math.log(min_weight) - 1.0, -1.25 * largest) if min_weight > 0 else -1.25 * largest
    # clamp passes no gradient to what it clips, nor to NaN: nothing leaks from under the mask
    exponent = (x / usable_temperature(beta, x.dtype)).clamp(min(lowest, highest), highest)
    weights = exponent.exp().clamp(min_weight, max_weight)
    return weights if mask is None else torch.where(mask, weights, 0.0)


def compute_td_stats(
    td_errors: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None
) -> dict[str, float]:
    """Mean, unbiased standard deviation, minimum and maximum of the TD errors, as floats for a log.

    Of the elements where the mask is non-zero. No valid element gives zeros, one gives a standard deviation of 0.
    Reads from the device: where the host must not wait, use `td_stats(moments(...))`, which this wraps.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".

    Examples:
        >>> stats = compute_td_stats(torch.tensor([1.0, 2.0, 3.0, 99.0]), torch.tensor([1, 1, 1, 0]))
        >>> stats
        {'td_mean': 2.0, 'td_std': 1.0, 'td_min': 1.0, 'td_max': 3.0}
    """
    return _as_floats(td_stats(moments(td_errors, mask)))


def compute_weight_stats(
    weights: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None
) -> dict[str, float]:
    """Statistics of the weights, as floats for a log, with their normalised entropy.

        weight_entropy = -sum p log p / log N,  p = w / sum w

    over the N valid elements: 1 when all weights are equal (and for one element), 0 when one of many has it
    all, when none is valid, and when all weights are 0. Wraps `weight_stats(moments(...))`.

    Source: Shannon 1948, "A mathematical theory of communication", sec. 6.

    Examples:
        >>> stats = compute_weight_stats(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([1, 1, 1, 0]))
        >>> round(stats["weight_entropy"], 4), stats["weight_std"]
        (1.0, 0.0)
    """
    stats = weight_stats(moments(weights, mask))
    del stats["weight_kl"]  # the published keys, no more
    return _as_floats(stats)


def _as_floats(stats: dict[str, Tensor]) -> dict[str, float]:
    """One device-to-host copy for all of them."""
    on_host = torch.stack(list(stats.values())).cpu()
    return {name: float(value) for name, value in zip(stats, on_host, strict=True)}
