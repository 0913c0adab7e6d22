"""Softmax-temperature weights, and the temperature that keeps them from collapsing onto a few tokens."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weighted_mtp.checks import (
    check_number,
    check_rank,
    check_segment_ids,
    check_shape,
    check_temperature,
    usable_temperature,
    working_dtype,
)
from weighted_mtp.value_weighting.episodes import episode_index, episode_max, episode_sum, valid_positions

BISECTION_STEPS = 32  # log(tau) to 2e-8 even where it spans 100


def softmax_weights(
    td_errors: Shaped[Tensor, "batch seq"],
    temperature: float | Float[Tensor, "batch _"],
    mask: Shaped[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Softmax weights with mean 1 over the valid tokens of a sequence.

        w[t] = N * exp(td[t] / tau) / sum of exp(td / tau),   0 outside the mask

    over the N valid tokens of the row, or of the segment in packed rows.

    Source: Peters, Muelling and Altun 2010, "Relative Entropy Policy Search" (softmax weighting of advantages).

    Args:
        td_errors: TD errors or other credit.
        temperature: tau in the unit of the TD errors, finite and above 0; a tensor gives each row its own.
        mask: non-zero where a position counts.
        segment_ids: episode of each position in packed rows, 0 for padding.

    Examples:
        >>> td = torch.tensor([[0.0, 0.0, 5.0]])
        >>> softmax_weights(td, 1.0, torch.tensor([[1, 1, 0]])).tolist()
        [[1.0, 1.0, 0.0]]
    """
    x, valid, index = _prepared(td_errors, mask, segment_ids)
    if not isinstance(temperature, Tensor):
        tau = usable_temperature(check_temperature("temperature", temperature), x.dtype)
        temperature = torch.full((1, 1), tau, dtype=x.dtype, device=x.device)
    exponentials, _ = _tilted(_below_maximum(x, valid, index), temperature)
    count, total = episode_sum(valid.to(x.dtype), index), episode_sum(exponentials, index)
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

    Source: Hoeffding 1963, "Probability inequalities for sums of bounded random variables", for the upper end.

    Args:
        td_errors: TD errors or other credit.
        floor: share of the greatest entropy to keep, in [0, 1).
        beta: the temperature where the floor does not bind, finite and above 0.
        mask: non-zero where a position counts.
        segment_ids: episode of each position in packed rows, 0 for padding.

    Returns:
        tau per row, [batch, 1], or per position, [batch, seq], with `segment_ids`.

    Examples:
        >>> td, mask = torch.tensor([[0.0, 0.0, 0.0, 4.0]]), torch.ones(1, 4)
        >>> entropy_floor_temperature(td, 0.0, 1.0, mask).tolist()
        [[1.0]]
        >>> tau = entropy_floor_temperature(td, 0.5, 1.0, mask)
        >>> round(tau.item(), 3)
        1.567
    """
    x, valid, index = _prepared(td_errors, mask, segment_ids)
    floor = check_number("floor", floor, 0.0, 1.0, "[)")
    beta = usable_temperature(check_temperature("beta", beta), x.dtype)
    count = episode_sum(valid.to(x.dtype), index)
    log_count = count.clamp(min=2.0).log()
    below = _below_maximum(x, valid, index)
    spread = torch.where(count > 1, episode_max(torch.where(valid, -below, 0.0), index), 0.0)

    low = torch.full_like(spread, beta).log()
    high = (spread / (8.0 * (1.0 - floor) * log_count).sqrt()).clamp(min=beta).log()
    needed = floor * log_count
    binds = (count > 1) & (_entropy(below, low.exp(), index) < needed)
    for _ in range(BISECTION_STEPS):
        middle = 0.5 * (low + high)
        enough = _entropy(below, middle.exp(), index) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(binds, high.exp(), beta)


def _below_maximum(x: Tensor, valid: Tensor, index: Tensor | None) -> Tensor:
    """How far each credit lies below the highest of its sequence; -inf outside the mask."""
    masked = torch.where(valid, x, -torch.inf)
    # a sequence without a valid position has the maximum -inf, and -inf - -inf is NaN
    return torch.where(valid, masked - episode_max(masked, index), -torch.inf)


def _tilted(below: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """exp(e) and e = below / tau, clamped where the exponential is 0 anyway, because 0 * inf is NaN."""
    exponents = (below / temperature).clamp(min=-1000.0)
    return exponents.exp(), exponents


def _entropy(below: Tensor, temperature: Tensor, index: Tensor | None) -> Tensor:
    exponentials, exponents = _tilted(below, temperature)
    total = episode_sum(exponentials, index)
    total = torch.where(total == 0, 1.0, total)
    return total.log() - episode_sum(exponentials * exponents, index) / total


def _prepared(td_errors: Tensor, mask: Tensor, segment_ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    check_rank("td_errors", td_errors, "[batch, seq]")
    shape = (td_errors.shape[0], td_errors.shape[1])
    check_shape("mask", mask, shape, "[batch, seq]")
    if segment_ids is not None:
        check_segment_ids(segment_ids, shape)
    valid = valid_positions(mask, segment_ids)
    index = None if segment_ids is None else episode_index(segment_ids)
    return torch.where(valid, td_errors.to(working_dtype(td_errors)), 0.0), valid, index
