"""Generalised advantages and lambda-returns: one reverse scan, no loop over tokens."""

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from weighted_mtp.value_weighting.episodes import next_valid, valid_positions
from weighted_mtp.value_weighting.td_weighting import td_errors
from weighted_mtp.value_weighting.validation import (
    check_number,
    check_rank,
    check_rewards,
    check_shape,
    working_dtype,
)


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

    Returns:
        Advantages, 0 outside the mask; float32, or float64 where the values are float64.

    Raises:
        ValueError: a shape, `gamma`, `lam`, or rewards per row together with `segment_ids`.

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
    if mask is None and segment_ids is None:
        return dense_gae(values, rewards, gamma, lam)
    valid = valid_positions(torch.ones_like(values) if mask is None else mask, segment_ids)
    return masked_gae(values, rewards, valid, segment_ids, gamma, lam)


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

    Source: Sutton and Barto, Reinforcement Learning (2018), eq. 12.2; Schulman et al. 2015 (arXiv
    1506.02438).

    Args:
        values: as for `compute_gae`.
        rewards: as for `compute_gae`.
        mask: as for `compute_gae`.
        gamma: as for `compute_gae`.
        lam: as for `compute_gae`.
        segment_ids: as for `compute_gae`.

    Returns:
        Lambda-returns, 0 outside the mask; float32, or float64 where the values are float64.

    Raises:
        ValueError: as for `compute_gae`.

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
    """Kernel of `compute_gae` where every position is valid and every row is one episode.

    Examples:
        >>> dense_gae(torch.tensor([[0.5, 0.25]]), torch.tensor([1.0]), 1.0, 0.5).tolist()
        [[0.125, 0.75]]
    """
    seq = values.shape[1]
    if rewards.ndim == 1:
        rewards = F.pad(rewards[:, None], (seq - 1, 0))
    errors = rewards + gamma * F.pad(values[:, 1:], (0, 1)) - values
    return reverse_scan(errors, gamma * lam)


def masked_gae(
    values: Float[Tensor, "batch seq"],
    rewards: Float[Tensor, " batch"] | Float[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None,
    gamma: float,
    lam: float,
) -> Float[Tensor, "batch seq"]:
    """Kernel of `compute_gae` for masks with gaps and for packed rows.

    Examples:
        >>> valid = torch.tensor([[True, False, True]])
        >>> masked_gae(torch.tensor([[0.5, 9.0, 0.75]]), torch.tensor([1.0]), valid, None, 1.0, 0.5).tolist()
        [[0.375, 0.0, 0.25]]
    """
    errors = td_errors(values, rewards, valid, next_valid(valid, segment_ids), gamma)
    return torch.where(valid, gapped_reverse_scan(errors, gamma * lam, valid, segment_ids), 0.0)


def reverse_scan(x: Float[Tensor, "batch seq"], decay: float) -> Float[Tensor, "batch seq"]:
    """Discounted sums from the right, y[t] = x[t] + decay * y[t+1], in log2(seq) steps.

    After the step with distance k, y[t] holds the sum over the 2k positions from t on (Hillis and Steele
    1986). A triangular matrix product takes a third of the time on CPU, but rounds to bf16 or TF32 under
    autocast or `set_float32_matmul_precision`, and carries NaN to positions after it.

    Examples:
        >>> reverse_scan(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist()
        [[3.0, 4.0, 4.0]]
    """
    distance = 1
    while distance < x.shape[1] and decay > 0:
        x = torch.cat([torch.add(x[:, :-distance], x[:, distance:], alpha=decay), x[:, -distance:]], 1)
        decay, distance = decay * decay, 2 * distance
    return x


def gapped_reverse_scan(
    x: Float[Tensor, "batch seq"],
    decay: float,
    valid: Bool[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None,
) -> Float[Tensor, "batch seq"]:
    """`reverse_scan` over the valid positions of each segment; `x` is 0 at the others.

        y[t] = sum over u >= t of decay^(number of valid positions in (t, u]) * x[u]

    At a valid t this decays once per valid position; elsewhere the result means nothing.

    Examples:
        >>> x, valid = torch.tensor([[1.0, 0.0, 4.0]]), torch.tensor([[True, False, True]])
        >>> round(gapped_reverse_scan(x, 0.5, valid, None)[0, 0].item(), 6)
        3.0
        >>> gapped_reverse_scan(x, 0.5, valid, torch.tensor([[1, 1, 2]]))[0, 0].item()
        1.0
    """
    if decay == 0:
        return x
    # decay^n from whole counts n: squaring a rounded decay over and over is off by 5e-6 at 0.999
    log_decay, rank = math.log(decay), valid.cumsum(1).to(x.dtype)
    distance = 1
    while distance < x.shape[1]:
        left, right = x[:, :-distance], x[:, distance:]
        power = ((rank[:, distance:] - rank[:, :-distance]) * log_decay).exp()
        summed = torch.addcmul(left, power, right)
        if segment_ids is not None:
            # `where`, because 0 * NaN would carry NaN into the episode before
            summed = torch.where(segment_ids[:, :-distance] == segment_ids[:, distance:], summed, left)
        x = torch.cat([summed, x[:, -distance:]], 1)
        distance *= 2
    return x
