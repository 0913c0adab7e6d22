"""The control for alignment: every head is weighed by the position it predicts from."""

import torch
from jaxtyping import Float
from torch import Tensor

from weighted_mtp.value_weighting.controls import Control
from weighted_mtp.value_weighting.protocol import Signals


class PositionAligned(Control):
    """The inner scheme's weight of position t, given to every head at t.

        weights[b, t, k] = w[b, t] where t predicts a trained token, else 1

    where token alignment (`align_to_heads`) has w[b, t+k], the weight of the very token that head k predicts.
    It is what comes of multiplying weights [batch, seq] into losses [batch, seq, n_future], and exists to be
    compared with token alignment: heads k >= 1 learn a token by the credit of one before it. Just before the
    response, and in a gap, head 0 predicts nothing that is trained but a later head may; no credit is known
    there, hence 1. Of an inner scheme with a weight per prediction, head 0's is taken. With one head it is
    the inner scheme itself.

    Source: Gloeckle et al. 2024 (arXiv 2404.19737), sec. 2, for the losses of all heads at one position.

    Args:
        inner: name of the scheme, or the scheme itself.
        inner_options: its options.

    Raises:
        ValueError: the inner scheme is unknown, or an option of it.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[False, True, True]])
        >>> valid = torch.tensor([[[False, True], [True, True], [True, False]]])
        >>> signals = Signals(mask=mask, valid=valid, weights=torch.tensor([[9.0, 2.0, 3.0]]))
        >>> weigh(PositionAligned("column"), signals).tolist()
        [[[0.0, 1.0], [2.0, 2.0], [3.0, 0.0]]]
    """

    def forward(self, signals: Signals) -> Float[Tensor, "batch seq n_future"]:
        """Weights per prediction, equal over the heads of a position."""
        weights = self.inner(signals)
        if weights.ndim == 3:
            weights = weights[..., 0]
        of_position = torch.where(signals.mask, weights, 1.0)
        return of_position[..., None].expand(-1, -1, signals.n_future)
