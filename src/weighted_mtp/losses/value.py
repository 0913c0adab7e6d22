"""What a critic minimises: regression of values to returns, and ranking of completions of one prompt.

Masked positions are never read. `normalizer` None divides by the number of terms in the batch; the global count makes
micro-batches add up. Without any term the loss is 0, still attached to its graph.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from weighted_mtp.checks import require_floats, require_shape, working_dtype
from weighted_mtp.losses.denominators import as_denominator, require_denominator

Normalizer = float | Shaped[Tensor, ""] | None


def value_mse(
    values: Shaped[Tensor, "batch seq"],
    returns: Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"],
    *,
    normalizer: Normalizer = None,
) -> Float[Tensor, ""]:
    """Squared error of values against returns: sum over valid t of (values[t] - returns[t])^2 / normalizer.

    There is no factor 1/2. With the terminal reward as the return of every position, its minimum is
    V(prefix) = P(success | prefix).

    Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168
    (a verifier trained on every token by mean squared error).

    Args:
        values: probability of success, or whatever the returns measure.
        returns: targets; no gradient reaches them.
        mask: True where a position counts.
        normalizer: denominator; None: the number of valid positions.

    Examples:
        >>> values, returns = torch.tensor([[0.5, 0.8, 0.3]]), torch.ones(1, 3)
        >>> mask = torch.tensor([[True, True, False]])
        >>> round(value_mse(values, returns, mask).item(), 4)  # (.5^2 + .2^2) / 2
        0.145
    """
    values, returns, mask = _valid_only(mask, values=values, returns=returns.detach())
    return _masked_mean((values - returns).square(), mask, normalizer)


def value_bce(
    value_logits: Shaped[Tensor, "batch seq"],
    returns: Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"],
    *,
    normalizer: Normalizer = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of value logits against returns in [0, 1].

        sum over valid t of -(R[t] log sigmoid(l[t]) + (1 - R[t]) log sigmoid(-l[t])) / normalizer

    Returns between 0 and 1 are soft labels. Outside [0, 1] the expression is no likelihood and may be
    unbounded below; this is not checked, since it would synchronise.

    Source: Lightman et al. 2023, "Let's Verify Step by Step", arXiv 2305.20050 (reward models trained to classify).

    Args:
        value_logits: raw output of the value head (logits).
        returns: probability of success, in [0, 1]; no gradient reaches them.
        mask, normalizer: as for `value_mse`.

    Examples:
        >>> value_logits, returns = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
        >>> round(value_bce(value_logits, returns, torch.ones(1, 2)).item(), 4)  # ln 2
        0.6931
    """
    value_logits, returns, mask = _valid_only(mask, value_logits=value_logits, returns=returns.detach())
    losses = binary_cross_entropy_with_logits(value_logits, returns, reduction="none")
    return _masked_mean(losses, mask, normalizer)


def value_clipped_mse(
    values: Shaped[Tensor, "batch seq"],
    old_values: Shaped[Tensor, "batch seq"],
    returns: Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"],
    clip_range: float = 0.2,
    *,
    normalizer: Normalizer = None,
) -> Float[Tensor, ""]:
    """Squared error that gives no reward for moving far from the values before the update.

        sum over valid t of max((V - R)^2, (clip(V, old - c, old + c) - R)^2) / normalizer

    Its gradient is zero where V has already moved further than c towards R. No factor 1/2.

    Source: the PPO implementation that accompanies Schulman et al. 2017, arXiv 1707.06347 (OpenAI baselines,
    ppo2); written out in Engstrom et al. 2020, arXiv 2005.12729.

    Args:
        values, returns, mask, normalizer: as for `value_mse`.
        old_values: values before the update, constants.
        clip_range: c, in units of value, above 0.

    Examples:
        V moved from .5 to .9, past .5 + .2; the clipped error (.7 - 1)^2 is larger than (.9 - 1)^2:

        >>> values, old_values, returns = torch.tensor([[[0.9]], [[0.5]], [[1.0]]])
        >>> round(value_clipped_mse(values, old_values, returns, torch.tensor([[True]])).item(), 4)
        0.09
    """
    if not clip_range > 0:
        raise ValueError(f"clip_range is {clip_range}; a number above 0 is needed")
    values, old_values, returns, mask = _valid_only(
        mask, values=values, old_values=old_values.detach(), returns=returns.detach()
    )
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    losses = torch.maximum((values - returns).square(), (clipped - returns).square())
    return _masked_mean(losses, mask, normalizer)


