"""Signed credit: what helped is taught, and what did harm is taught away."""

from typing import Literal

from torch import Tensor

from weighted_mtp.checks import check_choice, check_number, check_temperature, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required
from weighted_mtp.value_weighting.schemes.td import credit_of


class SignedCredit(WeightingScheme):
    """The credit itself as a weight, clipped: negative on the tokens that are blamed.

        w = clip(c / beta, min_weight, max_weight),   0 where w < 0 and the token's probability is below floor

    with c a TD error, an advantage, or the critic's credit: the gradient of the policy with that advantage. Whole
    batch = micro-batches = ranks.

    Source: Sutton et al. 2000, "Policy gradient methods for reinforcement learning with function approximation"
    (NeurIPS); Schulman et al. 2015 (arXiv 1506.02438) for the advantages.

    Args:
        credit: `td`; `gae`, which looks ahead by `lam`; `critic`: the signal `credit` of a generative or implicit
            critic.
        lam: lambda of `gae`, in [0, 1].
        beta: unit of the credit, finite and above 0.
        min_weight: lower clip bound, at most 0; 0 teaches nothing away.
        max_weight: upper clip bound, at least 0.
        floor: probability below which a token is pushed down no further (`stop_at_floor`), in (0, 1).

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, credit = torch.tensor([[True, True, True]]), torch.tensor([[0.5, -3.0, -3.0]])
        >>> nll = torch.tensor([[1.0, 1.0, 6.0]])
        >>> signals = Signals(mask=mask, valid=mask[..., None], credit=credit, nll=nll[..., None])
        >>> weigh(SignedCredit("critic"), signals).flatten().tolist()
        [0.5, -1.0, 0.0]
    """

    def __init__(
        self,
        credit: Literal["td", "gae", "critic"] = "td",
        lam: float = 0.95,
        beta: float = 1.0,
        min_weight: float = -1.0,
        max_weight: float = 1.0,
        floor: float = 0.01,
    ) -> None:
        super().__init__()
        self.credit = check_choice("credit", credit, ("td", "gae", "critic"))
        self.requires = ("credit", "nll") if credit == "critic" else ("values", "rewards", "nll")
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.beta = check_temperature("beta", beta)
        self.min_weight = check_number("min_weight", min_weight, -float("inf"), 0.0, "(]")
        self.max_weight = check_number("max_weight", max_weight, 0.0, float("inf"), "[)")
        self.floor = check_number("floor", floor, 0.0, 1.0, "()")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """The clip bounds."""
        return self.min_weight, self.max_weight

    def clip_bounds(self) -> tuple[float, float]:
        """The clip bounds."""
        return self.min_weight, self.max_weight

    def forward(self, signals: Signals) -> Tensor:
        """Weights per token."""
        credit = (
            required(signals.credit, "credit") if self.credit == "critic" else credit_of(signals, self.credit, self.lam)
        )
        return (credit.to(working_dtype(credit)) / self.beta).clamp(self.min_weight, self.max_weight)
