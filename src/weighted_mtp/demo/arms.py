"""The arms of a comparison on the made task: which stage, which weights, which controls."""

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One way to train on the same completions."""

    name: str  # how results name it
    stage: str = "baseline"  # which stage trains it
    scheme: str = ""  # its weighting scheme; empty is the stage's own
    options: dict[str, Any] = field(default_factory=dict)  # options of the scheme
    keep: str = "all"  # which completions it sees: all, or right
    n_future: int = 1  # prediction heads
    rows: str = "train"  # which file of rows it reads: train, or oracle (weight 0 on the truly wrong tokens)
    critic: str = ""  # stage critic: its kind. Stage verifiable: the arm whose model is the critic
    reference: str = ""  # the arm whose model is the reference
    start: str = ""  # the arm whose model it starts from; empty is the draw's shared initialisation
    value_loss: str = "mse"  # objective of a value head
    times: int = 1  # how many times the budget's steps it is trained
    decode_under: str = ""  # label that decoding is conditioned on; empty: none

    @property
    def is_policy(self) -> bool:
        """Whether its accuracy is measured; a critic's is not, unless it is decoded under a label."""
        return self.stage != "critic" or bool(self.decode_under)

    @property
    def needs(self) -> tuple[str, ...]:
        """Arms that must be trained before."""
        critic = self.critic if self.stage == "verifiable" else ""
        return tuple(name for name in (critic, self.reference, self.start) if name)


CRITIC = Arm("critic", "critic")
"""The value head that the weighted arms read."""

TD_03 = {"beta": 0.3}
WHITENED = {"whitening": "ema", "beta": 1.0}

UNIFORM = Arm("uniform")
RIGHT_ONLY = Arm("right_only", keep="right")
TD_BETA_09 = Arm("td_beta0.9", "verifiable", "td", {"beta": 0.9}, critic="critic")
TD_BETA_03 = Arm("td_beta0.3", "verifiable", "td", TD_03, critic="critic")
TD_WHITENED = Arm("td_whitened", "verifiable", "td", WHITENED, critic="critic")
RHO1 = Arm("rho1", "rho1", "rho1", reference="right_only")

GENERATIVE = Arm("label_conditioned", "critic", critic="generative", decode_under="right")
"""The generative critic, which is a policy too: decoded under "right"."""
LOG_ODDS = Arm("log_odds", "verifiable", "log_odds", WHITENED, critic="label_conditioned")
GATED = Arm("gated", "verifiable", "gated", critic="label_conditioned")
"""Mixed with right_only by the critic's skill, which is measured out of fold."""

ORACLE = Arm("oracle", "baseline", "column", rows="oracle")
"""Drops the tokens that are truly wrong: the most that credit can win."""


def control(scheme: str) -> Arm:
    """The weights of log_odds without their information."""
    options = {"inner": "log_odds", "inner_options": WHITENED}
    return Arm(scheme, "verifiable", scheme, options, critic="label_conditioned")


SHUFFLED_ACROSS = control("shuffled_across")


def four_heads(arm: Arm) -> Arm:
    """The arm with four prediction heads."""
    return replace(arm, name=f"mtp_{arm.name}", n_future=4)


NEXT_TOKEN = (
    UNIFORM, RIGHT_ONLY, TD_BETA_03, TD_WHITENED, GENERATIVE, LOG_ODDS, GATED, RHO1, SHUFFLED_ACROSS, ORACLE
)  # fmt: skip
"""The demo's ten arms, one of them a control and one the ceiling."""
FOUR_HEADS = tuple(map(four_heads, (UNIFORM, GATED)))
