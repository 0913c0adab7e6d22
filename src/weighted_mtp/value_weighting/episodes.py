"""Who follows whom: valid positions, the next valid position, segments, and the heads.

An *episode* is what one reward judges: a row, or, in a packed row, one segment. A segment is a contiguous run
of one non-zero id that does not come back; masked tokens inside keep the id, and only padding has 0.
Everything is prediction-aligned: index t belongs to the prediction of token t+1 made at t.
"""

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from weighted_mtp import IGNORED
from weighted_mtp.checks import check_rank, check_segment_ids


def prediction_mask(
    labels: Shaped[Tensor, "batch seq"], segment_ids: Shaped[Tensor, "batch seq"] | None = None
) -> Bool[Tensor, "batch seq"]:
    """Mask of the positions that predict a trained token.

        mask[t] = labels[t+1] != -100,  and False in the last column

    The last valid position predicts the last labelled token (end of sequence), so the reward of the episode
    enters its weight. With `segment_ids` no prediction crosses from one segment to another or into padding.

    Source: Krell et al. 2021 (arXiv 2107.02027) for packing without cross-contamination.

    Args:
        labels: token ids, -100 where a token carries no loss.
        segment_ids: episode of each token in packed rows, 0 for padding.

    Examples:
        >>> prediction_mask(torch.tensor([[-100, -100, 7, 8]])).int().tolist()
        [[0, 1, 1, 0]]
        >>> labels, segments = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[1, 1, 2, 2]])
        >>> prediction_mask(labels, segments).int().tolist()
        [[1, 0, 1, 0]]
    """
    check_rank("labels", labels, "[batch, seq]")
    trained = labels[:, 1:] != IGNORED
    if segment_ids is not None:
        check_segment_ids(segment_ids, tuple(labels.shape))
        target_segment = segment_ids[:, 1:]
        trained = trained & (target_segment == segment_ids[:, :-1]) & (target_segment != 0)
    return F.pad(trained, (0, 1)) if labels.shape[1] else trained


def valid_positions(mask: Shaped[Tensor, "batch seq"], segment_ids: Tensor | None) -> Bool[Tensor, "batch seq"]:
    """The mask as booleans, without the padding that `segment_ids` marks by 0.

    Examples:
        >>> valid_positions(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0, 1, 1]])).tolist()
        [[False, True, False]]
    """
    return mask.bool() if segment_ids is None else mask.bool() & (segment_ids != 0)


def next_valid(
    valid: Bool[Tensor, "batch seq"], segment_ids: Shaped[Tensor, "batch seq"] | None = None
) -> Int64[Tensor, "batch seq"]:
    """Index of the next valid position of the same episode, or `seq` where there is none.

        n(t) = min {u > t : valid[u] and segment_ids[u] == segment_ids[t]}

    also at positions that are not valid themselves; a gather from a row padded by one column reads it.

    Source: Sutton and Barto, Reinforcement Learning (2018), sec. 6.1: the successor state, here within a mask.

    Examples:
        >>> next_valid(torch.tensor([[True, False, True, True, False]])).tolist()
        [[2, 2, 3, 5, 5]]
        >>> next_valid(torch.tensor([[True, True, True]]), torch.tensor([[1, 2, 2]])).tolist()
        [[3, 2, 3]]
    """
    batch, seq = valid.shape
    if valid.numel() == 0:
        return torch.zeros_like(valid, dtype=torch.int64)
    # int32: the running minimum takes a third of the time that it takes on int64
    positions = torch.arange(seq, dtype=torch.int32, device=valid.device).expand(batch, seq)
    own_or_later = positions.masked_fill(~valid, seq).flip(1).cummin(1).values.flip(1)
    following = F.pad(own_or_later[:, 1:], (0, 1), value=seq).long()
    if segment_ids is None:
        return following
    segment_of_following = F.pad(segment_ids, (0, 1)).gather(1, following)
    return following.masked_fill(segment_of_following != segment_ids, seq)


def align_to_heads(weights: Shaped[Tensor, "batch seq"], n_future: int) -> Shaped[Tensor, "batch seq n_future"]:
    """Token-level weights as seen by every prediction head: the one place where a weight reaches the heads.

        aligned[b, t, k] = weights[b, t+k],  0 beyond the row

    Head k predicts, from position t, token t+1+k. The weight of that token is the one of the position just
    before it, t+k, whichever head predicts it.

    Source: Gloeckle et al. 2024 (arXiv 2404.19737), sec. 2: n heads on one trunk, head k predicts token t+1+k.

    Examples:
        >>> align_to_heads(torch.tensor([[1.0, 2.0, 3.0]]), 2).tolist()
        [[[1.0, 2.0], [2.0, 3.0], [3.0, 0.0]]]
    """
    check_rank("weights", weights, "[batch, seq]")
    if isinstance(n_future, bool) or not isinstance(n_future, int) or n_future < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"n_future is {n_future!r}; needed is a whole number of heads, at least 1")
    if weights.shape[1] == 0:
        return weights[..., None].expand(-1, -1, n_future)
    return F.pad(weights, (0, n_future - 1)).unfold(1, n_future, 1).contiguous()


def episode_index(segment_ids: Shaped[Tensor, "batch seq"]) -> Int64[Tensor, "batch seq"]:
    """Number of the run of equal ids that a position lies in, counted from 0 within its row."""
    return F.pad(segment_ids[:, 1:] != segment_ids[:, :-1], (1, 0)).cumsum(1)


def episode_sum(x: Shaped[Tensor, "batch seq"], index: Tensor | None) -> Float[Tensor, "batch _"]:
    """Sum over each row, [batch, 1], or with `index` over each episode, [batch, seq]: ready to broadcast."""
    if index is None:
        return x.sum(1, keepdim=True)
    return torch.zeros_like(x).scatter_add(1, index, x).gather(1, index)


def episode_max(x: Float[Tensor, "batch seq"], index: Tensor | None) -> Float[Tensor, "batch _"]:
    """Maximum over each row or episode, ready to broadcast like `episode_sum`."""
    if index is None:
        return x.amax(1, keepdim=True)
    return torch.full_like(x, -torch.inf).scatter_reduce(1, index, x, "amax").gather(1, index)
