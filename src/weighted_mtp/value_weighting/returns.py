"""Generalised advantages and lambda-returns: one reverse scan, no loop over tokens."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from weighted_mtp.checks import check_number, check_rank, check_rewards, check_shape, working_dtype
from weighted_mtp.value_weighting.episodes import next_valid, valid_positions
from weighted_mtp.value_weighting.reverse_scan import beyond, place_in_episode, reverse_scan, segmented_reverse_scan
from weighted_mtp.value_weighting.td_weighting import td_errors


def compute_gae(
    values: Shaped[Tensor, "batch seq"],
    rewards: Shaped[Tensor, " batch"] | Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"] | None,
    gamma: float = 1.0,
    lam: float = 0.95,
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Generalised advantage estimates.

        A[t] = td[t] + gamma * lam * A[n(t)],   A[T] = td[T]

    with td of `compute_td_errors`, n(t) the next valid position of the same episode and T its last valid one:
    gamma and lam count valid positions, so a gap costs no discount. lam = 0 gives the TD errors; gamma = lam
    = 1 gives the reward to come minus V[t]. Positions outside the mask are never read and get 0. NaN at a
    valid position reaches the positions before it in its own episode and no other.

    Source: Schulman et al. 2015 (arXiv 1506.02438), eq. 16.

    Args:
        values: V of the prefix that includes token t.
        rewards: one per row, paid at its last valid position, or one per position. Bool and int are cast.
        mask: non-zero where a position counts; None: every position does, which is faster.
        gamma: discount per valid position, in [0, 1].
        lam: 0 trusts the critic, 1 the reward; in [0, 1].
        segment_ids: episode of each position in packed rows, 0 for padding; rewards must be per position.

    Examples:
        >>> values, reward = torch.tensor([[0.5, 0.25, 0.75]]), torch.tensor([1.0])
        >>> compute_gae(values, reward, None, lam=0.0).tolist()
        [[-0.25, 0.5, 0.25]]
        >>> compute_gae(values, reward, None, lam=1.0).tolist()
        [[0.5, 0.75, 0.25]]
        >>> compute_gae(values, reward, torch.tensor([[1, 0, 1]]), lam=0.5).tolist()
        [[0.375, 0.0, 0.25]]
    """
    check_rank("values", values, "[batch, seq]")
    shape = (values.shape[0], values.shape[1])
    if mask is not None:
        check_shape("mask", mask, shape, "[batch, seq]")
    check_rewards(rewards, shape, segment_ids)
    gamma, lam = check_number("gamma", gamma, 0.0, 1.0), check_number("lam", lam, 0.0, 1.0)
    values = values.to(working_dtype(values))
    rewards = rewards.to(values.dtype)
    if values.numel() == 0:
        return torch.zeros_like(values)
    if mask is not None:
        valid = valid_positions(mask, segment_ids)
        return masked_gae(values, rewards, valid, segment_ids, gamma, lam)
    if segment_ids is not None:
        return packed_gae(values, rewards, segment_ids, gamma, lam)
    return dense_gae(values, rewards, gamma, lam)


