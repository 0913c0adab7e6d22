"""Softmax-temperature weights, and the temperature that keeps them from collapsing onto a few tokens."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from weighted_mtp.value_weighting.episodes import episode_max, episode_sum, valid_positions
from weighted_mtp.value_weighting.validation import (
    check_number,
    check_rank,
    check_segment_ids,
    check_shape,
    check_temperature,
    usable_temperature,
    working_dtype,
)

BISECTION_STEPS = 40


def softmax_weights(
    td_errors: Shaped[Tensor, "batch seq"],
    temperature: float | Float[Tensor, "batch _"],
    mask: Shaped[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Softmax weights with mean 1 over the valid tokens of a sequence.

        w[t] = N * exp(td[t] / tau) / sum of exp(td / tau),   0 outside the mask

    over the N valid tokens of the row, or of the segment in packed rows.

    Source: Peters, Muelling and Altun 2010, "Relative Entropy Policy Search" (softmax weighting of
    advantages).

    Args:
        td_errors: TD errors or other credit.
        temperature: tau in the unit of the TD errors, finite and above 0; a tensor gives each row its own.
        mask: non-zero where a position counts.
        segment_ids: episode of each position in packed rows, 0 for padding.

    Returns:
        Weights; float32, or float64 for float64 input.

    Raises:
        ValueError: a shape, or the temperature.

    Examples:
        >>> td = torch.tensor([[0.0, 0.0, 5.0]])
        >>> softmax_weights(td, 1.0, torch.tensor([[1, 1, 0]])).tolist()
        [[1.0, 1.0, 0.0]]
    """
    x, valid = _prepared(td_errors, mask, segment_ids)
    if not isinstance(temperature, Tensor):
        tau = usable_temperature(check_temperature("temperature", temperature), x.dtype)
        temperature = torch.full((1, 1), tau, dtype=x.dtype, device=x.device)
    exponentials = _tilted(x, valid, temperature, segment_ids)[0]
    count = episode_sum(valid.to(x.dtype), segment_ids)
    total = episode_sum(exponentials, segment_ids)
    return torch.where(valid, exponentials * (count / torch.where(count > 0, total, 1.0)), 0.0)


def entropy_floor_temperature(
    td_errors: Shaped[Tensor, "batch seq"],
    floor: float,
    beta: float,
    mask: Shaped[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch _"]:
    """The smallest temperature tau >= beta at which the softmax of the TD errors is spread widely enough.

        H(softmax(td / tau)) / log N >= floor

    over the N valid tokens of a sequence (a row, or a segment in packed rows), before any clipping: the
    entropy of clipped weights does not grow steadily with tau. N <= 1 satisfies every floor. Found by
    bisection of log tau with a fixed number of steps; the upper end, R / sqrt(8 (1 - floor) log N) with R =
    max td - min td, satisfies the floor because KL(p || uniform) <= (R / tau)^2 / 8 (Hoeffding's lemma).

    Args:
        td_errors: TD errors or other credit.
        floor: share of the greatest entropy to keep, in [0, 1).
        beta: the temperature where the floor does not bind, finite and above 0.
        mask: non-zero where a position counts.
        segment_ids: episode of each position in packed rows, 0 for padding.

    Returns:
        tau per row, [batch, 1], or per position, [batch, seq], with `segment_ids`.

    Raises:
        ValueError: a shape, `floor`, or `beta`.

    Examples:
        >>> td, mask = torch.tensor([[0.0, 0.0, 0.0, 4.0]]), torch.ones(1, 4)
        >>> entropy_floor_temperature(td, 0.0, 1.0, mask).tolist()
        [[1.0]]
        >>> tau = entropy_floor_temperature(td, 0.5, 1.0, mask)
        >>> round(tau.item(), 3)
        1.567
    """
    x, valid = _prepared(td_errors, mask, segment_ids)
    floor = check_number("floor", floor, 0.0, 1.0, "[)")
    beta = usable_temperature(check_temperature("beta", beta), x.dtype)
    count = episode_sum(valid.to(x.dtype), segment_ids)
    log_count = count.clamp(min=2.0).log()
    largest = episode_max(torch.where(valid, x, -torch.inf), segment_ids)
    smallest = -episode_max(torch.where(valid, -x, -torch.inf), segment_ids)
    spread = torch.where(count > 1, largest - smallest, 0.0)

    low = torch.full_like(spread, beta).log()
    high = (spread / (8.0 * (1.0 - floor) * log_count).sqrt()).clamp(min=beta).log()
    needed = floor * log_count
    binds = (count > 1) & (_entropy(x, valid, low.exp(), segment_ids) < needed)
    for _ in range(BISECTION_STEPS):
        middle = 0.5 * (low + high)
        enough = _entropy(x, valid, middle.exp(), segment_ids) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(binds, high.exp(), beta)


def _entropy(x: Tensor, valid: Tensor, temperature: Tensor, segment_ids: Tensor | None) -> Tensor:
    exponentials, exponents = _tilted(x, valid, temperature, segment_ids)
    total = episode_sum(exponentials, segment_ids)
    total = torch.where(total == 0, 1.0, total)
    return total.log() - episode_sum(exponentials * exponents, segment_ids) / total


def _tilted(
    x: Float[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"],
    temperature: Float[Tensor, "..."],
    segment_ids: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """exp(e) and e = (x - max x) / tau, both 0 outside the mask."""
    largest = episode_max(torch.where(valid, x, -torch.inf), segment_ids)
    exponents = torch.where(valid, (x - largest) / temperature, 0.0)
    # an exponential that vanishes must not meet an infinite exponent: 0 * inf is NaN
    exponents = exponents.clamp(min=-1000.0)
    return torch.where(valid, exponents.exp(), 0.0), exponents


def _prepared(td_errors: Tensor, mask: Tensor, segment_ids: Tensor | None) -> tuple[Tensor, Tensor]:
    check_rank("td_errors", td_errors, "[batch, seq]")
    shape = (td_errors.shape[0], td_errors.shape[1])
    check_shape("mask", mask, shape, "[batch, seq]")
    if segment_ids is not None:
        check_segment_ids(segment_ids, shape)
    valid = valid_positions(mask, segment_ids)
    return torch.where(valid, td_errors.to(working_dtype(td_errors)), 0.0), valid
