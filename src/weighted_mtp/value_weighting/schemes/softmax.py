"""Softmax weights: a sequence's teaching is shared out among its tokens."""

from torch import Tensor

from weighted_mtp.checks import check_choice, check_number, check_temperature
from weighted_mtp.value_weighting.entropy_floor import entropy_floor_temperature, softmax_weights
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme
from weighted_mtp.value_weighting.schemes.td import Credit, credit_of


class Softmax(WeightingScheme):
    """Softmax of the credit over the tokens of each sequence, with mean 1.

        w[t] = N * softmax(c / temperature)[t]

    Every sequence teaches equally much, right or wrong; only the share of its tokens differs. Each sequence
    is weighed by itself, so whole batch = micro-batches = ranks.

    Source: Peters, Muelling and Altun 2010, "Relative Entropy Policy Search".

    Args:
        temperature: in the unit of the credit; smaller is sharper.
        credit: `td`, or `gae`.
        lam: lambda of `gae`, in [0, 1].
        entropy_floor: share of the greatest entropy that each sequence keeps, in [0, 1).

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[True, True]])
        >>> values, reward = torch.tensor([[0.5, 0.5]]), torch.tensor([0.5])
        >>> signals = Signals(mask=mask, valid=mask[..., None], values=values, rewards=reward)
        >>> weigh(Softmax(), signals).flatten().tolist()
        [1.0, 1.0]
    """

    requires = ("values", "rewards")

    def __init__(
        self, temperature: float = 0.9, credit: Credit = "td", lam: float = 0.95, entropy_floor: float = 0.0
    ) -> None:
        super().__init__()
        self.temperature = check_temperature("temperature", temperature)
        self.credit = check_choice("credit", credit, ("td", "gae"))
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.entropy_floor = check_number("entropy_floor", entropy_floor, 0.0, 1.0, "[)")

    def forward(self, signals: Signals) -> Tensor:
        """Weights per token."""
        credit = credit_of(signals, self.credit, self.lam)
        temperature = self.temperature
        if self.entropy_floor > 0:
            temperature = entropy_floor_temperature(
                credit, self.entropy_floor, temperature, signals.mask, signals.segment_ids
            )
        return softmax_weights(credit, temperature, signals.mask, signals.segment_ids)
