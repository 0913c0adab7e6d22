"""Negative-aware fine-tuning: wrong completions train the policy that is left when right ones are taken away."""

import math
from typing import Literal

import torch
from torch import Tensor

from weighted_mtp.checks import check_choice, check_number, working_dtype
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required

RATES = (0.02, 0.98)  # pass rates are kept between, and
LARGEST = 10.0  # log-ratios end here, as in the authors' code


class NFT(WeightingScheme):
    """Maximum likelihood of right completions by the model, of wrong ones by the negative policy that it implies.

        w = omega * (R a - (1 - R) b)
        a = 1,   b = (r rho / (1 - r)) / max(proxy, epsilon),   proxy = (1 - r rho) / (1 - r)
        rho = p / p_ref = exp(reference nll - nll),   both 0 where log rho > 10

    with R the episode's reward in [0, 1] and r its prompt's pass rate, kept in [.02, .98]. The reference is the policy
    that wrote the rows. Derivation: old policy = r * (policy given right) + (1 - r) * (policy given wrong), so the
    model of right completions pi implies the negative policy (pi_ref - r pi) / (1 - r), which is pi_ref * proxy, token
    by token. The authors minimise

        omega * (-R log rho - (1 - R) log max(proxy, epsilon))

    with the gradient of the max passed straight through to proxy. Since d rho / d nll = -rho and d proxy / d rho =
    -r / (1 - r), its derivative by nll is w, which is the weight whose product with nll has that gradient. At rho = 1
    and omega = 1 - r it is 1 - r for right and -r for wrong completions: Dr. GRPO's advantages.

    As rho falls, b falls to 0, and the loss of wrong completions stays above log(1 - r): that is the paper's guard,
    beside which `floor` is 0 unless it is set. A rising rho is bounded by epsilon and the 10. The authors leave out
    prompts that are always or never solved; here their pass rate is .98 or .02, which teaches little. Whole batch =
    micro-batches = ranks.

    Source: Chen et al. 2025, "Bridging Supervised Learning and Reinforcement Learning in Math Reasoning" (arXiv
    2505.18116), and the authors' code: token ratios, epsilon 1, omega = 1 - r.

    Args:
        epsilon: lower bound of proxy, above 0.
        prompt_weight: omega: `hard`, 1 - r (Dr. GRPO); `root`, sqrt((1 - r) / r) (GRPO); `none`, 1.
        floor: probability below which a token is pushed down no further (`stop_at_floor`), in [0, 1).

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask, losses = torch.tensor([[True], [True]]), {"nll": torch.ones(2, 1, 1)}
        >>> losses["reference_nll"] = torch.ones(2, 1, 1)
        >>> rewards, rate = torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.25])
        >>> signals = Signals(mask=mask, valid=mask[..., None], rewards=rewards, pass_rate=rate, **losses)
        >>> weigh(NFT(), signals).flatten().tolist()
        [0.75, -0.25]
    """

    requires = ("outcomes", "pass_rate", "nll", "reference_nll")

    def __init__(
        self, epsilon: float = 1.0, prompt_weight: Literal["hard", "root", "none"] = "hard", floor: float = 0.0
    ) -> None:
        super().__init__()
        self.epsilon = check_number("epsilon", epsilon, 0.0, float("inf"), "()")
        self.prompt_weight = check_choice("prompt_weight", prompt_weight, ("hard", "root", "none"))
        self.floor = check_number("floor", floor, 0.0, 1.0, "[)")

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """What the bounds of pass rate and ratio leave."""
        low, high = (self._omega(torch.tensor(rate)).item() for rate in RATES)
        odds = RATES[1] / (1.0 - RATES[1])
        return -high * odds * math.exp(LARGEST) / self.epsilon, low

    def forward(self, signals: Signals) -> Tensor:
        """Weights per prediction."""
        reference = required(signals.reference_nll, "reference_nll")
        reference = reference.to(working_dtype(reference))
        log_ratio = reference - required(signals.nll, "nll").to(reference.dtype)
        ratio = log_ratio.clamp(max=LARGEST).exp()
        right = required(signals.outcomes, "outcomes").clamp(0.0, 1.0)[..., None]
        rate = required(signals.pass_rate, "pass_rate").to(reference.dtype).clamp(*RATES)[:, None, None]
        proxy = (1.0 - rate * ratio) / (1.0 - rate)
        away = rate * ratio / (1.0 - rate) / proxy.clamp(min=self.epsilon)
        weights = self._omega(rate) * (right - (1.0 - right) * away)
        return torch.where(log_ratio > LARGEST, 0.0, weights)

    def _omega(self, rate: Tensor) -> Tensor:
        if self.prompt_weight == "none":
            return torch.ones_like(rate)
        return 1.0 - rate if self.prompt_weight == "hard" else ((1.0 - rate) / rate).sqrt()
