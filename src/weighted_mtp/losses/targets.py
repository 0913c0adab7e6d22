"""Which token each prediction head is asked for, at every position."""

from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from weighted_mtp import IGNORED
from weighted_mtp.checks import require_integers, require_shape


def mtp_targets(
    labels: Shaped[Tensor, "batch seq"], n_future: int, segment_ids: Shaped[Tensor, "batch seq"] | None = None
) -> Int[Tensor, "batch seq n_future"]:
    """Token that head k predicts from position t.

        targets[b, t, k] = labels[b, t + 1 + k]

    and -100 where there is nothing to predict: beyond the row, where that label is -100, where t + 1 + k
    lies in another segment than t, and where either of the two positions has segment id 0 (padding).
    The label at t itself does not matter: the last token of a prompt predicts the first of the completion.

    Source: Gloeckle et al. 2024, "Better & Faster Large Language Models via Multi-token Prediction",
    arXiv 2404.19737, equation 2.

    Args:
        labels: token ids, -100 where a token carries no loss; not shifted (label t is the token at t).
        n_future: number of heads, at least 1; head 0 is next-token prediction.
        segment_ids: for packed rows, the id of the example each token belongs to, 0 for padding.

    Examples:
        >>> import torch
        >>> mtp_targets(torch.tensor([[-100, -100, 7, 8, 9]]), n_future=2)
        tensor([[[-100,    7],
                 [   7,    8],
                 [   8,    9],
                 [   9, -100],
                 [-100, -100]]])

        Two packed examples; no prediction crosses from one to the other:

        >>> labels, segment_ids = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[1, 1, 2, 2]])
        >>> mtp_targets(labels, n_future=1, segment_ids=segment_ids)[0, :, 0].tolist()
        [6, -100, 8, -100]
    """
    require_shape("labels", labels, (None, None))
    require_integers("labels", labels)
    if isinstance(n_future, bool) or not isinstance(n_future, int) or n_future < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"n_future is {n_future!r}; a whole number of at least 1 is needed")
    targets = _following(labels.long(), n_future, fill=IGNORED)
    if segment_ids is None:
        return targets
    require_shape("segment_ids", segment_ids, tuple(labels.shape))
    here = segment_ids[..., None]
    same_segment = (_following(segment_ids, n_future, fill=0) == here) & (here != 0)
    return targets.masked_fill(~same_segment, IGNORED)


def _following(x: Shaped[Tensor, "batch seq"], n: int, fill: int) -> Shaped[Tensor, "batch seq {n}"]:
    """The n entries after each position, `fill` beyond the row."""
    windows = pad(x, (0, n), value=fill).unfold(1, n, 1)  # window t holds x[t], ..., x[t + n - 1]
    return windows[:, 1:].contiguous()