def compute_lambda_returns(
    values: Shaped[Tensor, "batch seq"],
    rewards: Shaped[Tensor, " batch"] | Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"] | None,
    gamma: float = 1.0,
    lam: float = 0.95,
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Lambda-returns: what a critic may regress on.

        G[t] = A[t] + V[t] = r[t] + gamma * ((1 - lam) * V[n(t)] + lam * G[n(t)]),   G[T] = r[T]

    on valid positions, 0 elsewhere, with A of `compute_gae`. lam = 1 gives the discounted reward to come.
    Detach them before they become a regression target.

    Source: Sutton and Barto, Reinforcement Learning (2018), eq. 12.2; Schulman et al. 2015 (arXiv 1506.02438).

    Args:
        values, rewards, mask, gamma, lam, segment_ids: as for `compute_gae`.

    Examples:
        >>> values, reward = torch.tensor([[0.5, 0.25, 0.75]]), torch.tensor([1.0])
        >>> compute_lambda_returns(values, reward, None, lam=1.0).tolist()
        [[1.0, 1.0, 1.0]]
        >>> compute_lambda_returns(values, reward, None, lam=0.0).tolist()
        [[0.25, 0.75, 1.0]]
    """
    advantages = compute_gae(values, rewards, mask, gamma, lam, segment_ids)
    values = values.to(advantages.dtype)
    if mask is None and segment_ids is None:
        return advantages + values
    valid = valid_positions(torch.ones_like(values) if mask is None else mask, segment_ids)
    return torch.where(valid, advantages + values, 0.0)


def dense_gae(
    values: Float[Tensor, "batch seq"],
    rewards: Float[Tensor, " batch"] | Float[Tensor, "batch seq"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "batch seq"]:
    """Kernel of `compute_gae` where every position is valid and every row is one episode."""
    if gamma * lam == 1:
        return rewards_to_come(values, rewards, None, None) - values
    if rewards.ndim == 1:
        rewards = F.pad(rewards[:, None], (values.shape[1] - 1, 0))
    errors = torch.sub(rewards, values)
    errors[:, :-1].add_(values[:, 1:], alpha=gamma)
    return reverse_scan(errors, gamma * lam)


def packed_gae(
    values: Float[Tensor, "batch seq"],
    rewards: Float[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "batch seq"]:
    """Kernel of `compute_gae` for packed rows in which every position but the padding is valid."""
    place = place_in_episode(segment_ids, values.dtype)
    if gamma * lam == 1:
        return beyond(rewards_to_come(values, rewards, None, place) - values, place, 0)
    errors = torch.sub(rewards, values)
    errors[:, :-1].add_(beyond(values, place, 1)[:, 1:], alpha=gamma)
    return segmented_reverse_scan(errors, gamma * lam, place)


def masked_gae(
    values: Float[Tensor, "batch seq"],
    rewards: Float[Tensor, " batch"] | Float[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None,
    gamma: float,
    lam: float,
) -> Float[Tensor, "batch seq"]:
    """Kernel of `compute_gae` for masks with gaps, in rows of one episode or packed.

    The valid positions of a row are pushed together at its right end, where no gap is left, and their
    advantages brought back: .35 to .7 of the time of counting the valid positions between any two.
    """
    if gamma * lam == 0:
        return td_errors(values, rewards, valid, next_valid(valid, segment_ids), gamma)
    if gamma * lam == 1:
        # a gap costs nothing anyway
        place = None if segment_ids is None else place_in_episode(segment_ids, values.dtype)
        return torch.where(valid, rewards_to_come(values, rewards, valid, place) - values, 0.0)
    batch, seq = valid.shape
    counts = valid.cumsum(1)
    # column 0 takes what is not valid, and is 0 on the way back
    column = counts.add_(seq - counts[:, -1:]).mul_(valid)

    def pushed(x: Tensor) -> Tensor:
        return x.new_zeros(batch, seq + 1).scatter_(1, column, x)[:, 1:]

    values = pushed(values)
    if rewards.ndim == 2:
        rewards = pushed(rewards)
    if segment_ids is None:
        advantages = dense_gae(values, rewards, gamma, lam)
    else:
        advantages = packed_gae(values, rewards, pushed(segment_ids), gamma, lam)
    return F.pad(advantages, (1, 0)).gather(1, column)


def rewards_to_come(
    values: Float[Tensor, "batch seq"],
    rewards: Float[Tensor, " batch"] | Float[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"] | None,
    place: Float[Tensor, "batch seq"] | None,
) -> Float[Tensor, "batch seq"]:
    """Undiscounted rewards from each position on: the lambda-return at gamma = lam = 1, where values cancel.

    Only their NaN and infinities do not: they come in as 0 * V and reach the positions before, as always.
    """
    steps = 0.0 * values
    if rewards.ndim == 2:
        steps = rewards + steps
    if valid is not None:
        steps = torch.where(valid, steps, 0.0)
    if place is not None:
        return segmented_reverse_scan(steps, 1.0, place)
    to_come = reverse_scan(steps, 1.0)
    return to_come + rewards[:, None] if rewards.ndim == 1 else to_come
