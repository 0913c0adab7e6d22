"""The loss of an implicit process reward model: cross-entropy of the label against a log-ratio of two models."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from weighted_mtp import IGNORED
from weighted_mtp.checks import require_number, require_shape, working_dtype
from weighted_mtp.losses.denominators import as_denominator, require_denominator
from weighted_mtp.losses.likelihoods import mtp_likelihoods
from weighted_mtp.losses.mtp import weighted_mtp_loss
from weighted_mtp.losses.value import Normalizer


def implicit_reward_loss(
    hidden: Shaped[Tensor, "batch seq 1 dim"],
    lm_head_weight: Shaped[Tensor, "vocab dim"],
    targets: Shaped[Tensor, "batch seq 1"],
    reference_nll: Shaped[Tensor, "batch seq 1"],
    rewards: Shaped[Tensor, " batch"],
    prior: Shaped[Tensor, ""],
    *,
    beta: float = 0.05,
    normalizer: Normalizer = None,
    row_of: Int[Tensor, "batch seq"] | None = None,
    bias: Shaped[Tensor, " vocab"] | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the label, its logit being a prior plus beta times the completion's log-ratio.

        logit[b] = prior + beta * sum over t of (reference_nll[b, t] - nll[b, t])
        loss = sum over b of -(R[b] log sigmoid(logit[b]) + (1 - R[b]) log sigmoid(-logit[b])) / normalizer

    Its gradient is that of a weighted cross-entropy whose weights a forward pass gives:

        d loss / d nll[b, t] = beta * (R[b] - sigmoid(logit[b])) / normalizer

    so it is computed as one, and logits [batch, seq, vocab] are never held. Rows without a target do not count.

    Source: Yuan et al. 2024, "Free Process Rewards without Process Labels", arXiv 2412.01981 (their
    cross-entropy objective); the prior stands for the share of right completions, which theirs leaves out.

    Args:
        hidden, lm_head_weight, targets, bias, logit_scale, softcap: as for `weighted_mtp_loss`.
        reference_nll: of the same targets by the frozen reference, in nats.
        rewards: 1 right, 0 wrong.
        prior: log-odds of success before the completion; learned.
        beta: log-odds per nat of log-ratio.
        normalizer: denominator; None: the number of rows with a target.
        row_of: which of the rewards each position is judged by, where rows share sequences; None: each has its own.

    Raises:
        RuntimeError: in a second backward, as `weighted_mtp_loss`.

    Examples:
        >>> hidden, unembedding = torch.zeros(1, 2, 1, 2), torch.zeros(3, 2)
        >>> targets, reference_nll = torch.tensor([[[0], [-100]]]), torch.zeros(1, 2, 1)
        >>> loss = implicit_reward_loss(
        ...     hidden, unembedding, targets, reference_nll, torch.ones(1), torch.tensor(0.0), beta=1.0
        ... )
        >>> round(loss.item(), 4)  # nll ln 3 against 0: logit -ln 3, P(right) 1/4
        1.3863
    """
    require_shape("reference_nll", reference_nll, tuple(targets.shape))
    if row_of is None:
        require_shape("rewards", rewards, (len(targets),))
        row_of = torch.arange(len(targets), device=targets.device)[:, None].expand(targets.shape[:2])
    require_shape("row_of", row_of, tuple(targets.shape[:2]))
    require_number("beta", beta, above=0.0)
    head: dict[str, Any] = {"bias": bias, "logit_scale": logit_scale, "softcap": softcap}
    valid = targets != IGNORED
    by_row = partial(torch.zeros_like(rewards, dtype=working_dtype(hidden)).index_add, 0, row_of.flatten())
    counted = by_row(valid.flatten().to(working_dtype(hidden))) > 0
    denominator = counted.sum().clamp(min=1) if normalizer is None else normalizer
    likelihoods = mtp_likelihoods(hidden, lm_head_weight, targets, **head)
    log_ratio = by_row(torch.where(valid, reference_nll - likelihoods.nll, 0.0).flatten()).detach()
    logit = prior.to(working_dtype(hidden)) + beta * log_ratio
    outcome = rewards.to(logit.dtype)
    losses = binary_cross_entropy_with_logits(logit, outcome, reduction="none")
    require_denominator(denominator, counted.sum())
    divisor = as_denominator(denominator, losses).masked_fill(~counted.any(), 1.0)
    loss = torch.where(counted, losses, 0.0).sum() / divisor
    slope = (beta * (outcome - logit.sigmoid())).detach()[row_of][..., None]
    surrogate = weighted_mtp_loss(
        hidden, lm_head_weight, targets, slope, normalizer=denominator, likelihoods=likelihoods, **head
    ).loss
    return loss + (surrogate - surrogate.detach())