def pairwise_ranking(
    value_logits: Shaped[Tensor, "batch seq"],
    rewards: Shaped[Tensor, " batch"],
    group_ids: Shaped[Tensor, " batch"],
    mask: Shaped[Tensor, "batch seq"],
    *,
    normalizer: Normalizer = None,
) -> Float[Tensor, ""]:
    """Logistic loss on every pair of a better and a worse completion of the same prompt within the batch.

        sum over i, j with group_ids[i] == group_ids[j] and rewards[i] > rewards[j]
            of -(rewards[i] - rewards[j]) log sigmoid(s[i] - s[j]) / normalizer
        s[i] = mean of value_logits[i] over its valid t

    A pair counts by the margin between its rewards, 1 between right and wrong. The score is a mean over the
    completion, so that every prefix learns to tell right from wrong, as with the per-token losses above; with a mask
    that is True only at the last valid position it is the usual sequence score. Rows without a valid position are in no
    pair, nor are equal rewards. A prompt's difficulty cancels out of the difference, so values are ranked but not
    calibrated. Memory is quadratic in batch, not in seq.

    Source: Ouyang et al. 2022, arXiv 2203.02155, equation 1 (all pairs of one prompt, last-token score).

    Args:
        value_logits: raw output of the value head (logits).
        rewards: one number per completion; bool is fine.
        group_ids: the prompt that each row completes, as an integer.
        mask: True where a position counts.
        normalizer: denominator; None: the number of pairs.

    Examples:
        Rows 0 and 1 are a pair; row 2 belongs to another prompt:

        >>> value_logits = torch.tensor([[2.0, 4.0], [1.0, 1.0], [9.0, 9.0]])
        >>> rewards, group_ids = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([7, 7, 8])
        >>> mask = torch.ones(3, 2, dtype=torch.bool)
        >>> round(pairwise_ranking(value_logits, rewards, group_ids, mask).item(), 4)  # log(1 + e^(1 - 3))
        0.1269
    """
    value_logits, mask = _valid_only(mask, value_logits=value_logits)
    require_shape("rewards", rewards, (len(mask),))
    require_shape("group_ids", group_ids, (len(mask),))
    lengths = mask.sum(1)
    scores = value_logits.sum(1) / lengths.clamp_min(1)
    gap = _pairwise_difference(rewards.detach().to(scores.dtype))
    has_tokens = lengths > 0
    same_prompt = (group_ids[:, None] == group_ids) & has_tokens[:, None] & has_tokens
    pairs = same_prompt & ~(gap <= 0)  # a NaN reward is in a pair, and makes its loss NaN
    differences = torch.where(gap.isnan(), gap, _pairwise_difference(scores))
    return _masked_mean(gap * softplus(-differences.masked_fill(~pairs, 0.0)), pairs, normalizer)


def _pairwise_difference(x: Shaped[Tensor, " n"]) -> Shaped[Tensor, "n n"]:
    return x[:, None] - x


def _valid_only(mask: Tensor, **arguments: Tensor) -> tuple[Tensor, ...]:
    """The arguments in the precision of sums, 0 where masked before any arithmetic (0 * NaN is NaN), and the mask."""
    (name, first), *_ = arguments.items()
    require_floats(name, first)
    require_shape(name, first, (None, None))
    for other, x in (*arguments.items(), ("mask", mask)):
        if x.shape != first.shape:
            raise ValueError(f"{other} has shape {list(x.shape)}; that of {name}, {list(first.shape)}, is needed")
    mask, dtype = mask.bool(), working_dtype(first)
    return (*(torch.where(mask, x.to(dtype), 0.0) for x in arguments.values()), mask)


def _masked_mean(losses: Tensor, mask: Tensor, normalizer: Normalizer) -> Float[Tensor, ""]:
    """Sum over True positions / normalizer; 0 where nothing is True, whatever the normalizer."""
    total, count = torch.where(mask, losses, 0.0).sum(), mask.sum()
    denominator = count.to(total.dtype) if normalizer is None else as_denominator(normalizer, total)
    require_denominator(normalizer, count)
    return total / denominator.masked_fill(count == 0, 1.0)
