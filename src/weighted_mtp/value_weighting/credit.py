"""From credit to values: Bayes' rule adds up log-odds, token by token."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from weighted_mtp.checks import check_rank, check_segment_ids, check_shape, working_dtype
from weighted_mtp.value_weighting.episodes import valid_positions
from weighted_mtp.value_weighting.reverse_scan import beyond, place_in_episode, segmented_reverse_scan


def log_odds_of_success(
    credit: Shaped[Tensor, "batch seq"],
    prior: Shaped[Tensor, ""] | Shaped[Tensor, " batch"] | Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Log-odds of success given the prefix that includes token t.

        L[t] = prior + sum over valid s < t of credit[s],   0 outside the mask

    over the episode of t: credit[s] is that of token s+1, so at the first valid position L = prior, and after
    the last token, T+1, the log-odds are L[T] + credit[T]. Positions outside the mask are never read. NaN at
    a valid position reaches the later positions of its own episode and no other.

    Source: Bayes' rule; Lin et al. 2024 (arXiv 2411.19943), cDPO, for credit of two conditioned models; Yuan et al.
    2024 (arXiv 2412.01981) and Cui et al. 2025 (arXiv 2502.01456), PRIME, for sums of log-ratios as implicit values.

    Args:
        credit: change of the log-odds by the token that position t predicts.
        prior: log-odds of success given the prompt: one for all, one per row, or, which packed rows need,
            that of the episode at each position.
        mask: non-zero where a position counts; in training, the prediction mask.
        segment_ids: episode of each position in packed rows, 0 for padding.

    Returns:
        Log-odds, 0 outside the mask. Keep to them where P(success) is near 1: a float32 sigmoid is 1 from 17 on.

    Examples:
        >>> credit, mask = torch.tensor([[9.0, 1.0, 9.0, -3.0, 0.5]]), torch.tensor([[0, 1, 0, 1, 1]])
        >>> log_odds_of_success(credit, torch.tensor(-1.0), mask).tolist()
        [[0.0, -1.0, 0.0, 0.0, -3.0]]

        Two episodes in one row:

        >>> credit, segment_ids = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[1, 1, 2, 2]])
        >>> log_odds_of_success(credit, torch.tensor(0.0), torch.ones(1, 4), segment_ids).tolist()
        [[0.0, 1.0, 0.0, 4.0]]
    """
    check_rank("credit", credit, "[batch, seq]")
    shape = (credit.shape[0], credit.shape[1])
    check_shape("mask", mask, shape, "[batch, seq]")
    if segment_ids is not None:
        check_segment_ids(segment_ids, shape)
    check_prior(prior, shape, segment_ids)
    prior = prior.to(working_dtype(credit))
    valid = valid_positions(mask, segment_ids)
    # `where`, never a product with the mask: 0 * NaN is NaN
    steps = torch.where(valid, credit.to(prior.dtype), 0.0)
    before = sums_before(steps, segment_ids)
    return torch.where(valid, (prior[:, None] if prior.ndim == 1 else prior) + before, 0.0)


def values_from_credit(
    credit: Shaped[Tensor, "batch seq"],
    prior: Shaped[Tensor, ""] | Shaped[Tensor, " batch"] | Shaped[Tensor, "batch seq"],
    mask: Shaped[Tensor, "batch seq"],
    segment_ids: Shaped[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq"]:
    """Values of a generative critic: P(success) given the prefix that includes token t.

        V[t] = sigmoid(L[t]),   0 outside the mask

    with L of `log_odds_of_success`. `compute_td_errors` reads them like those of a value head.

    Source: as for `log_odds_of_success`.

    Args:
        credit, prior, mask, segment_ids: as for `log_odds_of_success`.

    Examples:
        >>> credit, mask = torch.tensor([[1.0, -3.0, 0.5]]), torch.tensor([[1, 1, 0]])
        >>> values = values_from_credit(credit, torch.tensor([-1.0]), mask)
        >>> [round(v, 3) for v in values[0].tolist()]
        [0.269, 0.5, 0.0]
    """
    log_odds = log_odds_of_success(credit, prior, mask, segment_ids)
    return torch.where(valid_positions(mask, segment_ids), log_odds.sigmoid(), 0.0)


def check_prior(prior: Tensor, shape: tuple[int, int], segment_ids: Tensor | None) -> None:
    """Raise unless the prior is a scalar, [batch], or [batch, seq], in packed rows not [batch].

    Examples:
        >>> check_prior(torch.tensor(0.5), (2, 5), None)
        >>> check_prior(torch.ones(2), (2, 5), torch.ones(2, 5).int())
        Traceback (most recent call last):
        ValueError: prior has shape [2]; needed is [] or [batch, seq] = [2, 5]
    """
    per_row = segment_ids is None
    if tuple(prior.shape) not in {(), shape, *([shape[:1]] if per_row else [])}:
        choices = f"[], [batch] = {[shape[0]]}" if per_row else "[]"
        raise ValueError(f"prior has shape {list(prior.shape)}; needed is {choices} or [batch, seq] = {list(shape)}")


def sums_before(
    x: Float[Tensor, "batch seq"], segment_ids: Shaped[Tensor, "batch seq"] | None
) -> Float[Tensor, "batch seq"]:
    """Sum over the earlier positions of the same episode.

        y[t] = sum over s < t of x[s]

    Each episode is added up by itself: a sum over the row less the one at the episode's start would carry NaN
    from one episode to the next, and their rounding.
    """
    if segment_ids is None or x.numel() == 0:
        return F.pad(x, (1, 0))[:, :-1].cumsum(1)
    # from the right in the mirror, where an episode's end is its start
    place = place_in_episode(segment_ids.flip(1), x.dtype)
    sums = beyond(segmented_reverse_scan(x.flip(1), 1.0, place), place, 1)
    return F.pad(sums[:, 1:], (0, 1)).flip(1)
