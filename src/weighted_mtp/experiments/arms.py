"""The arms of a comparison on the made task: which stage, which weights, which controls."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One way to train on the same completions."""

    name: str
    """How results name it."""
    stage: str = "baseline"
    """Which stage trains it."""
    scheme: str = ""
    """Its weighting scheme; empty is the stage's own."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the scheme."""
    keep: str = "all"
    """Which completions it sees: all, or right."""
    n_future: int = 1
    """Prediction heads."""


TD_03 = {"beta": 0.3}

NEXT_TOKEN = (
    Arm("uniform"),
    Arm("right_only", keep="right"),
    Arm("td_beta0.9", "verifiable", "td", {"beta": 0.9}),
    Arm("td_beta0.3", "verifiable", "td", TD_03),
    Arm("td_whitened", "verifiable", "td", {"whitening": "ema", "beta": 1.0}),
    Arm("rho1", "rho1", "rho1"),
    Arm("shuffled_across", "verifiable", "shuffled_across", {"inner": "td", "inner_options": TD_03}),
    Arm("lognormal", "verifiable", "lognormal", {"inner": "td", "inner_options": TD_03}),
)
"""Eight arms; the controls carry the weights of td_beta0.3 without their information."""

FOUR_HEADS = (
    Arm("mtp_uniform", n_future=4),
    Arm("mtp_td_beta0.3", "verifiable", "td", TD_03, n_future=4),
)
"""The same with four prediction heads."""
